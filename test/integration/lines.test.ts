/** The lines of a set-up step in this process, on real load balancers and builders, with the real buildx. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, test } from 'vitest';
import { parseEndpoint } from '../../src/queue/endpoint.ts';
import { ASSUMED_BUILDKIT_VERSION } from '../../src/setup/assumed-version.ts';
import type { Hold } from '../../src/setup/line-order.ts';
import { type LineNode, Lines } from '../../src/setup/lines.ts';
import { makeContext } from '../support/action.ts';
import { findProgram } from '../support/buildkitd.ts';
import {
  countersOf,
  eventually,
  openLocalPool,
  type PlainBuild,
  sessionsOf,
  startPlain,
} from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

// Both have builders of this machine's architecture: what is built has no RUN, so any builder will do for any platform.
const pools: Pool[] = [];
let folder: string;
/** What is built: it copies its own Dockerfile. */
let copying: string;
const open: Lines[] = [];
const children: PlainBuild[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ln-'));
  copying = makeContext('FROM scratch\nCOPY Dockerfile /\n');
  for (let count = 0; count < 2; count++) pools.push(await openLocalPool({ minBuilders: 1, maxBuilders: 1 }));
  await Promise.all(pools.map((pool) => pool.untilReady(1)));
}, 120_000);
afterEach(async () => {
  for (const child of children.splice(0)) child.process.kill('SIGKILL');
  for (const lines of open.splice(0)) await lines.close();
  await eventually('nobody in line', async () => (await sessions()).join() === '0,0');
});
afterAll(async () => {
  for (const pool of pools) await pool.stop();
  for (const path of [folder, copying]) await rm(path, { recursive: true, force: true });
});

const sessions = async () => await Promise.all(pools.map(sessionsOf));
const total = async () =>
  await Promise.all(pools.map(async (pool) => (await countersOf(pool)).totalSessions));

interface Opened {
  readonly lines: Lines;
  readonly log: readonly string[];
  /** Starts buildx with a builder of one node a line. */
  readonly buildx: (args: readonly string[], program?: string) => PlainBuild;
}

async function openLines(
  options: { archs?: readonly ('amd64' | 'arm64')[]; hold?: Hold; lingerMs?: number } = {},
): Promise<Opened> {
  const { archs = ['amd64', 'arm64'], hold = 'step', lingerMs = 1_000 } = options;
  const nodes: LineNode[] = archs.map((arch, index) => {
    const result = parseEndpoint(pools[index]?.endpoint ?? '', arch);
    if (result.kind === 'problem') throw new Error(result.problem);
    return {
      arch,
      endpoint: result.endpoint,
      platforms: [`linux/${arch}`],
      builds: [`linux/${arch}`],
      tls: undefined,
      proxies: undefined,
      maxBuilders: undefined,
    };
  });
  const log: string[] = [];
  const lines = await Lines.open({
    nodes,
    folder,
    hold,
    lingerMs,
    queueTimeoutMs: 600_000,
    assumedVersion: ASSUMED_BUILDKIT_VERSION,
    log: (line) => log.push(line),
    onChange: () => {},
  });
  open.push(lines);
  const config = join(folder, `buildx-${randomBytes(4).toString('hex')}`);
  await mkdir(join(config, 'instances'), { recursive: true });
  const instance = lines.addresses.map((address, index) => ({
    Name: `it${index}`,
    Endpoint: address,
    Platforms: archs.length > 1 ? [{ architecture: archs[index], os: 'linux' }] : null,
    DriverOpts: null,
    Flags: null,
    Files: null,
  }));
  await writeFile(
    join(config, 'instances', 'it'),
    JSON.stringify({ Name: 'it', Driver: 'remote', Nodes: instance, Dynamic: false }),
  );
  const buildx = (args: readonly string[], program = findProgram('buildx')) => {
    const child = startPlain(program, args, { BUILDX_CONFIG: config, BUILDX_BUILDER: 'it' });
    children.push(child);
    return child;
  };
  return { lines, log, buildx };
}

const BOTH = 'linux/amd64,linux/arm64';

