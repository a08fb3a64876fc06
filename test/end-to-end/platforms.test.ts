/**
 * Builds for several architectures on a pool with one builder of each. The machine's builders of the other architecture
 * say that they are: what they build here only copies files.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Architecture, hostArchitecture } from '../../src/local/architecture.ts';
import type { LocalLine } from '../../src/local/pool.ts';
import { makeContext, RunningAction } from '../support/action.ts';
import { BuildxAtWill } from '../support/buildx-at-will.ts';
import { HeldStep } from '../support/held-step.ts';
import { countersOf, eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';
import { type Registry, startRegistry } from '../support/registry.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

const own = hostArchitecture();
const other: Architecture = own === 'amd64' ? 'arm64' : 'amd64';

let pool: Pool;
let registry: Registry;
const cleanups: (() => void)[] = [];
const later = <T extends { remove(): void }>(thing: T): T => {
  cleanups.push(() => thing.remove());
  return thing;
};
const start = (inputs: Record<string, string>, env: NodeJS.ProcessEnv = {}) =>
  later(new RunningAction({ pool: pool.documentUrl, 'queue-timeout': '120s', ...inputs }, { env }));

/** For this machine's architecture a step that runs `script`, for the other one a file of its own only. */
const context = (script: string) => {
  const folder = makeContext(
    [
      `FROM scratch AS of-${own}`,
      'COPY busybox /bin/busybox',
      'SHELL ["/bin/busybox", "sh", "-c"]',
      'ARG ID=0',
      // No two contexts share a cache.
      `RUN : $ID ${randomUUID()}; ${script}`,
      `FROM scratch AS of-${other}`,
      'ARG ID=0',
      'FROM of-$TARGETARCH',
      'ARG TARGETARCH',
      'COPY $TARGETARCH /arch',
      '',
    ].join('\n'),
    { amd64: 'amd64', arm64: 'arm64' },
  );
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};
const BOTH = 'linux/arm64,linux/amd64';
const IN_RUN = 'in-the-42-step';

const lineOf = (arch: Architecture): LocalLine => {
  const line = pool.lines.find((candidate) => candidate.arch === arch);
  if (line === undefined) throw new Error(`no line for ${arch}`);
  return line;
};
const sessions = async (arch: Architecture) => await sessionsOf(lineOf(arch));
const total = async (arch: Architecture) => (await countersOf(lineOf(arch))).totalSessions;

beforeAll(async () => {
  registry = await startRegistry();
  pool = await openLocalPool({ archs: ['amd64', 'arm64'], minBuilders: 1, maxBuilders: 1 });
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});
const ready = async () => {
  for (const line of pool.lines) {
    // The load balancer may not have noticed yet that a builder was killed.
    await eventually('the builder is back', () => line.readyBuilders() === 1);
    await line.untilReady(1);
  }
};
beforeAll(ready);
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  for (const arch of ['amd64', 'arm64'] as const) {
    await eventually(`nobody in the line of ${arch}`, async () => (await sessions(arch)) === 0);
  }
  await ready();
});

test('each platform is built by a builder of its own, over one connection each, and both are pushed as one image', async () => {
  const before = [await total('amd64'), await total('arm64')];
  const name = `${registry.host}/app`;
  const action = start({
    context: context('true'),
    platforms: BOTH,
    tags: `${name}:1`,
    push: 'true',
    provenance: 'false',
  });
  expect((await action.ended).code, action.log).toBe(0);
  const { body, digest } = await registry.manifest('app', '1');
  expect(action.outputs['digest']).toBe(digest);
  const built = body.manifests?.map(({ platform }) => platform?.architecture);
  // The others are what buildx attests of them.
  expect(built?.filter((architecture) => architecture !== 'unknown').toSorted()).toEqual(['amd64', 'arm64']);
  expect([await total('amd64'), await total('arm64')]).toEqual(before.map((count) => count + 1));

  const { report, outputs } = action;
  expect(report.nodes.map(({ arch, endpoint }) => [arch, endpoint])).toEqual([
    ['amd64', lineOf('amd64').endpoint],
    ['arm64', lineOf('arm64').endpoint],
  ]);
  expect(report.nodes.reduce((sum, { queue_ms }) => sum + queue_ms, 0)).toBe(report.queue_ms);
  expect(report.granted_at).toBe(report.nodes[1]?.granted_at);
  expect(JSON.parse(outputs['queue-times-ms'] ?? '')).toEqual(
    Object.fromEntries(report.nodes.map(({ arch, queue_ms }) => [arch, queue_ms])),
  );
  expect(action.summary).toContain('| architecture | queued | held for the others |');
});

