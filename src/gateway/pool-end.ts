import type { MethodView, SolveState } from './methods.ts';

/** How a pool connection ended. `goaway`: the builder had announced it. `client-left`: our client was done. */
export type PoolEndCause = 'fin' | 'error' | 'goaway' | 'client-left' | 'closed';

export interface PoolEnd {
  readonly cause: PoolEndCause;
  /** What the build had come to at that moment. */
  readonly solve: SolveState;
  /** Whether a build was under way, or had been given up because the builder said GOAWAY. */
  readonly buildOpen: boolean;
  readonly error?: Error;
}

/** The end of a pool connection as the view of it stands at that moment. */
export function describePoolEnd(cause: PoolEndCause, view: MethodView, error: Error | undefined): PoolEnd {
  const announced = view.goaway && (cause === 'fin' || cause === 'error');
  return {
    cause: announced ? 'goaway' : cause,
    solve: view.solve,
    buildOpen: view.solve === 'sent' && (announced || view.openStreams > 0),
    ...(error === undefined ? {} : { error }),
  };
}