describe('two architectures', () => {
  it('a build of both takes a builder of each, in their order, and gives both back', async () => {
    const { lines, buildx } = await openLines();
    const before = await total();
    const end = await buildx(['build', '--no-cache', '--platform', BOTH, copying]).ended;
    expect(end.code, end.log).toBe(0);
    await eventually('given back', async () => (await sessions()).join() === '0,0');
    // On a machine that stands still between the two questions of buildx the second line is joined first, and put back once.
    const putBack = lines.report[1]?.waits.filter(({ outcome }) => outcome === 'set-aside').length ?? 0;
    expect(putBack).toBeLessThanOrEqual(1);
    expect((await total()).map((count, index) => count - (before[index] ?? 0))).toEqual([1, 1 + putBack]);
    const granted = lines.report.map((line) => line.waits.at(-1)?.granted_at ?? '');
    expect(granted.every((at) => at !== '')).toBe(true);
    expect(Date.parse(granted[0] ?? '')).toBeLessThanOrEqual(Date.parse(granted[1] ?? ''));
  });

  it('a build of one takes one', async () => {
    const { lines, buildx } = await openLines();
    const before = await total();
    const end = await buildx(['build', '--no-cache', '--platform', 'linux/arm64', copying]).ended;
    expect(end.code, end.log).toBe(0);
    expect((await total()).map((count, index) => count - (before[index] ?? 0))).toEqual([0, 1]);
    expect(lines.report[0]?.waits).toEqual([]);
  });

  it.each<Hold>(['step', 'job'])(
    'builds of both, one job each, never wait for each other (hold: %s)',
    async (hold) => {
      const jobs = await Promise.all([openLines({ hold }), openLines({ hold }), openLines({ hold })]);
      // Whatever comes first: a build of both, or one of the second architecture, before one of both.
      const runs = jobs.map(async (job, index) => {
        const platforms = index === 1 ? ['linux/arm64', BOTH] : [BOTH, 'linux/arm64'];
        for (const platform of platforms) {
          const end = await job.buildx(['build', '--no-cache', '--platform', platform, copying]).ended;
          expect(end.code, end.log).toBe(0);
        }
        await job.lines.close();
      });
      await Promise.all(runs);
      for (const { lines } of jobs) {
        const builds = lines.report.map((line) => line.builds.succeeded);
        expect(builds).toEqual([1, 2]);
      }
    },
  );
});

describe.each([
  ['the newest', () => findProgram('buildx')],
  ['the oldest', () => findProgram('buildx-oldest')],
])('%s buildx', (_, program) => {
  test('inspect, ls and create are answered without a place; a build takes one and waits for it', async () => {
    const { lines, buildx } = await openLines({ archs: ['amd64'] });
    const before = await total();
    const inspect = await buildx(['inspect', '--bootstrap'], program()).ended;
    expect(inspect.log).toMatch(/Status: +running\nBuildKit version: +v0\.32\.2\nPlatforms: +linux\/amd64\n/);
    expect(inspect.log).toContain('buildkit-pool.builder');
    expect((await buildx(['ls'], program()).ended).log).toContain('v0.32.2');
    const created = await buildx(
      ['create', '--name', 'other', '--driver', 'remote', lines.addresses[0] ?? ''],
      program(),
    ).ended;
    expect(created.code, created.log).toBe(0);
    expect(await total()).toEqual(before);

    const blocker = await openLines({ archs: ['amd64'], hold: 'job' });
    expect((await blocker.buildx(['build', '--no-cache', copying]).ended).code).toBe(0);
    const build = buildx(['build', '--no-cache', '--progress=plain', copying], program());
    await eventually('two in line', async () => (await sessions())[0] === 2);
    // Beside one that waits, too.
    expect((await buildx(['inspect'], program()).ended).log).toContain('running');
    expect((await sessions())[0]).toBe(2);
    expect(build.process.exitCode).toBe(null);
    await blocker.lines.close();
    const end = await build.ended;
    expect(end.code, end.log).toBe(0);
    // What its build has shown is told from now on.
    const seen = await buildx(['inspect'], program()).ended;
    expect(seen.log).toContain('org.mobyproject.buildkit.worker.executor');
  });
});

test('the version that is assumed is the one that is tested with', () => {
  const [, version] =
    /github\.com\/moby\/buildkit (v\S+)/.exec(readFileSync('tools/buildkit/go.mod', 'utf8')) ?? [];
  expect(ASSUMED_BUILDKIT_VERSION).toBe(version);
});
