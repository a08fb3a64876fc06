/**
 * A planned replacement of the load balancer, as Kubernetes does it: the old one is asked to stop softly, the new one
 * starts; builds that run stay where they are, those who wait come to the new one, each at its own place.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { eventually, makeHeldContext, type PlainBuild } from '../../support/local-pool.ts';
import {
  AMD64,
  type Build,
  joinTimes,
  mostAtOnce,
  type RealBuilder,
  Rig,
  servedOrder,
  startRealBuild,
  watchBuilds,
} from '../../support/server-line.ts';

const WAIT = { timeout: 60_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 });
const BUILDERS = 8;
/** Long enough to be told from a check of the gate. */
const BUILD_LASTS_MS = 2_000;

test('incident 7: replaced under 8 running and 8 waiting builds: 0 killed, 0 doubled, order kept, the demand of all 16 known', {
  timeout: 400_000,
}, async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 12 }], tls: true });
  const old = await rig.startBalancer(11);
  const pair = await rig.builderPair(AMD64);
  const builders: RealBuilder[] = [];
  for (let ordinal = 0; ordinal < BUILDERS; ordinal += 1) {
    builders.push(await rig.startBuilder(AMD64, ordinal, pair));
    rig.announce(AMD64, ordinal);
  }
  await expect.poll(() => old.usable(AMD64), WAIT).toBe(BUILDERS);

  // Real builds, by plain buildctl.
  const scratch = mkdtempSync(join(tmpdir(), 'replacement-'));
  const held = Array.from({ length: BUILDERS }, () => makeHeldContext(scratch));
  const running: PlainBuild[] = [];
  for (const [index, { context }] of held.entries()) {
    running.push(startRealBuild(rig, context, `running ${index}`));
    await expect.poll(() => old.demand(AMD64), WAIT).toBe(index + 1);
  }
  const waiting = joinTimes(8).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  await expect.poll(async () => (await old.counters(AMD64)).queued, WAIT).toBe(8);

  const watch = watchBuilds(builders);
  old.stopSoftly();
  const next = await rig.startBalancer(12);
  expect(old.running).toBe(true);
  await expect.poll(() => next.demand(AMD64), WAIT).toBe(8);
  // What the scaler reads is the truth as soon as the new one knows its builders, and after each build that ends.
  let over = 0;
  for (const { ended } of running) void ended.then(() => (over += 1));
  const expectTruth = async (): Promise<void> => {
    const truth = (): number => 16 - over - waiting.filter(({ state }) => state === 'left').length;
    await expect.poll(async () => (await next.scalerDemand(AMD64)) - truth(), WAIT).toBe(0);
  };
  await expectTruth();
  expect(over).toBe(0);
  // Before HAProxy 3.1 those who have come over knock at builders that are taken, until that is known of all.
  await expect.poll(async () => (await next.counters(AMD64)).queued, WAIT).toBe(8);
  const releaseNext = async (): Promise<void> => {
    const build = held.shift();
    await eventually('its step runs', () => (build?.running() ?? 0) > 0);
    build?.release();
  };
  // Served one after another, as builds of either load balancer end; none gets in beside one of the old one's. Of two
  // builders that are free at the same moment either may be the first to tell its build.
  for (let count = 1; count <= 8; count += 1) {
    if (count % 2 === 1) await releaseNext();
    else waiting.find(({ state }) => state === 'building')?.leave();
    await expect.poll(() => servedOrder(waiting).length, WAIT).toBe(count);
    await expectTruth();
    await sleep(BUILD_LASTS_MS);
  }
  while (held.length > 0) {
    await releaseNext();
    await expectTruth();
  }
  for (const build of waiting) build.leave();
  await expectTruth();
  for (const { ended } of running) {
    const { code, log } = await ended;
    expect(code, log).toBe(0);
  }
  const { mostOnOne, builds } = watch();
  await old.exited;

  expect(servedOrder(waiting)).toEqual(waiting.map(({ name }) => name));
  expect(waiting.filter(({ state }) => state === 'lost')).toEqual([]);
  expect({ mostOnOne, builds }).toEqual({ mostOnOne: 1, builds: 16 });
  expect(old.log.filter(({ server }) => /^b\d+$/.test(server)).map(({ termination }) => termination)).toEqual(
    running.map(() => '--'),
  );
  await expect.poll(() => next.demand(AMD64), WAIT).toBe(0);
  rmSync(scratch, { recursive: true });
});

