/** The order of the line on a real HAProxy, in seconds. test/long does the same with real waits. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { backendName } from '../../src/pool/haproxy.ts';
import { CLASS_TICKS, OLDER_CLASSES, PRIORITY_CLASSES } from '../../src/pool/priority.ts';
import { PLACE_SETTING_ID, PLACE_TICK_MS, placeToken } from '../../src/queue/token.ts';
import {
  type Balancer,
  type Build,
  greeting,
  Line,
  settingsFrame,
  shuffled,
  startBalancer,
} from '../long/line.ts';

const LINES = [
  'scrambled',
  'neighbours',
  'dialects',
  'free',
  'restarted',
  'moved',
  'overtaken',
  'ghosts',
  'empty',
  'doubled',
];
const HOUR_TICKS = Math.floor(3_600_000 / PLACE_TICK_MS);
const WAIT_MS = 60_000;

let balancer: Balancer;

beforeAll(async () => {
  balancer = await startBalancer(LINES);
  for (const line of LINES) if (line !== 'empty' && line !== 'doubled') balancer.setBuilder(line, true);
});

afterAll(async () => {
  await balancer.stop();
});

/** Ages of places in ticks, oldest first: neighbours, ends of classes, hours. All but the newest are of the past. */
function scrambledAges(): readonly number[] {
  const toClassEnd = placeToken(Date.now()) % CLASS_TICKS;
  return [
    23 * HOUR_TICKS,
    2 * HOUR_TICKS + 1,
    2 * HOUR_TICKS,
    ...[4, 3, 2, 1, 0, -1, -2].map((ticks) => toClassEnd + 3 * CLASS_TICKS + ticks),
    ...[511, 510, 300, 20, 2, 1, 0].map((ticks) => toClassEnd + ticks),
  ].sort((one, other) => other - one);
}

/** All at once, and again if HAProxy stood still meanwhile: before 3.1 that may change their order, see OLD_KEY_STEP_MS. */
async function queueScrambled(
  on: Balancer,
  name: string,
  line: Line,
  tokens: readonly number[],
  seed: number,
): Promise<void> {
  const queued = async (count: number): Promise<void> =>
    await expect.poll(() => on.queued(name), { timeout: WAIT_MS }).toBe(count);
  for (;;) {
    const before = await queueClock(on);
    const builds = shuffled(tokens, seed).map((token) => line.dial(String(token), greeting(token)));
    await queued(tokens.length);
    const after = await queueClock(on);
    const lostMs = after.mostBehindMs - before.leastBehindMs;
    if (!(lostMs >= PLACE_TICK_MS)) return;
    for (const build of builds) build.leave();
    await queued(0);
  }
}

async function sessions(line: string, count: number): Promise<void> {
  await expect.poll(() => balancer.sessions(line), { timeout: WAIT_MS }).toBe(count);
}

async function waiting(line: string, count: number): Promise<void> {
  await expect.poll(() => balancer.queued(line), { timeout: WAIT_MS }).toBe(count);
}

test('places are served in the order of joining, in whatever order they dial', async () => {
  const now = placeToken(Date.now());
  const tokens = scrambledAges().map((age) => now - age);
  for (const seed of [1, 2, 3]) {
    const line = new Line(balancer, 'scrambled');
    const blocker = await line.block();
    await queueScrambled(balancer, 'scrambled', line, tokens, seed);
    blocker.leave();
    expect(await line.waitForServed(tokens.length, WAIT_MS)).toEqual(tokens.map(String));
    await sessions('scrambled', 0);
  }
  const places = balancer.log.filter(({ frontend }) => frontend === 'scrambled').map(({ place }) => place);
  for (const token of tokens) expect(places).toContain(token.toString(16).toUpperCase().padStart(8, '0'));
});

test('neighbours a tick apart are told apart, at whatever fraction of a millisecond they dial', async () => {
  const line = new Line(balancer, 'neighbours');
  const blocker = await line.block();
  const now = placeToken(Date.now());
  const first = now - (now % CLASS_TICKS) - CLASS_TICKS;
  const tokens = Array.from({ length: 128 }, (_, tick) => first + tick);
  for (const token of tokens.toReversed()) {
    line.dial(String(token), greeting(token));
    await sleep(4 + (token % 7));
  }
  await waiting('neighbours', tokens.length);
  blocker.leave();
  expect(await line.waitForServed(tokens.length, WAIT_MS)).toEqual(tokens.map(String));
});

