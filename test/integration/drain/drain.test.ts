/** Builders end while builds run on them and more arrive: real buildkitd, HAProxy, names and builds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { endAtRandomMoments, type Harvest, LEAST_ARRIVED, LEAST_RUNNING } from './moments.ts';
import { Node } from './node.ts';

const BUILDERS = 8;
const MOMENTS = 100;
/** Of a machine that has much else to do. */
const PATIENCE_MS = 1_200_000;
/** Rounds until enough was under way at the moments; each of them must kill nothing. */
const MOST_ROUNDS = 4;

let folder: string;
let node: Node;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drain-'));
  node = await Node.open({ folder: join(folder, 'node'), builders: BUILDERS, block: 93 });
}, PATIENCE_MS);
afterAll(async () => {
  await node?.close();
  rmSync(folder, { recursive: true, force: true });
}, PATIENCE_MS);

test(
  'incident 6: a hook that says "idle" at once kills builds, and this is seen here',
  async () => {
    const { killed, drains } = await endAtRandomMoments({
      ...{ node, builders: BUILDERS, moments: 4, folder: join(folder, 'contexts'), seed: 1 },
      ...{ hook: 'none', replace: true },
    });
    expect(drains).toHaveLength(4);
    expect(killed.length).toBeGreaterThan(0);
  },
  PATIENCE_MS,
);

test(
  'incident 8: all builders deleted at once end with their builds, and those that wait go on waiting',
  async () => {
    const { killed, drains, running, built } = await endAtRandomMoments({
      ...{ node, builders: BUILDERS, moments: BUILDERS, folder: join(folder, 'contexts') },
      ...{ hook: 'drain', replace: true, together: true, seed: 3 },
    });
    expect(killed).toEqual([]);
    expect(drains.map(({ code }) => code)).toEqual(Array.from({ length: BUILDERS }, () => 0));
    expect(running).toBeGreaterThan(BUILDERS / 2);
    expect(built).toBeGreaterThan(BUILDERS);
  },
  PATIENCE_MS,
);

test(
  'a dead name server: builds are still sent to builders that end, but their gates close and they do end',
  async () => {
    let allArrived = 0;
    for (let round = 0; round < MOST_ROUNDS && allArrived === 0; round += 1) {
      await node.startPods(BUILDERS);
      await node.dns.die('silent');
      try {
        const { killed, drains, arrived } = await endAtRandomMoments({
          ...{ node, builders: BUILDERS, moments: BUILDERS / 2, folder: join(folder, 'contexts') },
          ...{ hook: 'drain', replace: false, seed: 2 + 10 * round },
        });
        expect(killed).toEqual([]);
        expect(drains.map(({ code }) => code)).toEqual(drains.map(() => 0));
        allArrived += arrived;
      } finally {
        await node.dns.revive();
      }
    }
    expect(allArrived).toBeGreaterThan(0);
  },
  PATIENCE_MS,
);

test(
  `${MOMENTS} builders ended at random moments: no build is killed, those that arrive afterwards included`,
  async () => {
    const harvests: Harvest[] = [];
    const total = (count: (harvest: Harvest) => number): number =>
      harvests.reduce((sum, harvest) => sum + count(harvest), 0);
    const [leastRunning, leastArrived] = [LEAST_RUNNING * MOMENTS, LEAST_ARRIVED * MOMENTS];
    // Otherwise nothing was shown: on a slow machine fewer builds come in the time in which an ending builder gets any.
    const isEnough = (): boolean =>
      total(({ running }) => running) > leastRunning && total(({ arrived }) => arrived) > leastArrived;
    while (harvests.length < MOST_ROUNDS && !isEnough()) {
      const harvest = await endAtRandomMoments({
        node,
        builders: BUILDERS,
        moments: MOMENTS,
        folder: join(folder, 'contexts'),
        hook: 'drain',
        replace: true,
        seed: 20_261_123 + harvests.length,
      });
      harvests.push(harvest);
      console.log(
        `${harvest.drains.length} drains, ${harvest.built} builds: ${harvest.running} were running, ${harvest.arrived} arrived after the end had begun, ${harvest.sentBack} dialled again, ${harvest.killed.length} killed`,
      );
      expect(harvest.killed).toEqual([]);
      expect(harvest.drains.filter(({ code }) => code !== 0)).toEqual([]);
      expect(harvest.drains.length).toBeGreaterThanOrEqual(MOMENTS);
    }
    expect(total(({ running }) => running)).toBeGreaterThan(leastRunning);
    expect(total(({ arrived }) => arrived)).toBeGreaterThan(leastArrived);
  },
  PATIENCE_MS,
);
