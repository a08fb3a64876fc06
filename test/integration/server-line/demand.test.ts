/** The server side's load balancer as generated: what it holds, what it counts, and how fast a new builder is used. */

import { expect, test, vi } from 'vitest';
import { describeGrowth, GROWTH_CHANGE, grow, NEGATIVE_CACHE_MS, WITHIN_MS } from '../../support/growth.ts';
import {
  AMD64,
  ARM64,
  type Build,
  joinTimes,
  type LoadBalancer,
  mostAtOnce,
  Rig,
  servedOrder,
} from '../../support/server-line.ts';

const WAIT = { timeout: 60_000, interval: 50 };
/** Builders that are real ones, behind their gates. */
const REAL = 8;
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 300_000, hookTimeout: 180_000 });

/** Asserts that what an autoscaler reads is the number of clients that are there, at this moment. */
async function expectExactDemand(
  balancer: LoadBalancer,
  pool: string,
  builds: readonly Build[],
): Promise<void> {
  const truth = builds.filter(({ state }) => state === 'waiting' || state === 'building').length;
  await expect.poll(() => balancer.scalerDemand(pool), { ...WAIT, interval: 20 }).toBe(truth);
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  return items
    .map((item, index) => ({ item, rank: (index * 7919) % 101 }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}

test('incident 2: both architectures held at zero builders, every client counted once, and served in the order of joining', async () => {
  await using rig = await Rig.open({
    pools: [
      { name: AMD64, ceiling: 50 },
      { name: ARM64, ceiling: 10 },
    ],
    tls: true,
  });
  const balancer = await rig.startBalancer();
  const times = joinTimes(40);
  const order = shuffled([...times.keys()]);
  // Every second one comes through the port that both architectures share.
  const dial = (pool: string, index: number): Build =>
    rig.join(`${index}`, index % 2 === 0 ? rig.door(pool) : rig.sharedDoor(pool), times[index]);
  const amd64: Build[] = [];
  for (const index of order) amd64.push(dial(AMD64, index));
  const arm64 = [0, 1, 2, 3, 4, 5, 6].map((index) => dial(ARM64, index));
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(40);
  await expectExactDemand(balancer, ARM64, arm64);

  // Whoever goes away is gone from the count at once; whoever knocks only was never in it.
  for (const build of arm64.slice(0, 3)) {
    build.leave();
    await expectExactDemand(balancer, ARM64, arm64);
  }
  await expectExactDemand(balancer, AMD64, amd64);

  const pair = await rig.builderPair(AMD64);
  const ordinals = Array.from({ length: REAL }, (_, ordinal) => ordinal);
  await Promise.all(ordinals.map((ordinal) => rig.startBuilder(AMD64, ordinal, pair)));
  for (const ordinal of ordinals) rig.announce(AMD64, ordinal);
  for (let count = REAL; count <= 40; count += 1) {
    await expect.poll(() => servedOrder(amd64).length, WAIT).toBe(count);
    if (count % REAL === 0) await expectExactDemand(balancer, AMD64, amd64);
    amd64.find(({ state }) => state === 'building')?.leave();
  }
  for (const build of amd64) build.leave();
  // Builders that come up side by side let the first of the line in side by side; all others follow one by one.
  const served = servedOrder(amd64);
  const joined = [...times.keys()].map(String);
  expect(new Set(served.slice(0, REAL))).toEqual(new Set(joined.slice(0, REAL)));
  expect(served.slice(REAL)).toEqual(joined.slice(REAL));
  expect(await balancer.mostOnOne(AMD64)).toBe(1);
  expect(amd64.map(({ dials }) => dials)).toEqual(amd64.map(() => 1));
  await expectExactDemand(balancer, AMD64, amd64);
  await expectExactDemand(balancer, ARM64, arm64);
  await expect.poll(() => balancer.log.filter(({ frontend }) => frontend === AMD64), WAIT).toHaveLength(40);
});

test('from no builder to 1, 40 and 400: those who joined first build, the scaler counts everybody, within seconds of the names', async () => {
  await using rig = await Rig.open({
    pools: [{ name: AMD64, ceiling: 400 }],
    tls: false,
    negativeCacheMs: NEGATIVE_CACHE_MS,
  });
  const balancer = await rig.startBalancer(11, GROWTH_CHANGE);
  const growth = await grow(rig, balancer);
  console.log(describeGrowth(growth));
  for (const { building, expected, demandErrors, afterNamesMs, afterAnswerMs } of growth.steps) {
    expect(building).toEqual(expected);
    expect(demandErrors).toEqual([0, 0]);
    // Three times what a machine with nothing else to do must keep to: test/long/server-line.test.ts.
    expect(afterNamesMs.at(-1)).toBeLessThan(3 * WITHIN_MS);
    expect(afterAnswerMs.at(-1)).toBeLessThan(3 * WITHIN_MS);
  }
  expect(growth.builds.map(({ dials }) => dials)).toEqual(growth.builds.map(() => 1));
  expect(growth.standIns.map((standIn) => mostAtOnce(standIn))).toEqual(growth.standIns.map(() => 1));
  expect(await balancer.mostOnOne(AMD64)).toBe(1);
});
