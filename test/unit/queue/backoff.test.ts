import fc from 'fast-check';
import { expect, test } from 'vitest';
import { delayBoundMs, delayMs } from '../../../src/queue/backoff.ts';

const backoffs = fc
  .record({ baseMs: fc.integer({ min: 1, max: 10_000 }), factor: fc.integer({ min: 1, max: 1_000 }) })
  .map(({ baseMs, factor }) => ({ baseMs, capMs: baseMs * factor }));
const failures = fc.integer({ min: 1, max: 1_000_000 });
const randoms = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test('a delay is never negative and never above the cap, however often dialling failed', () => {
  fc.assert(
    fc.property(backoffs, failures, randoms, (backoff, count, random) => {
      const delay = delayMs(backoff, count, random);
      expect(delay).toBeGreaterThanOrEqual(0);
      expect(delay).toBeLessThanOrEqual(backoff.capMs);
      expect(Number.isInteger(delay)).toBe(true);
    }),
  );
});

test('the bound doubles from the base until the cap, and the jitter is full: it reaches from nothing to the bound', () => {
  fc.assert(
    fc.property(backoffs, failures, (backoff, count) => {
      const bound = delayBoundMs(backoff, count);
      expect(delayBoundMs(backoff, 1)).toBe(Math.min(backoff.baseMs, backoff.capMs));
      expect(delayBoundMs(backoff, count + 1)).toBe(Math.min(backoff.capMs, bound * 2));
      expect(delayMs(backoff, count, 0)).toBe(0);
      expect(delayMs(backoff, count, 0.999_999)).toBeGreaterThanOrEqual(Math.floor(bound * 0.99) - 1);
    }),
  );
});
