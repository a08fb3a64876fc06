/** Three thousand builders ended under builds; test/integration/drain does a hundred of them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { endAtRandomMoments, LEAST_ARRIVED, LEAST_RUNNING } from '../integration/drain/moments.ts';
import { Node } from '../integration/drain/node.ts';

const BUILDERS = 8;
const ROUNDS = 20;
const MOMENTS = 150;

let folder: string;
let node: Node;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drain-'));
  node = await Node.open({ folder: join(folder, 'node'), builders: BUILDERS, block: 94 });
});
afterAll(async () => {
  await node?.close();
  rmSync(folder, { recursive: true, force: true });
});

test.each(Array.from({ length: ROUNDS }, (_, round) => round + 1))(
  `${MOMENTS} of ${ROUNDS * MOMENTS} moments, round %i: no build is killed`,
  async (round) => {
    const { killed, drains, built, running, arrived, sentBack } = await endAtRandomMoments({
      ...{ node, builders: BUILDERS, moments: MOMENTS, folder: join(folder, `contexts-${round}`) },
      ...{ hook: 'drain', replace: true, seed: round },
    });
    console.log(
      `round ${round}: ${drains.length} drains, ${built} builds, ${running} running, ${arrived} arrived, ${sentBack} dialled again, ${killed.length} killed`,
    );
    for (const text of killed) console.error(text);
    expect(killed).toEqual([]);
    expect(drains.filter(({ code }) => code !== 0)).toEqual([]);
    expect(drains).toHaveLength(MOMENTS);
    // Otherwise nothing was shown.
    expect(running).toBeGreaterThan(LEAST_RUNNING * MOMENTS);
    expect(arrived).toBeGreaterThan(LEAST_ARRIVED * MOMENTS);
  },
  3_600_000,
);
