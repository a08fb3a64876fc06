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

test('what is known of the line is said with each sign of life; a look that comes too late says nothing', async () => {
  const lines: string[] = [];
  const looks: PromiseWithResolvers<string | undefined>[] = [];
  const look = () => {
    const next = Promise.withResolvers<string | undefined>();
    looks.push(next);
    return next.promise;
  };
  const announcer = new Announcer({ urls, print: (line) => lines.push(line), look });
  announcer.tell({ kind: 'queued', arch, atMs: 0, again: false });
  expect(looks).toHaveLength(1);
  looks[0]?.resolve('never said');
  await vi.advanceTimersByTimeAsync(15_000);
  looks[1]?.resolve('about 2nd in line');
  await vi.advanceTimersByTimeAsync(15_000);
  looks[2]?.resolve(undefined);
  await vi.advanceTimersByTimeAsync(15_000);
  announcer.tell({ kind: 'granted', arch, atMs: 46_000, waitedMs: 46_000, last: true });
  looks[3]?.resolve('too late');
  await vi.advanceTimersByTimeAsync(60_000);
  expect(lines).toEqual([
    'in line at tcp://pool:1',
    'queued 15.0 s · about 2nd in line',
    'queued 30.0 s',
    'a builder is ours after 46.0 s',
  ]);
  expect(vi.getTimerCount()).toBe(0);
});

test('of several lines each is told by its architecture, and what is held for the next', () => {
  const lines: string[] = [];
  const both = new Map([
    ['amd64', 'tcp://a:1'],
    ['arm64', 'tcp://b:1'],
  ] as const);
  const announcer = new Announcer({ urls: both, print: (line) => lines.push(line) });
  announcer.tell({ kind: 'queued', arch: 'amd64', atMs: 0, again: false });
  announcer.tell({ kind: 'granted', arch: 'amd64', atMs: 5_000, waitedMs: 5_000, last: false });
  vi.advanceTimersByTime(5_000);
  announcer.tell({ kind: 'queued', arch: 'arm64', atMs: 5_000, again: false });
  vi.advanceTimersByTime(15_000);
  announcer.tell({ kind: 'granted', arch: 'arm64', atMs: 21_000, waitedMs: 16_000, last: true });
  expect(lines).toEqual([
    'in line at tcp://a:1',
    'amd64: a builder is ours after 5.0 s; holding it while the next one is waited for',
    'in line at tcp://b:1',
    'queued 15.0 s',
    'arm64: a builder is ours after 16.0 s',
  ]);
  expect(vi.getTimerCount()).toBe(0);
});