test('one platform of another architecture than the runner’s is built there, and nowhere else', async () => {
  const before = await total(own);
  const platform = other === 'arm64' ? 'linux/arm/v7' : 'linux/386';
  const folder = makeContext('FROM scratch\nCOPY busybox /file\n');
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const action = start({ context: folder, platforms: platform });
  expect((await action.ended).code, action.log).toBe(0);
  expect(action.report).toMatchObject({ arch: other, nodes: [{ arch: other }] });
  expect(await total(own)).toBe(before);
});

test('builds for both never wait for each other, in whatever order they name their platforms', async () => {
  const folder = context('sleep 2');
  const actions = Array.from({ length: 6 }, (_, id) =>
    start({
      context: folder,
      'build-args': `ID=${id}`,
      platforms: id % 2 === 0 ? 'linux/amd64,linux/arm64' : 'linux/arm64,linux/amd64',
    }),
  );
  for (const action of actions) {
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.nodes.map(({ arch }) => arch)).toEqual(['amd64', 'arm64']);
  }
  // Each of them held the pool alone: from the last grant to the release nobody else had all builders.
  const spans = actions
    .map(({ report }) => [Date.parse(report.granted_at ?? ''), Date.parse(report.released_at ?? '')] as const)
    .toSorted(([a], [b]) => a - b);
  for (const [index, [granted]] of spans.entries()) {
    // Written down by two processes: the one that gave the builders back may have been interrupted before it could.
    expect(granted).toBeGreaterThanOrEqual((spans[index - 1]?.[1] ?? 0) - 1_000);
  }
});

describe('while the second builder is waited for', () => {
  /** Somebody else has arm64's only builder, and keeps it until released. */
  const occupy = async () => {
    const buildx = later(new BuildxAtWill({ holdBefore: true }));
    const folder = makeContext('FROM scratch\nCOPY busybox /file\n');
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const action = start({ context: folder, platforms: 'linux/arm64' }, buildx.env);
    await eventually('arm64 is taken', () => buildx.reached('before'));
    return { action, release: () => buildx.release('before') };
  };

  test('the first one is held, and when it is lost, taken again; the build succeeds', async () => {
    const { action: occupant, release } = await occupy();
    const action = start({ context: context('true'), platforms: BOTH, 'lost-builder-retries': '0' });
    await action.says('holding it while the next one is waited for');
    await eventually('in line for arm64', async () => (await sessions('arm64')) === 2);
    expect(lineOf('amd64').killBuilder(0, 'SIGKILL')).toBe(true);
    await action.says('the amd64 builder was lost while another one was waited for');
    await action.says('holding it while the next one is waited for', 2);
    release();
    expect((await occupant.ended).code, occupant.log).toBe(0);
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
    expect(action.outputs['attempts']).toBe('1');
  });

  test('cancelling gives back both at once', async () => {
    const { action: occupant } = await occupy();
    const action = start({ context: context('true'), platforms: BOTH });
    await action.says('holding it while the next one is waited for');
    await eventually('in line for arm64', async () => (await sessions('arm64')) === 2);
    action.signal('SIGINT');
    const free = async () => (await sessions('amd64')) === 0 && (await sessions('arm64')) === 1;
    expect(await eventually('both given back', free)).toBeLessThan(5_000);
    expect((await action.ended).code).toBe(1);
    expect(action.report.outcome).toBe('cancelled');
    occupant.signal('SIGINT');
    await occupant.ended;
  });

  test('the deadline ends the wait for all of them, and says for which', async () => {
    const { action: occupant } = await occupy();
    const action = start({ context: context('true'), platforms: BOTH, 'queue-timeout': '8s' });
    expect((await action.ended).code).toBe(1);
    expect(action.report).toMatchObject({ outcome: 'queue-timeout', granted_at: null });
    expect(action.report.nodes.map(({ granted_at }) => granted_at === null)).toEqual([false, true]);
    expect(action.log).toContain('no builder became free within 8 s');
    occupant.signal('SIGINT');
    await occupant.ended;
  });
});

