/** Durations, sizes and cpu as pool.yaml writes them: Go's durations, Kubernetes' quantities. */
import { parseDurationMs } from '../../action/duration.ts';

/** For the JSON Schema. `parseDuration` is what decides. */
export const DURATION_PATTERN = /^(?:\d{1,12}(?:\.\d{1,6})?(?:ms|s|m|h))+$/;
export const SIZE_PATTERN = /^\d{1,6}(?:\.\d{1,3})?(?:[MGT]i?)$/;
export const CPU_PATTERN = /^(?:\d{1,7}m|\d{1,4}(?:\.\d{1,3})?)$/;

/** Milliseconds of `90s`, `45m` or `1h30m`; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  return DURATION_PATTERN.test(text) ? parseDurationMs(text) : undefined;
}

const SIZE_UNITS = new Map([
  ['M', 1e6],
  ['G', 1e9],
  ['T', 1e12],
  ['Mi', 2 ** 20],
  ['Gi', 2 ** 30],
  ['Ti', 2 ** 40],
]);

/** Bytes of `512Mi`, `100G` or `1.5Ti`; undefined when it is none. A bare number is none. */
export function parseSize(text: string): number | undefined {
  const match = /^([\d.]+)([A-Za-z]+)$/.exec(text);
  const unit = SIZE_UNITS.get(match?.[2] ?? '');
  return SIZE_PATTERN.test(text) && unit !== undefined ? Math.round(Number(match?.[1]) * unit) : undefined;
}

/** Thousandths of a core of `4`, `0.5` or `500m`; undefined when it is none. */
export function parseCpu(text: string): number | undefined {
  if (!CPU_PATTERN.test(text)) return undefined;
  return text.endsWith('m') ? Number(text.slice(0, -1)) : Math.round(Number(text) * 1000);
}

/** `2.5 GiB`, `512 MiB`, `1.9 TiB`. */
export function formatSize(bytes: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(Math.max(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), 1), units.length);
  const amount = bytes / 2 ** (10 * power);
  return `${Number(amount.toFixed(amount < 10 ? 1 : 0))} ${units[power - 1]}`;
}

/** `4 cores`, `0.5 cores`. */
export function formatCpu(millis: number): string {
  return `${Number((millis / 1000).toFixed(2))} ${millis === 1000 ? 'core' : 'cores'}`;
}
