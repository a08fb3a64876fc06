/** Reads command-line values. Every problem is collected, so that a person sees all of them at once. */

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface ArgumentReader {
  /** A whole number from `least` to `most`; NaN, and a problem, otherwise. */
  readInteger(option: string, value: string, least: number, most: number): number;
  /** A duration with a unit, `500ms`, `30s`, `20m` or `2h`, in milliseconds; NaN, and a problem, otherwise. */
  readDuration(option: string, value: string, leastMs: number, mostMs: number): number;
  readChoice<Choice extends string>(option: string, value: string, choices: readonly Choice[]): Choice;
  /** Adds a problem of the caller's own. */
  refuse(problem: string): void;
  /** Throws a UsageError that names every problem, if there is one. */
  finish(): void;
}

const UNITS_MS = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

export function readArguments(): ArgumentReader {
  const problems: string[] = [];
  return {
    readInteger: (option, value, least, most) => {
      const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
      if (!(number >= least && number <= most)) {
        problems.push(`${option}: expected a whole number from ${least} to ${most}, got \`${value}\``);
        return Number.NaN;
      }
      return number;
    },
    readDuration: (option, value, leastMs, mostMs) => {
      const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(value);
      const durationMs = Number(match?.[1]) * (UNITS_MS.get(match?.[2] ?? '') ?? Number.NaN);
      if (!(durationMs >= leastMs && durationMs <= mostMs)) {
        problems.push(
          `${option}: expected a duration from ${formatDuration(leastMs)} to ${formatDuration(mostMs)} such as \`30s\`, got \`${value}\``,
        );
        return Number.NaN;
      }
      return durationMs;
    },
    readChoice: (option, value, choices) => {
      const choice = choices.find((candidate) => candidate === value);
      const [first] = choices;
      if (choice === undefined) {
        problems.push(`${option}: expected one of ${choices.join(', ')}, got \`${value}\``);
      }
      return choice ?? (first as (typeof choices)[number]);
    },
    refuse: (problem) => {
      problems.push(problem);
    },
    finish: () => {
      if (problems.length > 0) {
        throw new UsageError(problems.join('\n'));
      }
    },
  };
}

/** The largest unit that keeps it whole: `20m`. */
export function formatDuration(durationMs: number): string {
  const [unit, unitMs] = [...UNITS_MS]
    .reverse()
    .find(([, size]) => durationMs % size === 0 && durationMs >= size) ?? ['ms', 1];
  return `${durationMs / unitMs}${unit}`;
}