test('clients without a place, or with a strange one, have that of their arrival', async () => {
  const line = new Line(balancer, 'dialects');
  const blocker = await line.block();
  const now = (): number => placeToken(Date.now());
  const scenes: ReadonlyArray<readonly [name: string, dial: () => Build]> = [
    ['plain gRPC', () => line.dial('plain gRPC', greeting(null))],
    ['other settings', () => line.dial('other settings', other([[4, 65_535]]))],
    [
      'more settings',
      () =>
        line.dial(
          'more settings',
          other([
            [PLACE_SETTING_ID, now()],
            [4, 65_535],
          ]),
        ),
    ],
    ['no HTTP/2', () => line.dial('no HTTP/2', Buffer.from('GET / HTTP/1.1\r\nHost: builders.test\r\n\r\n'))],
    ['the future', () => line.dial('the future', greeting(now() + HOUR_TICKS))],
    ['nonsense', () => line.dial('nonsense', greeting(0))],
    ['a place', () => line.dial('a place', greeting(now()))],
    ['plain gRPC again', () => line.dial('plain gRPC again', greeting(null))],
  ];
  const joined = now();
  let clock = await queueClock(balancer);
  for (const [index, [, dial]] of scenes.entries()) {
    // Whoever was on the way while HAProxy stood still may be put before those who came ahead: see OLD_KEY_STEP_MS.
    for (let lostMs = PLACE_TICK_MS; lostMs >= PLACE_TICK_MS; ) {
      const next = clock.ms + 3 * PLACE_TICK_MS;
      while (clock.ms < next) {
        await sleep(50);
        clock = await queueClock(balancer);
      }
      const before = clock;
      const build = dial();
      await waiting('dialects', index + 1);
      clock = await queueClock(balancer);
      lostMs = clock.mostBehindMs - before.leastBehindMs;
      if (!(lostMs >= PLACE_TICK_MS)) break;
      build.leave();
      await waiting('dialects', index);
    }
  }
  line.dial('an old place', greeting(joined - 1));
  await waiting('dialects', scenes.length + 1);
  blocker.leave();
  const served = await line.waitForServed(scenes.length + 1, WAIT_MS);
  expect(served).toEqual(['an old place', ...scenes.map(([name]) => name)]);
}, 240_000);

interface QueueClock {
  readonly ms: number;
  /** How far it is behind this machine's: something between these two. */
  readonly leastBehindMs: number;
  readonly mostBehindMs: number;
}

/** The clock that HAProxy queues by; before 3.1 it stands still with the process. */
async function queueClock(on: Balancer): Promise<QueueClock> {
  const from = Date.now();
  const answer = await on.ask('show activity');
  const ms = 1_000 * Number(/^date_now: ([\d.]+)/m.exec(answer)?.[1]);
  return { ms, leastBehindMs: from - ms, mostBehindMs: Date.now() - ms };
}

function other(settings: ReadonlyArray<readonly [number, number]>): Buffer {
  return Buffer.concat([greeting(null).subarray(0, 24), settingsFrame(settings)]);
}

test('nobody waits for bytes that never come', async () => {
  const line = new Line(balancer, 'free');
  (await line.block()).leave();
  await sessions('free', 0);
  const served = async (bytes: Buffer): Promise<number> => {
    const start = Date.now();
    line.served.length = 0;
    line.dial('one', bytes);
    await line.waitForServed(1, WAIT_MS);
    await sessions('free', 0);
    return Date.now() - start;
  };
  expect(await served(greeting(placeToken(Date.now())))).toBeLessThan(4_000);
  expect(await served(greeting(null))).toBeLessThan(4_000);
  // A client that says nothing is listened to for a bounded time.
  const silence = await served(Buffer.alloc(0));
  expect(silence).toBeGreaterThan(4_000);
  expect(silence).toBeLessThan(20_000);
});

test('a place survives the loss of the load balancer', async () => {
  const own = await startBalancer(['restarted']);
  try {
    own.setBuilder('restarted', true);
    const now = placeToken(Date.now());
    const tokens = scrambledAges().map((age) => now - age);
    const first = new Line(own, 'restarted');
    await first.block();
    await queueScrambled(own, 'restarted', first, tokens, 4);
    await own.restart();
    expect(first.served).toEqual([]);
    const line = new Line(own, 'restarted');
    const blocker = await line.block();
    await queueScrambled(own, 'restarted', line, tokens, 5);
    blocker.leave();
    expect(await line.waitForServed(tokens.length, WAIT_MS)).toEqual(tokens.map(String));
  } finally {
    await own.stop();
  }
}, 240_000);

