/** What a check has to say, before it is known where in the file that is. */
export interface Finding {
  readonly severity: 'error' | 'warning';
  readonly path: Path;
  /** What is wrong or risky, with the value and the reason. */
  readonly problem: string;
  /** What to write instead. */
  readonly remedy: string;
  /**
   * The other keys that its rule has read; for an unknown key the one that may have been meant. A finding is not told while
   * one of them is faulty itself: a default in the place of what was meant would accuse the wrong key.
   */
  readonly about: readonly Path[];
  /** What was meant cannot be known: the number in its place is a stand-in, and nothing follows from it. */
  readonly isGap?: true;
}

/** Keys from the top of the file; numbers count the items of a list. */
export type Path = readonly (string | number)[];

/** Stands in a path for the keys of a map: a rule may read which architectures there are, and nothing of them. */
export const KEYS = '(keys)';

/** Paths below `at`, written as a person would: `scale-down.idle`. */
export function keysOf(at: Path): (key: string) => Path {
  return (key) => [...at, ...key.split('.')];
}

export function refusal(path: Path, problem: string, remedy: string, about: readonly Path[]): Finding {
  return { severity: 'error', path, problem, remedy, about };
}

export function gap(path: Path, problem: string, remedy: string): Finding {
  return { ...refusal(path, problem, remedy, []), isGap: true };
}

export function warning(path: Path, problem: string, remedy: string, about: readonly Path[]): Finding {
  return { severity: 'warning', path, problem, remedy, about };
}

/** One sentence; a second colon would be hard to read. */
export function messageOf({ problem, remedy }: Pick<Finding, 'problem' | 'remedy'>): string {
  return `${problem}${problem.includes(': ') ? ';' : ':'} ${remedy}`;
}