// Mostly waiting: both at once.
test.concurrent('while builds go on at the old load balancer, the new one tells how many builders they take', async ({
  expect,
}) => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 6 }], tls: true });
  const old = await rig.startBalancer(11);
  const standIns = await rig.startGatedStandIns(AMD64, [0, 1, 2, 3]);
  for (const { ordinal } of standIns) rig.announce(AMD64, ordinal);
  await expect.poll(() => old.usable(AMD64), WAIT).toBe(4);
  const running = joinTimes(3).map((joined, index) => rig.join(`running ${index}`, rig.door(AMD64), joined));
  await Promise.all(running.map(({ granted }) => granted));
  old.stopSoftly();
  const next = await rig.startBalancer(12);
  const elsewhere = (): Promise<number> => next.takenElsewhere(AMD64);
  await expect.poll(elsewhere, WAIT).toBe(3);
  const here = rig.join('here', rig.door(AMD64));
  await here.granted;
  await sleep(1_500);
  // Its own build is no build of another load balancer.
  const demands = async () => [await next.demand(AMD64), await elsewhere()];
  await expect.poll(demands, WAIT).toEqual([1, 3]);
  for (const [index, build] of running.entries()) {
    build.leave();
    await expect.poll(elsewhere, WAIT).toBe(2 - index);
  }
  await old.exited;
  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual([1, 1, 1, 1]);
  // A gate whose daemon is gone is nobody's build.
  await standIns[0]?.die();
  await expect.poll(() => next.usable(AMD64), WAIT).toBe(3);
  await expect.poll(demands, WAIT).toEqual([1, 0]);
});

test.concurrent('the new one may start beside the old one: newcomers there do not overtake those who come over', async ({
  expect,
}) => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 4 }], tls: true });
  const old = await rig.startBalancer(11);
  const standIns = await rig.startGatedStandIns(AMD64, [0, 1]);
  for (const { ordinal } of standIns) rig.announce(AMD64, ordinal);
  await expect.poll(() => old.usable(AMD64), WAIT).toBe(2);
  const running = [0, 1].map((index) => rig.join(`running ${index}`, rig.door(AMD64)));
  await Promise.all(running.map(({ granted }) => granted));
  const times = joinTimes(8);
  const waiting = times.slice(0, 6).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  await expect.poll(async () => (await old.counters(AMD64)).queued, WAIT).toBe(6);

  const next = await rig.startBalancerBeside(12);
  // It knows all builders by now, and that they are taken.
  await expect.poll(() => next.takenElsewhere(AMD64), WAIT).toBe(2);
  rig.serve(12);
  const newcomers: Build[] = [];
  for (const index of [6, 7]) newcomers.push(rig.join(`${index}`, rig.door(AMD64), times[index]));
  await expect.poll(() => next.demand(AMD64), WAIT).toBe(2);
  await sleep(1_500);
  expect(newcomers.map(({ state }) => state)).toEqual(['waiting', 'waiting']);
  old.stopSoftly();
  const waitingThere = async () => [(await next.counters(AMD64)).queued, await next.demand(AMD64)];
  await expect.poll(waitingThere, WAIT).toEqual([8, 8]);
  const all = [...waiting, ...newcomers];
  for (let count = 1; count <= all.length; count += 1) {
    (running.shift() ?? all.find(({ state }) => state === 'building'))?.leave();
    await expect.poll(() => servedOrder(all).length, WAIT).toBe(count);
  }
  expect(servedOrder(all)).toEqual(all.map(({ name }) => name));
  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual([1, 1]);
  await old.exited;
});