/** Resolves when the class of the present has some time left. */
async function farFromClassEnd(): Promise<void> {
  const leftMs = (CLASS_TICKS - (placeToken(Date.now()) % CLASS_TICKS)) * PLACE_TICK_MS;
  if (leftMs < 20_000) await sleep(leftMs);
}

/** Pretends that the line's origin was set `classes` ago. */
async function ageOrigin(line: string, classes: number): Promise<number> {
  const origin = (Math.floor(Date.now() / PLACE_TICK_MS / CLASS_TICKS) - classes) * CLASS_TICKS;
  await balancer.ask(`experimental-mode on;set var proc.origin_${backendName(line)} int(${origin})`);
  return origin;
}

async function originOf(line: string): Promise<number> {
  const answer = await balancer.ask(`get var proc.origin_${backendName(line)}`);
  return Number(/value=<(\d+)>/.exec(answer)?.[1]);
}

test('the origin moves after a day, when nobody waits, and changes nothing', async () => {
  const line = new Line(balancer, 'moved');
  const blocker = await line.block();
  const old = await ageOrigin('moved', 3 * OLDER_CLASSES);
  const now = placeToken(Date.now());
  const dial = async (name: string, token: number, origin: 'stays' | 'moves'): Promise<void> => {
    const before = await originOf('moved');
    const count = await balancer.queued('moved');
    line.dial(name, greeting(token));
    await waiting('moved', count + 1);
    expect((await originOf('moved')) === before).toBe(origin === 'stays');
  };
  // Only the blocker is there, and it does not wait.
  await dial('second', now, 'moves');
  expect(await originOf('moved')).toBeGreaterThan(old);
  await ageOrigin('moved', 3 * OLDER_CLASSES);
  await dial('blocked', now + 2, 'stays');
  await dial('first', now - 1, 'stays');
  blocker.leave();
  await line.waitForServed(3, WAIT_MS);
  expect(line.served[0]).toBe('second');
});

test('under a line that was not empty for five days newcomers overtake, once', async () => {
  const line = new Line(balancer, 'overtaken');
  const blocker = await line.block();
  const classes = PRIORITY_CLASSES - 1;
  // The origin moves with the end of a class.
  await farFromClassEnd();
  const now = placeToken(Date.now());
  line.dial('waiting', greeting(now - 5 * CLASS_TICKS));
  await waiting('overtaken', 1);
  await ageOrigin('overtaken', classes);
  line.dial('before 2', greeting(now - 2 * CLASS_TICKS));
  line.dial('before 1', greeting(now - 3 * CLASS_TICKS));
  await waiting('overtaken', 3);
  await ageOrigin('overtaken', classes + 1);
  line.dial('after 2', greeting(now - 1));
  await waiting('overtaken', 4);
  line.dial('after 1', greeting(now - 2));
  await waiting('overtaken', 5);
  blocker.leave();
  const expected = ['waiting', 'after 1', 'after 2', 'before 1', 'before 2'];
  expect(await line.waitForServed(expected.length, WAIT_MS)).toEqual(expected);
}, 240_000);

test.each(['ghosts', 'empty'])('a cancelled build leaves nothing behind (%s)', async (name) => {
  const line = new Line(balancer, name);
  const blocker = name === 'empty' ? undefined : await line.block();
  const others = blocker === undefined ? 0 : 1;
  const builds = [1, 2, 3, 4, 5].map((id) => line.dial(`${id}`, greeting(placeToken(Date.now()))));
  await waiting(name, builds.length);
  for (const [index, build] of builds.entries()) {
    build.leave();
    await sessions(name, builds.length - index - 1 + others);
  }
  blocker?.leave();
  await sessions(name, 0);
  expect(line.served).toEqual([]);
});

test('a builder that comes up while builds wait is never given to two', async () => {
  const line = new Line(balancer, 'doubled');
  const first = line.dial('first', greeting(placeToken(Date.now())), true);
  await waiting('doubled', 1);
  balancer.setBuilder('doubled', true);
  expect(await line.waitForServed(1, WAIT_MS)).toEqual(['first']);
  // The line is empty now; a newcomer must not be taken for the first on a free builder.
  line.dial('second', greeting(placeToken(Date.now())), true);
  await sleep(1_000);
  expect(line.served).toEqual(['first']);
  first.leave();
  // This client does not dial again: it comes when the first is really gone.
  await expect.poll(() => balancer.sessions('doubled'), { timeout: WAIT_MS }).toBeLessThanOrEqual(1);
  line.dial('third', greeting(placeToken(Date.now())));
  await expect.poll(() => line.served.length, { timeout: WAIT_MS }).toBeGreaterThan(1);
});
