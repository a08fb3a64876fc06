/** A flag for each value. */
export function each(name: string, values: readonly string[]): string[] {
  return values.flatMap((value) => [name, value]);
}

/** A flag with its value, where there is one. */
export function optional(name: string, value: string | undefined): string[] {
  return value === undefined ? [] : [name, value];
}

export function flag(name: string, given: boolean): string[] {
  return given ? [name] : [];
}