describe('once both are ours', () => {
  test('one lost before the build began: both are taken again, invisibly', async () => {
    const buildx = later(new BuildxAtWill({ holdBefore: true }));
    const action = start(
      { context: context('true'), platforms: BOTH, 'lost-builder-retries': '0' },
      buildx.env,
    );
    await eventually('buildx is about to start', () => buildx.reached('before'));
    lineOf('arm64').killBuilder(0, 'SIGKILL');
    await new Promise((done) => setTimeout(done, 300));
    buildx.release('before');
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
  });

  test.each([
    ['1', 'succeeded', '2'],
    ['0', 'builder-lost', '1'],
  ])('one lost in mid-build, %s retries: %s', async (retries, outcome, attempts) => {
    const step = new HeldStep();
    const action = start({ context: context(step.script), platforms: BOTH, 'lost-builder-retries': retries });
    await action.says(IN_RUN);
    lineOf(own).killBuilder(0, 'SIGKILL');
    if (outcome === 'succeeded') {
      await action.says(IN_RUN, 2);
      await step.letGoUntil(action.ended);
    }
    await action.ended;
    expect(action.report.outcome, action.log).toBe(outcome);
    expect(action.outputs['attempts']).toBe(attempts);
  });

  test('one lost after its own answer: the others go on, and the build ends as it ends', async () => {
    const step = new HeldStep();
    // Were it taken for a lost builder, there would be no other run.
    const action = start({ context: context(step.script), platforms: BOTH, 'lost-builder-retries': '0' });
    await action.says(IN_RUN);
    // What buildx does with the answer of the other one, which has copied its file.
    await eventually('the other one has answered', () =>
      /#(\d+) resolving provenance for metadata file\n[\s\S]*#\1 DONE/.test(action.log),
    );
    lineOf(other).killBuilder(0, 'SIGKILL');
    // After it the loss is known.
    await new Promise((done) => setTimeout(done, 1_000));
    await step.letGoUntil(action.ended);
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
  });

  test('a broken build is final, though another builder had no fault to find', async () => {
    const action = start({ context: context('exit 7'), platforms: BOTH });
    expect((await action.ended).code).toBe(1);
    expect(action.report.outcome).toBe('failed');
    expect(action.log).toContain('exit code: 7');
    expect(action.outputs['attempts']).toBe('1');
  });
});

describe('a script that needs both', () => {
  const build = (id: number) => `"$BUILDX" build --platform ${BOTH} --build-arg ID=${id} "$CONTEXT"`;

  test('has both from the beginning, over one connection each, and outlives one that is lost between two builds', async () => {
    const before = [await total('amd64'), await total('arm64')];
    const folder = context('true');
    const script = [build(1), 'touch "$OUT"', 'while [ -e "$OUT" ]; do sleep 0.1; done', build(2)].join('\n');
    const out = join(folder, 'pause');
    const action = start({ run: script, platforms: BOTH }, { CONTEXT: folder, OUT: out });
    await eventually('first build done', () => existsSync(out));
    expect([await total('amd64'), await total('arm64')]).toEqual(before.map((count) => count + 1));
    lineOf('amd64').killBuilder(0, 'SIGKILL');
    await action.says('the builder was lost');
    rmSync(out);
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
    expect(action.report.nodes.map(({ arch }) => arch)).toEqual(['amd64', 'arm64']);
    // arm64 was given back and taken again after amd64, as the order wants it.
    const taken = action.report.attempts.filter(({ reason }) => reason.includes('builder granted'));
    expect(taken.map(({ reason }) => reason.split(':')[0])).toEqual(['amd64', 'arm64', 'amd64', 'arm64']);
  });
});

test('platforms that the pool has no builders for are refused before anything is opened', async () => {
  const before = await total('amd64');
  const action = start({ context: context('true'), platforms: 'linux/amd64,linux/s390x,windows/amd64' });
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain('2 inputs need a change');
  expect(action.log).toContain(
    '`platforms` holds "linux/s390x", which the pool local has no builders for: it builds linux/amd64, linux/386, linux/arm64, linux/arm/v7',
  );
  expect(await total('amd64')).toBe(before);
});
