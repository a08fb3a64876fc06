/**
 * What the end of an attempt means, told by the state of the connection alone, never by log text.
 * docs/outcomes.md is this function as a table.
 */
export interface AttemptEnd {
  /** Exit code of buildx or of the script; null when a signal ended it. */
  readonly exitCode: number | null;
  /** Whether the pool connection ended before its client was done. */
  readonly lost: boolean;
  /** Whether the builder said GOAWAY: it was told to stop. */
  readonly goaway: boolean;
  /** The state of the build's own `Solve` call, the capability probe not counted. */
  readonly solve: SolveState;
}

export type SolveState = 'none' | 'sent' | 'answered-ok' | 'answered-error';

/**
 * - `succeeded`, `failed`: final.
 * - `dial-again`: the build had not begun; a new builder at the same place, invisible to the user.
 * - `builder-lost`: the build had begun; run again as often as `lost-builder-retries` says.
 */
export type Verdict = 'succeeded' | 'failed' | 'dial-again' | 'builder-lost';

export function judge(end: AttemptEnd): Verdict {
  if (end.exitCode === 0) return 'succeeded';
  switch (end.solve) {
    case 'answered-error':
      return 'failed';
    case 'none':
      return end.lost || end.goaway ? 'dial-again' : 'failed';
    case 'sent':
    case 'answered-ok':
      // Answered well and yet no success: the client never heard the whole of it, so nobody knows the digest.
      return end.lost || end.goaway ? 'builder-lost' : 'failed';
  }
}

/**
 * The state of a build that several builders work on, by what each of them was asked and has answered: an error is the
 * build's answer; as long as one builder owes its answer, so does the build; begun on one is begun.
 */
export function combineSolves(states: readonly SolveState[]): SolveState {
  return (
    (['answered-error', 'sent', 'answered-ok'] as const).find((state) => states.includes(state)) ?? 'none'
  );
}
