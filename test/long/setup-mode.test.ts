/**
 * A whole job in its own time: set-up, two minutes of other steps, a build on a pool that stays full for 75 s, two
 * more minutes, the build's record. The waits are longer than every limit that buildx has: 20 s, 30 s, 40 s.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { ConnectionRecord } from '../../src/local/connection-record.ts';
import { dockerfileRunning, makeContext } from '../support/action.ts';
import { Job } from '../support/job.ts';
import {
  eventually,
  makeSleepContext,
  openLocalPool,
  sessionsOf,
  startBuildctl,
} from '../support/local-pool.ts';
import { bakeTargets, buildAndPush, exportRecord, removeBuildx, setUpBuildx } from '../support/peers.ts';

const FULL_S = 75;
const PAUSE_MS = 120_000;

test('unchanged steps, minutes apart, on a pool that is full for 75 s: one connection in the load balancer’s log', async () => {
  const records: ConnectionRecord[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'setup-'));
  const context = makeContext(dockerfileRunning('echo built'));
  await using pool = await openLocalPool({ minBuilders: 1, maxBuilders: 1 });
  pool.events.on('record', (record) => records.push(record));
  await pool.untilReady(1);
  const inputs = { endpoint: pool.endpoint, hold: 'job', 'queue-timeout': '10m' };
  const free = await new Job(inputs).ready();
  const unhurried = await buildAndPush(free, context);
  await free.post();
  await eventually('nobody in line', async () => (await sessionsOf(pool)) === 0);
  records.length = 0;

  const job = await new Job(inputs).ready();
  try {
    const theirs = await setUpBuildx(job, 'theirs', job.action.outputs['endpoint'] ?? '');
    expect(theirs).toMatch(/Status: +running\n/);
    await sleep(PAUSE_MS);
    const blocker = startBuildctl(
      pool.endpoint,
      makeSleepContext(folder, FULL_S),
      randomBytes(4).toString('hex'),
    );
    await eventually('the pool is full', async () => (await sessionsOf(pool)) === 1);
    const built = await buildAndPush(job, context);
    expect((await blocker.ended).code).toBe(0);
    expect(job.report.queue_ms).toBeGreaterThan((FULL_S - 30) * 1000);
    expect(built.inspect).toContain('Status:           running');
    expect(built.attestations).toEqual(unhurried.attestations);
    expect(built.attestations).toHaveLength(1);
    expect(await bakeTargets(job, context)).toHaveLength(2);
    await sleep(PAUSE_MS);
    const exported = await exportRecord(job, built.ref);
    expect(exported.code, exported.log).toBe(0);
    await removeBuildx(job, 'theirs');
    await job.post();
    await eventually('both are logged', () => records.length >= 2);
    // The blocker's, which has no place token, and the job's.
    expect(records.map((record) => Number.isInteger(record.place))).toEqual([false, true]);
    expect(job.report).toMatchObject({ over: true, builds: { succeeded: 3, failed: 0, lost: 0 } });
  } finally {
    job.remove();
    free.remove();
    for (const path of [folder, context]) rmSync(path, { recursive: true, force: true });
  }
});
