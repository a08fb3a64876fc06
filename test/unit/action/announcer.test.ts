import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Announcer, nextLineInMs } from '../../../src/action/announcer.ts';
import { LineFailure } from '../../../src/queue/failure.ts';

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(0);
});
afterEach(() => {
  vi.useRealTimers();
});

const arch = 'amd64' as const;
const urls = new Map([[arch, 'tcp://pool:1']]);

test('a wait shows signs of life, rarer the longer it takes, and ends with how long it was', () => {
  const lines: string[] = [];
  const announcer = new Announcer({ urls, print: (line) => lines.push(line) });
  announcer.tell({ kind: 'dialling', arch, atMs: 0 });
  announcer.tell({ kind: 'queued', arch, atMs: 0, again: false });
  vi.advanceTimersByTime(3 * 60_000);
  announcer.tell({ kind: 'granted', arch, atMs: 180_000, waitedMs: 180_000, last: true });
  vi.advanceTimersByTime(3_600_000);
  expect(lines).toEqual([
    'in line at tcp://pool:1',
    'queued 15.0 s',
    'queued 30.0 s',
    'queued 45.0 s',
    'queued 1m00s',
    'queued 2m00s',
    'queued 3m00s',
    'a builder is ours after 3m00s',
  ]);
  expect(vi.getTimerCount()).toBe(0);
});

test('the same refusal is said once, however often it is met; the next kind of trouble is said again', () => {
  const lines: string[] = [];
  const announcer = new Announcer({ urls, print: (line) => lines.push(line) });
  const failed = (message: string) =>
    announcer.tell({
      kind: 'failed',
      arch,
      atMs: 0,
      failure: new LineFailure('refused', message),
      retryInMs: 1,
    });
  for (let attempt = 0; attempt < 100; attempt++) failed('refused');
  failed('no route');
  expect(lines).toEqual([
    'refused; dialling again, the place in line is kept',
    'no route; dialling again, the place in line is kept',
  ]);
  announcer.tell({ kind: 'queued', arch, atMs: 5, again: true });
  expect(lines).toHaveLength(2);
  vi.advanceTimersByTime(1_000);
  expect(lines.at(-1)).toBe('back in line, at the same place');
  announcer.stop();
  expect(vi.getTimerCount()).toBe(0);
});

test('even after a day there is a line every five minutes', () => {
  expect(nextLineInMs(24 * 3_600_000)).toBe(300_000);
});
