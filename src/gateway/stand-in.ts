/**
 * What the gateway answers itself while no builder is ours, so that an inspect costs no place in line.
 *
 * Told apart by the request's headers alone (observed with buildx 0.16.0 and 0.36.1, and in their sources):
 * - `inspect`, `create` and `ls` send ListWorkers, then Info, with a deadline of 20 s (`grpc-timeout`). One that waited
 *   would be shown as "inactive", upon which docker/build-push-action leaves out its default provenance.
 * - `build` and `bake` begin with a ListWorkers that has no deadline and carries their trace (`traceparent`): the one
 *   call that can wait for as long as it takes. A Solve can't: the Ping beside it has 30 s.
 * - the `history` commands begin with a ListWorkers without either. They want the records of a builder that has been
 *   given back, which no other builder has: their calls for records fail at once, and say so.
 */

import { encodeInfo, encodeWorkers, infoOfWorkers, type Worker } from './worker-record.ts';

/** What the gateway knows of a request before its payload. */
export interface Request {
  readonly path: string;
  /** It has a `grpc-timeout`. */
  readonly hasDeadline: boolean;
  /** It has a `traceparent`. */
  readonly traced: boolean;
}

/**
 * - `hold`: it waits for a builder.
 * - `reply`: answered with this protobuf message.
 * - `refuse`: answered with this gRPC status.
 */
export type StandInAnswer =
  | { readonly kind: 'hold' }
  | { readonly kind: 'reply'; readonly message: Buffer }
  | ({ readonly kind: 'refuse' } & Refusal);

export interface Refusal {
  /** A code of gRPC, other than 0. */
  readonly status: number;
  /** A whole sentence for a person: buildx prints it. */
  readonly message: string;
}

export interface StandIn {
  answer(request: Request): StandInAnswer;
  /** A builder has answered a ListWorkers with this protobuf message. */
  heard(workers: Buffer): void;
}

export const GrpcStatus = { failedPrecondition: 9, unavailable: 14 } as const;

export const LIST_WORKERS_PATH = '/moby.buildkit.v1.Control/ListWorkers';
const INFO_PATH = '/moby.buildkit.v1.Control/Info';
const TRACES_PATH = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
const RECORD_PATHS: readonly string[] = [
  '/moby.buildkit.v1.Control/ListenBuildHistory',
  '/moby.buildkit.v1.Control/UpdateBuildHistory',
];
/** Logs and attestations of a record are read from the builder's content store. */
const CONTENT_PATH = '/containerd.services.content.v1.Content/';

const HOLD: StandInAnswer = { kind: 'hold' };
const NO_RECORDS: StandInAnswer = {
  kind: 'refuse',
  status: GrpcStatus.failedPrecondition,
  message:
    'the builder has been given back to the pool, and its build records with it: ' +
    'set hold to job to keep it, or turn build records off with DOCKER_BUILD_SUMMARY=false',
};

/** Answers as the builders of one line would, as far as that can be told without one. */
export class PoolStandIn implements StandIn {
  #workers: Buffer;
  #info: Buffer;

  /** `assumed` is what is shown until a builder has been heard. */
  constructor(assumed: Worker) {
    this.#workers = encodeWorkers(assumed);
    this.#info = encodeInfo(assumed.buildkitVersion);
  }

  answer({ path, hasDeadline, traced }: Request): StandInAnswer {
    switch (path) {
      case LIST_WORKERS_PATH:
        return hasDeadline || !traced ? { kind: 'reply', message: this.#workers } : HOLD;
      case INFO_PATH:
        return { kind: 'reply', message: this.#info };
      case TRACES_PATH:
        // A client that gives up waiting says farewell with its spans, for up to 30 s: nobody collects them.
        return { kind: 'reply', message: Buffer.alloc(0) };
      default:
        return RECORD_PATHS.includes(path) || path.startsWith(CONTENT_PATH) ? NO_RECORDS : HOLD;
    }
  }

  heard(workers: Buffer): void {
    const info = infoOfWorkers(workers);
    if (info === undefined) return;
    this.#workers = workers;
    this.#info = info;
  }
}
