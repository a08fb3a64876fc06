/**
 * What happens on a pool connection, at the level of method names: which streams are open, and what became of
 * *the build*. Fed with header blocks only; payloads are never looked at.
 *
 * The build and the probe. buildx (observed: 0.36.1) first sends a capability probe that has the same methods as a
 * build: Control/Status, Control/Session, Control/Solve and LLBBridge/Ping. What tells them apart comes after:
 * the probe's LLBBridge/Return follows its Ping directly, where a build calls LLBBridge/Solve (or another method of
 * the bridge) in between. `buildctl build` has no probe, and one that sends ready-made LLB has no bridge at all.
 * Which bridge call belongs to which Solve is not in the headers (`buildkit-controlapi-buildid` is named in the
 * payload of the Solve), but the probe of a client runs alone, before its builds. Hence, for each client:
 * - the first Solve is undecided once its Ping was sent, and nothing runs at the builder while it is;
 * - a bridge call other than Ping and Return, or a further Solve beside it, makes it a build;
 * - a Return first makes it a probe;
 * - a Solve without Ping, and any Solve after the first, is a build as soon as it is sent;
 * - a probe or undecided Solve that is answered with an error, with no build after it, counts as the build's answer.
 */

import { ErrorCode } from './frames.ts';

/** What became of the build's Solve; with several builds, of all of them (see `solve` of MethodView). */
export type SolveState = 'none' | 'sent' | 'answered-ok' | 'answered-error';

export interface MethodView {
  /**
   * `none`: no build has begun. `sent`: at least one build is not answered. `answered-error`: all are answered or
   * given up by the client, and at least one answer was an error. `answered-ok`: all were answered without one.
   */
  readonly solve: SolveState;
  /** gRPC status of the last answered build, 0 for success. */
  readonly solveStatus: number | undefined;
  /** The builder said that it takes no new streams. */
  readonly goaway: boolean;
  readonly openStreams: number;
  /** The builds that this builder was asked for; one that its client gave up is no success. */
  readonly builds: BuildCounts;
  /** Requests sent to the builder since it became ours. */
  readonly requests: number;
  /** Calls `listener` after `solve` or `goaway` changed; gives the function that ends it. */
  onChange(listener: (view: MethodView) => void): () => void;
}

export interface BuildCounts {
  readonly succeeded: number;
  readonly failed: number;
  /** Not answered yet. */
  readonly open: number;
}

export const SOLVE_PATH = '/moby.buildkit.v1.Control/Solve';
/** Where the calls of a build's front end begin. */
export const BRIDGE_PATH = '/moby.buildkit.v1.frontend.LLBBridge/';

type Answer = 'open' | 'ok' | 'error' | 'given-up' | 'refused';

interface Solve {
  kind: 'undecided' | 'probe' | 'build';
  pinged: boolean;
  answer: Answer;
}

/** The view of one pool connection, or of several in turn (`restart`). Stream ids are those of the pool connection. */
export class MethodTracker implements MethodView {
  readonly #streams = new Map<number, Solve | undefined>();
  readonly #solves = new Map<number, Solve[]>();
  readonly #listeners = new Set<(view: MethodView) => void>();
  #goaway = false;
  #requests = 0;
  #solveStatus: number | undefined;
  #told = 'none false';
  /** Something was fed since the listeners were last told: `solve` is not worked out for every chunk. */
  #fed = false;

  get solve(): SolveState {
    const all = [...this.#solves.values()].flat();
    const builds = all.filter(isBuild);
    const answers = (builds.length > 0 ? builds : all).map((solve) => solve.answer);
    if (builds.length === 0) return answers.includes('error') ? 'answered-error' : 'none';
    if (answers.every((answer) => answer === 'refused')) return 'none';
    if (answers.includes('open')) return 'sent';
    if (answers.includes('error')) return 'answered-error';
    return answers.includes('ok') ? 'answered-ok' : 'sent';
  }

  get solveStatus(): number | undefined {
    return this.#solveStatus;
  }

  get goaway(): boolean {
    return this.#goaway;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  get builds(): BuildCounts {
    const answers = [...this.#solves.values()]
      .flat()
      .filter((solve) => isBuild(solve) && solve.answer !== 'refused')
      .map((solve) => solve.answer);
    const succeeded = answers.filter((answer) => answer === 'ok').length;
    const open = answers.filter((answer) => answer === 'open').length;
    return { succeeded, failed: answers.length - succeeded - open, open };
  }

  get requests(): number {
    return this.#requests;
  }

  onChange(listener: (view: MethodView) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Another builder: everything begins anew, except for the listeners. */
  restart(): void {
    this.#streams.clear();
    this.#solves.clear();
    this.#goaway = false;
    this.#requests = 0;
    this.#solveStatus = undefined;
    this.#fed = true;
    this.settle();
  }

  /** A request's HEADERS went to the builder. `client` tells the clients of one pool connection apart. */
  opened(streamId: number, client: number, path: string): void {
    this.#requests += 1;
    this.#fed = true;
    this.#streams.set(streamId, this.#decide(client, path));
  }

  /** The builder ended its side of a stream. `status` is the gRPC status, undefined where the trailers have none. */
  ended(streamId: number, status: number | undefined): void {
    this.#finish(streamId, status === 0 ? 'ok' : 'error', status);
  }

  reset(streamId: number, by: 'client' | 'builder', code: number): void {
    if (by === 'client') this.#finish(streamId, 'given-up', undefined);
    else this.#finish(streamId, code === ErrorCode.refusedStream ? 'refused' : 'error', undefined);
  }

  goawayReceived(): void {
    this.#goaway = true;
    this.#fed = true;
  }

  /** Tells the listeners when something changed; to be called once for each chunk of bytes. */
  settle(): void {
    if (!this.#fed) return;
    this.#fed = false;
    const now = `${this.solve} ${this.#goaway}`;
    if (now === this.#told) return;
    this.#told = now;
    for (const listener of this.#listeners) listener(this);
  }

  #decide(client: number, path: string): Solve | undefined {
    if (path === SOLVE_PATH) {
      const solves = this.#solves.get(client) ?? [];
      this.#solves.set(client, solves);
      for (const earlier of solves) if (earlier.kind === 'undecided') earlier.kind = 'build';
      const kind = solves.length === 0 ? 'undecided' : 'build';
      const solve: Solve = { kind, pinged: false, answer: 'open' };
      solves.push(solve);
      return solve;
    }
    if (!path.startsWith(BRIDGE_PATH)) return undefined;
    const first = this.#solves.get(client)?.[0];
    if (first?.kind !== 'undecided') return undefined;
    const method = path.slice(BRIDGE_PATH.length);
    if (method === 'Ping') first.pinged = true;
    else first.kind = method === 'Return' ? 'probe' : 'build';
    return undefined;
  }

  #finish(streamId: number, answer: Answer, status: number | undefined): void {
    const solve = this.#streams.get(streamId);
    this.#streams.delete(streamId);
    this.#fed = true;
    if (solve === undefined || solve.answer !== 'open') return;
    solve.answer = answer;
    if (solve.kind !== 'probe' || answer === 'error') this.#solveStatus = status;
  }
}

function isBuild(solve: Solve): boolean {
  return solve.kind === 'build' || (solve.kind === 'undecided' && !solve.pinged);
}
