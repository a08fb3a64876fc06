/**
 * The cluster's load balancer over waits that HAProxy alone gets wrong (its own keys turn round after 524 s): TLS on
 * both sides, eight real builders and eight stand-ins, both architectures. About 22 minutes. Last, how soon new builders
 * are used, where nothing else runs.
 */

import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { placeToken } from '../../src/queue/token.ts';
import { describeGrowth, grow, NEGATIVE_CACHE_MS, WITHIN_MS } from '../support/growth.ts';
import {
  AMD64,
  ARM64,
  type Build,
  type LoadBalancer,
  mostAtOnce,
  Rig,
  type StandIn,
  servedOrder,
} from '../support/server-line.ts';

const MINUTE = 60_000;
const WAIT = { timeout: MINUTE, interval: 50 };
const JOINING_MS = 9.5 * MINUTE;
const RELEASE_AT_MS = 10.5 * MINUTE;
const REAL = 8;
/** Of all processors, before the builders of the last test start. */
const LEAST_IDLE = 0.7;

/** Joins over `JOINING_MS`; every fourth one dials again half-way, at its own place. */
async function joinSlowly(rig: Rig, pool: string, count: number, start: number): Promise<readonly Build[]> {
  const builds: Build[] = [];
  for (let index = 0; index < count; index += 1) {
    await sleep(Math.max(0, start + (index * JOINING_MS) / count - Date.now()));
    builds.push(rig.join(`${index}`, index % 2 === 0 ? rig.door(pool) : rig.sharedDoor(pool)));
    if (index % 4 === 3) builds[Math.floor(index / 2)]?.redial();
  }
  return builds;
}

/** Lets the holders go one after another, then everybody who is served, and expects the order of joining. */
async function expectOrder(holders: readonly Build[], builds: readonly Build[], what: string): Promise<void> {
  const pending = [...holders];
  for (let count = 1; count <= builds.length; count += 1) {
    (pending.shift() ?? builds.find(({ state }) => state === 'building'))?.leave();
    await expect.poll(() => servedOrder(builds).length, WAIT).toBe(count);
  }
  expect(servedOrder(builds), what).toEqual(builds.map(({ name }) => name));
  expect(new Set(builds.map(({ token }) => token)).size, what).toBe(builds.length);
}

async function expectDemand(balancer: LoadBalancer, pool: string, truth: number): Promise<void> {
  await expect.poll(() => balancer.scalerDemand(pool), { timeout: 5_000, interval: 50 }).toBe(truth);
}

test('order over nine minutes: builders all busy, and no builder at all', {
  timeout: 20 * MINUTE,
}, async () => {
  await using rig = await Rig.open({
    pools: [
      { name: AMD64, ceiling: 40 },
      { name: ARM64, ceiling: 40 },
    ],
    tls: true,
  });
  const balancer = await rig.startBalancer();
  const pair = await rig.builderPair(AMD64);
  for (let ordinal = 0; ordinal < REAL; ordinal += 1) await rig.startBuilder(AMD64, ordinal, pair);
  const standIns: StandIn[] = [...(await rig.startStandIns(AMD64, [8, 9, 10, 11, 12, 13, 14, 15]))];
  for (let ordinal = 0; ordinal < 16; ordinal += 1) rig.announce(AMD64, ordinal);
  await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(16);
  const holders = Array.from({ length: 16 }, (_, index) => rig.join(`holder ${index}`, rig.door(AMD64)));
  await Promise.all(holders.map(({ granted }) => granted));
  const start = Date.now();
  const [amd64, arm64] = await Promise.all([
    joinSlowly(rig, AMD64, 40, start),
    joinSlowly(rig, ARM64, 40, start),
  ]);
  await sleep(Math.max(0, start + RELEASE_AT_MS - Date.now()));
  await expectDemand(balancer, AMD64, 56);
  await expectDemand(balancer, ARM64, 40);
  // One that goes away after so long is gone from the count at once.
  arm64[7]?.leave();
  await expectDemand(balancer, ARM64, 39);
  await expectOrder(holders, amd64, 'builders busy');
  standIns.push(...(await rig.startStandIns(ARM64, [0])));
  rig.announce(ARM64, 0);
  await expectOrder(
    [],
    arm64.filter(({ state }) => state !== 'left'),
    'no builder',
  );
  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual(standIns.map(() => 1));
  expect([await balancer.mostOnOne(AMD64), await balancer.mostOnOne(ARM64)]).toEqual([1, 1]);
  const waited = Math.round((Date.now() - start) / 1000);
  console.log(`80 builds in the order of joining, the first after ${waited} s`);
});

