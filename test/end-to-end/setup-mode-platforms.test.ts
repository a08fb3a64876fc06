/** Set-up mode on a pool with one builder of each of two architectures, found by its document. */
import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { NATIVE_PLATFORMS } from '../../src/build/architecture.ts';
import { type Architecture, hostArchitecture } from '../../src/local/architecture.ts';
import { makeContext } from '../support/action.ts';
import { Job } from '../support/job.ts';
import { eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

let pool: Pool;
const jobs: Job[] = [];
const BOTH = 'linux/arm64,linux/amd64';

beforeAll(async () => {
  pool = await openLocalPool({ archs: ['amd64', 'arm64'], minBuilders: 1, maxBuilders: 1 });
  for (const line of pool.lines) await line.untilReady(1);
});
afterEach(() => {
  for (const job of jobs.splice(0)) job.remove();
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
});

const setUp = async () => {
  const job = new Job({ pool: pool.documentUrl, platforms: BOTH, 'queue-timeout': '120s', linger: '300ms' });
  jobs.push(job);
  return await job.ready();
};
const sessions = async () => await Promise.all(pool.lines.map(sessionsOf));

test('the builder has a node for each architecture, and builds of both of two jobs take turns', async () => {
  const context = makeContext('FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n', {
    amd64: 'amd64',
    arm64: 'arm64',
  });
  const both = await Promise.all([setUp(), setUp()]);
  for (const job of both) {
    expect(job.action.outputs['platforms']).toBe('linux/amd64,linux/arm64');
    expect(JSON.parse(job.action.outputs['nodes'] ?? '')).toMatchObject([
      { platforms: 'linux/amd64' },
      { platforms: 'linux/arm64' },
    ]);
    expect((await job.buildx('inspect')).log).toMatch(/linux\/amd64\*[\s\S]*linux\/arm64\*/);
  }
  expect(await sessions()).toEqual([0, 0]);
  const runs = both.map(async (job) => {
    for (let run = 0; run < 3; run++) {
      const end = await job.buildx('build', '--no-cache', '--platform', BOTH, context);
      expect(end.code, end.log).toBe(0);
    }
    await job.post();
    expect(job.report.builds).toEqual({ succeeded: 6, failed: 0, lost: 0 });
  });
  await Promise.all(runs);
  await eventually('nobody in line', async () => (await sessions()).join() === '0,0');
  rmSync(context, { recursive: true, force: true });
});

const own = hostArchitecture();
const other: Architecture = own === 'amd64' ? 'arm64' : 'amd64';

test.each([
  ['the input, on an address of one line', () => ({ platforms: `linux/${other}` }), `linux/${other}`],
  ['the pool document', () => ({ pool: pool.documentUrl }), NATIVE_PLATFORMS[own].join(',')],
  ['the runner, where nobody says more', () => ({}), `linux/${own}`],
])('the platforms are shown before there is a builder, by %s', async (_, inputs, expected) => {
  const given = { endpoint: pool.endpoint, ...inputs() };
  const job = await new Job(given).ready();
  jobs.push(job);
  expect(job.action.outputs['platforms']).toBe(expected);
  expect(JSON.parse(job.action.outputs['nodes'] ?? '')).toMatchObject([{ platforms: expected }]);
  const { log } = await job.buildx('inspect');
  const shown = /Platforms: +(.*)/.exec(log)?.[1]?.replaceAll('*', '').split(', ');
  expect(shown?.join(',')).toBe(expected);
  expect(await sessions()).toEqual([0, 0]);
  expect((await job.post()).code).toBe(0);
});
