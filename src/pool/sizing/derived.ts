import type { Derived } from './model.ts';

export function derived<Value>(value: Value, reason: string): Derived<Value> {
  return { value, reason };
}

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const MIB = 2 ** 20;
export const GIB = 2 ** 30;

/** Rounded up to a whole multiple of `step`. */
export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Rounded down to a whole multiple of `step`. */
export function roundDown(value: number, step: number): number {
  return Math.floor(value / step) * step;
}