test('order over nine minutes across a load balancer that was lost', { timeout: 20 * MINUTE }, async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 16 }], tls: true });
  const first = await rig.startBalancer(11);
  const pair = await rig.builderPair(AMD64);
  for (let ordinal = 0; ordinal < REAL; ordinal += 1) await rig.startBuilder(AMD64, ordinal, pair);
  const standIns = await rig.startStandIns(AMD64, [REAL, REAL + 1]);
  const count = REAL + standIns.length;
  for (let ordinal = 0; ordinal < count; ordinal += 1) rig.announce(AMD64, ordinal);
  await expect.poll(() => first.usable(AMD64), WAIT).toBe(count);
  // Older than all others, so that they have the builders again after the loss.
  const holders = Array.from({ length: count }, (_, index) =>
    rig.join(`holder ${index}`, rig.door(AMD64), Date.now() - (20 - index) * MINUTE),
  );
  await Promise.all(holders.map(({ granted }) => granted));
  const start = Date.now();
  const builds: Build[] = [];
  for (let index = 0; index < 30; index += 1) {
    builds.push(rig.join(`${index}`, rig.door(AMD64)));
    await sleep(2_000);
  }
  await first.kill();
  const second = await rig.startBalancer(12);
  const again = holders.map(({ name, token }) => rig.joinAt(`${name} again`, rig.door(AMD64), token));
  await Promise.all(again.map(({ granted }) => granted));
  await expectDemand(second, AMD64, 30 + count);
  await sleep(Math.max(0, start + RELEASE_AT_MS - Date.now()));
  await expectDemand(second, AMD64, 30 + count);
  await expectOrder(again, builds, 'after a loss');
  expect(builds.map(({ dials }) => dials).every((dials) => dials >= 2)).toBe(true);
  expect(placeToken(start)).toBeGreaterThan(holders.at(-1)?.token ?? 0);
  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual([1, 1]);
  expect(await second.mostOnOne(AMD64)).toBe(1);
});

test('on a machine with nothing else to do: 1, 40 and 400 builders have their builds within 3 s of their names', {
  timeout: 5 * MINUTE,
}, async ({ skip }) => {
  const idle = await idleShare();
  skip(idle < LEAST_IDLE, `the machine is busy: ${Math.round(100 * idle)} % idle`);
  await using rig = await Rig.open({
    pools: [{ name: AMD64, ceiling: 400 }],
    tls: false,
    negativeCacheMs: NEGATIVE_CACHE_MS,
  });
  const growth = await grow(rig, await rig.startBalancer());
  console.log(describeGrowth(growth));
  for (const { building, expected, afterNamesMs, afterAnswerMs } of growth.steps) {
    expect(building).toEqual(expected);
    expect(afterNamesMs.at(-1)).toBeLessThan(WITHIN_MS);
    expect(afterAnswerMs.at(-1)).toBeLessThan(WITHIN_MS);
  }
});

/** How much of the processors' time nobody uses, over three seconds: 0 to 1. */
async function idleShare(): Promise<number> {
  const read = (): readonly [number, number] => {
    const times = cpus().map((cpu) => cpu.times);
    const all = times.flatMap((spent) => Object.values(spent)).reduce((sum, value) => sum + value, 0);
    return [times.reduce((sum, { idle }) => sum + idle, 0), all];
  };
  const [idleBefore, before] = read();
  await sleep(3_000);
  const [idle, all] = read();
  return (idle - idleBefore) / (all - before);
}
