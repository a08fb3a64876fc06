/** What a check has to say, before it is known where in the file that is. */
export interface Finding {
  readonly severity: 'error' | 'warning';
  readonly path: Path;
  readonly message: string;
}

/** Keys from the top of the file; numbers count the items of a list. */
export type Path = readonly (string | number)[];

export function refusal(path: Path, message: string): Finding {
  return { severity: 'error', path, message };
}

export function warning(path: Path, message: string): Finding {
  return { severity: 'warning', path, message };
}
