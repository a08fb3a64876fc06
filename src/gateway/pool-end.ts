import type { SolveState } from './methods.ts';

/** How a pool connection ended. `goaway`: the builder had announced it. `client-left`: our client was done. */
export type PoolEndCause = 'fin' | 'error' | 'goaway' | 'client-left' | 'closed';

export interface PoolEnd {
  readonly cause: PoolEndCause;
  /** What the build had come to at that moment. */
  readonly solve: SolveState;
  readonly error?: Error;
}
