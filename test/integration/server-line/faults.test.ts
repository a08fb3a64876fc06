/**
 * Names and builders that come, go and die under the cluster's load balancer: nobody is lost, nobody is doubled. A name
 * server that dies is in rendered.test.ts.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  type Build,
  joinTimes,
  type LoadBalancer,
  mostAtOnce,
  Rig,
  type StandIn,
  servedOrder,
} from '../../support/server-line.ts';

const WAIT = { timeout: 60_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 });
/** Builders of one test each, all of one load balancer: a start costs five seconds. */
const POOLS = ['vanished', 'dead', 'dying', 'foreign', 'cancelled'] as const;

let rig: Rig;
let balancer: LoadBalancer;

beforeAll(async () => {
  rig = await Rig.open({ pools: POOLS.map((name) => ({ name, ceiling: 4 })), tls: true });
  balancer = await rig.startBalancer();
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});

async function ready(pool: string, ordinals: readonly number[]): Promise<readonly StandIn[]> {
  const standIns = await rig.startStandIns(pool, ordinals);
  for (const ordinal of ordinals) rig.announce(pool, ordinal);
  await expect.poll(() => balancer.usable(pool), WAIT).toBe(ordinals.length);
  return standIns;
}

/** Takes all builders that can be had, so that the next to come wait. */
async function block(pool: string, builders: number): Promise<readonly Build[]> {
  const blockers = Array.from({ length: builders }, (_, index) =>
    rig.join(`blocker ${index}`, rig.door(pool), 0),
  );
  await Promise.all(blockers.map(({ granted }) => granted));
  return blockers;
}

/** Builds that all wait, whatever the order in which they came. */
async function joinAll(pool: string, count: number): Promise<readonly Build[]> {
  const before = (await balancer.counters(pool)).queued;
  const builds = joinTimes(count).map((joined, index) => rig.join(`${index}`, rig.door(pool), joined));
  await expect.poll(async () => (await balancer.counters(pool)).queued, WAIT).toBe(before + count);
  return builds;
}

/** Serves everybody, one after another, and expects the order of joining. */
async function expectServedInOrder(builds: readonly Build[], blockers: readonly Build[]): Promise<void> {
  for (const [index, blocker] of blockers.entries()) {
    blocker.leave();
    await expect.poll(() => servedOrder(builds).length, WAIT).toBe(index + 1);
  }
  for (let count = blockers.length; count <= builds.length; count += 1) {
    await expect.poll(() => servedOrder(builds).length, WAIT).toBeGreaterThanOrEqual(count);
    builds.find(({ state }) => state === 'building')?.leave();
  }
  for (const build of builds) build.leave();
  expect(servedOrder(builds)).toEqual(builds.map(({ name }) => name));
}

test('a pod that vanishes from DNS while busy keeps its build, and its slot is given to nobody', async () => {
  const [builder] = await ready('vanished', [0]);
  const [running] = await block('vanished', 1);
  const waiting = await joinAll('vanished', 2);
  rig.withdraw('vanished', 0);
  await expect.poll(() => balancer.usable('vanished'), WAIT).toBe(0);
  // Those who wait are still held and counted; the name's return gives nothing away either.
  await expect.poll(() => balancer.demand('vanished'), WAIT).toBe(3);
  rig.announce('vanished', 0);
  await expect.poll(() => balancer.usable('vanished'), WAIT).toBe(1);
  await sleep(1_500);
  expect(running?.state).toBe('building');
  expect(waiting.map(({ state }) => state)).toEqual(['waiting', 'waiting']);
  await expectServedInOrder(waiting, running === undefined ? [] : [running]);
  expect(builder === undefined ? 0 : mostAtOnce(builder)).toBe(1);
  expect(await balancer.mostOnOne('vanished')).toBe(1);
  expect(waiting.map(({ dials }) => dials)).toEqual([1, 1]);
});

test('a pod that is dead but still has a name loses nobody', async () => {
  const standIns = await ready('dead', [0, 1]);
  await standIns[0]?.die();
  const blockers = await block('dead', 1);
  const builds = await joinAll('dead', 6);
  await expectServedInOrder(builds, blockers);
  expect(standIns[0]?.stays).toEqual([]);
  expect(builds.map(({ dials }) => dials)).toEqual(builds.map(() => 1));
});

test('a builder that dies with its build takes that one only, and is used again when it is back', async () => {
  const [builder] = await ready('dying', [0]);
  const [first] = await block('dying', 1);
  const rest = await joinAll('dying', 3);
  await builder?.die();
  await expect.poll(() => first?.state, WAIT).toBe('lost');
  await sleep(1_000);
  expect(rest.map(({ state }) => state)).toEqual(['waiting', 'waiting', 'waiting']);
  await expect.poll(() => balancer.demand('dying'), WAIT).toBe(3);
  await builder?.revive();
  await expect.poll(() => servedOrder(rest).length, WAIT).toBe(1);
});

test('a pod with the certificate of another pool is given no build', async () => {
  const own = await rig.builderPair('foreign');
  const other = await rig.builderPair('vanished');
  const [impostor] = await rig.startStandIns('foreign', [0], other);
  const [builder] = await rig.startStandIns('foreign', [1], own);
  rig.announce('foreign', 0);
  rig.announce('foreign', 1);
  // The check of the slot has no TLS. Before HAProxy 3.2 a builder that comes up under waiting builds may be sent two.
  await expect.poll(() => balancer.usable('foreign'), WAIT).toBe(2);
  const builds = joinTimes(3).map((joined, index) => rig.join(`${index}`, rig.door('foreign'), joined));
  for (let count = 1; count <= builds.length; count += 1) {
    await expect.poll(() => servedOrder(builds).length, WAIT).toBe(count);
    builds.find(({ state }) => state === 'building')?.leave();
  }
  expect(impostor?.stays).toEqual([]);
  expect(builder?.stays).toHaveLength(3);
});

test('builds that are cancelled in any state leave no ghost, and the count is exact after each', async () => {
  const [builder] = await ready('cancelled', [0]);
  const blockers = await block('cancelled', 1);
  const builds = await joinAll('cancelled', 12);
  for (const [index, build] of builds.entries()) {
    if (index % 3 === 0) continue;
    build.leave();
    const truth = 1 + builds.filter(({ state }) => state === 'waiting').length;
    await expect.poll(() => balancer.demand('cancelled'), { ...WAIT, interval: 20 }).toBe(truth);
  }
  await expectServedInOrder(
    builds.filter(({ state }) => state !== 'left'),
    blockers,
  );
  await expect.poll(() => balancer.demand('cancelled'), WAIT).toBe(0);
  expect(builder?.stays).toHaveLength(5);
  expect(builder === undefined ? 0 : mostAtOnce(builder)).toBe(1);
  expect(await balancer.mostOnOne('cancelled')).toBe(1);
  expect(builds.map(({ dials }) => dials)).toEqual(builds.map(() => 1));
});
