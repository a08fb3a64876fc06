const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const PART = /(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h)/y;

/**
 * Milliseconds of a duration as Go writes it, such as `90s`, `45m` or `1h30m`; undefined when it is none.
 * A bare number is none: seconds and minutes are both what people mean by it.
 */
export function parseDurationMs(text: string): number | undefined {
  let totalMs = 0;
  let at = 0;
  while (at < text.length) {
    PART.lastIndex = at;
    const part = PART.exec(text);
    const unit = part?.[2];
    if (part === null || unit === undefined) return undefined;
    totalMs += Number(part[1]) * UNIT_MS[unit as keyof typeof UNIT_MS];
    at = PART.lastIndex;
  }
  return at === 0 ? undefined : Math.round(totalMs);
}

/** A time span for a person: `850 ms`, `12.3 s`, `2m13s`, `1h02m`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  const two = (value: number) => String(value).padStart(2, '0');
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}
