/** The burst as a user runs it, by the command line: states, order and counts; figures only within a factor of three. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import type { BurstBuild, BurstResult } from '../../src/burst/result.ts';
import { PLACE_TICK_MS } from '../../src/queue/token.ts';

const folder = mkdtempSync(join(tmpdir(), 'burst-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A HAProxy before 3.1 loses time only when it has stood still for more than this (docs/line.md). */
const STOOD_STILL_MS = 100;

/** Pairs of builds of which the one that joined more than `apartMs` later had its builder clearly before the other. */
const overtakings = (builds: readonly BurstBuild[], apartMs: number) =>
  builds.flatMap((one) =>
    builds.filter((other) => {
      const laterMs = Date.parse(other.joined_at) - Date.parse(one.joined_at);
      const soonerMs = Date.parse(one.granted_at ?? '') - Date.parse(other.granted_at ?? '');
      return laterMs > apartMs && soonerMs > PLACE_TICK_MS;
    }),
  );

describe.each([
  ['a full pool', ['--min', '8'], 0],
  // A build may be overtaken once for each builder that comes up, no more.
  ['a warm baseline of two', ['--min', '2'], 6],
  ['no builder at all', ['--min', '0'], 8],
])('eighteen builds on eight builders, from %s', (_, min, inversionsAllowed) => {
  test('share them in one fair line, over one connection each', async () => {
    const json = join(folder, 'burst.json');
    const args = [
      'dist/cli.js',
      'burst',
      '--builders',
      '8',
      '--builds',
      '18',
      '--seconds',
      '5',
      '--json',
      json,
    ];
    const { stdout } = await promisify(execFile)(process.execPath, [...args, ...min]);
    const result = JSON.parse(readFileSync(json, 'utf8')) as BurstResult;
    expect(result).toMatchObject({ failed: 0, ghosts: 0, connections: 18 });
    // What its clock has lost shows in its own log, in builders that were handed on late: builds that joined within that
    // time may have changed places, and no others.
    const lostMs = result.handoff_ms?.max ?? 0;
    if (lostMs < STOOD_STILL_MS) expect(result.order_inversions).toBeLessThanOrEqual(inversionsAllowed);
    // A client may be slow to notice that its connection stands, and says then that it has joined.
    const apartMs = 4 * PLACE_TICK_MS + (lostMs < STOOD_STILL_MS ? 0 : 2 * lostMs);
    expect(overtakings(result.builds, apartMs).length).toBeLessThanOrEqual(inversionsAllowed);
    expect(result.builds.map((build) => build.outcome)).toEqual(
      Array.from({ length: 18 }, () => 'succeeded'),
    );
    expect(result.builders).toHaveLength(8);
    for (const builder of result.builders) expect(builder.builds).toBeGreaterThan(0);
    expect(result.builders.reduce((sum, builder) => sum + builder.builds, 0)).toBe(18);
    expect(result.makespan_ms).toBeLessThan(3 * result.ideal_ms);
    // 5 ms where nothing else runs; the time that a load balancer lost by standing still is in it.
    expect(result.handoff_ms?.p95).toBeLessThan(5_000);
    expect(result.demand_error).toBeLessThan(3 * 0.05);
    expect(stdout).toContain('connections');
  });
});
