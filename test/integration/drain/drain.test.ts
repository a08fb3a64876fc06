/** Builders end while builds run on them and more arrive: real buildkitd, HAProxy, names and builds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { endAtRandomMoments, LEAST_ARRIVED, LEAST_RUNNING } from './moments.ts';
import { Node } from './node.ts';

const BUILDERS = 8;
const MOMENTS = 100;
/** Of a machine that has much else to do. */
const PATIENCE_MS = 600_000;

let folder: string;
let node: Node;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drain-'));
  node = await Node.open({ folder: join(folder, 'node'), builders: BUILDERS, block: 93 });
});
afterAll(async () => {
  await node?.close();
  rmSync(folder, { recursive: true, force: true });
});

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
    await node.startPods(BUILDERS);
    await node.dns.die('silent');
    try {
      const { killed, drains, arrived } = await endAtRandomMoments({
        ...{ node, builders: BUILDERS, moments: BUILDERS / 2, folder: join(folder, 'contexts'), seed: 2 },
        ...{ hook: 'drain', replace: false },
      });
      expect(killed).toEqual([]);
      expect(drains.map(({ code }) => code)).toEqual(drains.map(() => 0));
      expect(arrived).toBeGreaterThan(0);
    } finally {
      await node.dns.revive();
    }
  },
  PATIENCE_MS,
);

test(
  `${MOMENTS} builders ended at random moments: no build is killed, those that arrive afterwards included`,
  async () => {
    const harvest = await endAtRandomMoments({
      node,
      builders: BUILDERS,
      moments: MOMENTS,
      folder: join(folder, 'contexts'),
      hook: 'drain',
      replace: true,
      seed: 20_261_123,
    });
    console.log(
      `${harvest.drains.length} drains, ${harvest.built} builds: ${harvest.running} were running, ${harvest.arrived} arrived after the end had begun, ${harvest.sentBack} dialled again, ${harvest.killed.length} killed`,
    );
    expect(harvest.killed).toEqual([]);
    expect(harvest.drains.filter(({ code }) => code !== 0)).toEqual([]);
    expect(harvest.drains.length).toBeGreaterThanOrEqual(MOMENTS);
    // Otherwise nothing was shown.
    expect(harvest.running).toBeGreaterThan(LEAST_RUNNING * MOMENTS);
    expect(harvest.arrived).toBeGreaterThan(LEAST_ARRIVED * MOMENTS);
  },
  PATIENCE_MS,
);
