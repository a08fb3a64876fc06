import type { Endpoint } from '../queue/endpoint.ts';

/** What to do, read once from the inputs and never changed. */
export interface Plan {
  readonly arch: Arch;
  readonly endpoint: Endpoint;
  /** How long each wait for a builder may last. */
  readonly queueTimeoutMs: number;
  /** How often the work is run again when its builder was lost after the build had begun. */
  readonly lostBuilderRetries: number;
  readonly work: Work;
}

/** As Docker names platforms. */
export type Arch = 'amd64' | 'arm64';

export type Work = BuildWork | RunWork;

/** `docker buildx build`. */
export interface BuildWork {
  readonly kind: 'build';
  readonly context: string;
  readonly file: string | undefined;
  readonly tags: readonly string[];
  readonly buildArgs: readonly string[];
  readonly target: string | undefined;
  readonly outputs: readonly string[];
  readonly push: boolean;
  readonly load: boolean;
  readonly platforms: readonly string[];
  readonly noCache: boolean;
}

/** A script of the workflow's own, run by a shell with the builder already ours. */
export interface RunWork {
  readonly kind: 'run';
  readonly script: string;
}
