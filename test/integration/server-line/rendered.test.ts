/**
 * The load balancer of committed examples, from the text that is applied: only addresses, the port of the name server,
 * folders and the number of connections are other ones. Its own thirteen seconds after a start, its own timeouts and holds.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { test, vi } from 'vitest';
import {
  AMD64,
  ARM64,
  type Build,
  joinTimes,
  mostAtOnce,
  Rig,
  servedOrder,
} from '../../support/server-line.ts';

const WAIT = { timeout: 90_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 400_000, hookTimeout: 180_000 });
const ORDINALS = 40;
/** More than HAProxy's own holds of 30 s, and a resolution that fails after that. */
const OUTAGE_MS = 42_000;

const building = (builds: readonly Build[]): readonly Build[] =>
  builds.filter(({ state }) => state === 'building');
const names = (builds: readonly Build[]): readonly string[] => builds.map(({ name }) => name);

// Mostly waiting: both at once.
test.concurrent('eks-production: 44 builds at no builder, then at 40 of its 768, replaced under them', async ({
  expect,
}) => {
  const example = 'eks-production';
  await using rig = await Rig.open({
    pools: [
      { name: AMD64, ceiling: 768 },
      { name: ARM64, ceiling: 64 },
    ],
    tls: true,
  });
  const standIns = await rig.startGatedStandIns(
    AMD64,
    Array.from({ length: ORDINALS }, (_, ordinal) => ordinal),
  );
  const old = await rig.startRenderedBalancer(example, 11);
  const door = rig.renderedDoor(AMD64, example);
  const builds = joinTimes(ORDINALS + 4).map((joined, index) => rig.join(`${index}`, door, joined));
  const others = joinTimes(3).map((joined, index) =>
    rig.join(`other ${index}`, rig.renderedDoor(ARM64, example), joined),
  );
  const demands = async (): Promise<readonly number[]> => [
    await old.scalerDemand(AMD64),
    await old.scalerDemand(ARM64),
  ];
  await expect.poll(demands, WAIT).toEqual([builds.length, others.length]);
  for (const { ordinal } of standIns) rig.announce(AMD64, ordinal);
  await expect.poll(() => building(builds).length, WAIT).toBe(ORDINALS);
  // Those who joined first.
  expect(names(building(builds))).toEqual(names(builds.slice(0, ORDINALS)));
  await expect.poll(() => old.usable(AMD64), WAIT).toBe(ORDINALS);
  await expect.poll(demands, WAIT).toEqual([builds.length, others.length]);
  expect(building(others)).toEqual([]);
  expect([...builds, ...others].map(({ dials }) => dials)).toEqual([...builds, ...others].map(() => 1));

  old.stopSoftly();
  const next = await rig.startRenderedBalancer(example, 12);
  await expect.poll(() => next.demand(AMD64), WAIT).toBe(4);
  await expect.poll(() => next.demand(ARM64), WAIT).toBe(others.length);
  // Once it knows its builders, the scaler reads what there is: those of the old one are still there.
  await expect.poll(() => next.scalerDemand(AMD64), WAIT).toBe(builds.length);
  await sleep(1_500);
  // Before HAProxy 3.1 those who have come over knock at builders that are taken, until that is known of all.
  await expect.poll(async () => (await next.counters(AMD64)).queued, WAIT).toBe(4);
  expect(building(builds)).toHaveLength(ORDINALS);
  for (const [index, build] of builds.entries()) {
    build.leave();
    const left = builds.length - index - 1;
    if (index < 4) {
      await expect.poll(() => servedOrder(builds).length, WAIT).toBe(ORDINALS + index + 1);
      await expect.poll(() => next.scalerDemand(AMD64), WAIT).toBe(left);
    }
  }
  await expect.poll(() => next.scalerDemand(AMD64), WAIT).toBe(0);
  await old.exited;
  expect(servedOrder(builds).slice(ORDINALS)).toEqual(names(builds.slice(ORDINALS)));
  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual(standIns.map(() => 1));
  expect(builds.filter(({ state }) => state === 'lost')).toEqual([]);
});

test.concurrent('kind: a name server that is dead for longer than HAProxy would wait by itself takes nobody and no builder away', async ({
  expect,
}) => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 32 }], tls: false });
  const balancer = await rig.startRenderedBalancer('kind', 11);
  const door = rig.renderedDoor(AMD64, 'kind');
  // The gates answer the checks, whatever this process is busy with: before HAProxy 3.2 a builder that is taken for dead
  // for a moment is sent a second build.
  const standIns = await rig.startGatedStandIns(AMD64, [0, 1]);
  const builds = joinTimes(8).map((joined, index) => rig.join(`${index}`, door, joined));
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(builds.length);
  for (const { ordinal } of standIns) rig.announce(AMD64, ordinal);
  await expect.poll(() => names(building(builds)), WAIT).toEqual(['0', '1']);

  // It takes questions and does not answer, then nobody listens there.
  await rig.dns.die('silent');
  await sleep(OUTAGE_MS / 2);
  await rig.dns.die('refuse');
  await sleep(OUTAGE_MS / 2);
  await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(2);
  for (let served = 2; served < builds.length; served += 1) {
    building(builds)[0]?.leave();
    await expect.poll(() => servedOrder(builds).length, WAIT).toBe(served + 1);
    await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(builds.length - served + 1);
  }
  expect(servedOrder(builds).slice(2)).toEqual(names(builds.slice(2)));
  expect(builds.map(({ dials }) => dials)).toEqual(builds.map(() => 1));
  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual([1, 1]);
  expect(await balancer.mostOnOne(AMD64)).toBe(1);
});
