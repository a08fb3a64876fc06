import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatDuration, parseDurationMs } from '../../../src/action/duration.ts';

test('hours, minutes, seconds and milliseconds add up as written', () => {
  const amount = fc.integer({ min: 0, max: 999 });
  fc.assert(
    fc.property(amount, amount, amount, amount, (h, m, s, ms) => {
      expect(parseDurationMs(`${h}h${m}m${s}s${ms}ms`)).toBe(((h * 60 + m) * 60 + s) * 1_000 + ms);
    }),
  );
  expect(parseDurationMs('1.5h')).toBe(5_400_000);
});

test.each(['', '5', '-5m', '5 m', 'h', '5d', '1h30', '1e3s', 'two hours', '5m!', 'NaNs', '０s'])(
  '%j is no duration',
  (text) => {
    expect(parseDurationMs(text)).toBeUndefined();
  },
);

test('any text is read or refused, in no time', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const ms = parseDurationMs(text);
      expect(ms === undefined || ms >= 0).toBe(true);
    }),
  );
});

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [1_000, '1.0 s'],
  [59_960, '1m00s'],
  [133_000, '2m13s'],
  [3_599_600, '1h00m'],
  [7_320_000, '2h02m'],
])('%i ms reads %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});
