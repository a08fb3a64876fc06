/**
 * Set-up mode on the real parts: the bundled Action, its detached gateway process, HAProxy, BuildKit, and buildx as
 * docker/setup-buildx-action 4, docker/build-push-action 7 and docker/bake-action 7 call it (their sources, 2026).
 */
import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ConnectionRecord } from '../../src/local/connection-record.ts';
import { identify, isAlive } from '../../src/process-identity.ts';
import { endGateway, startGateway } from '../../src/setup/gateway-process.ts';
import { dockerfileRunning, makeContext } from '../support/action.ts';
import { entriesUnder } from '../support/files.ts';
import { FakeRunner, Job } from '../support/job.ts';
import {
  countersOf,
  eventually,
  makeHeldContext,
  openLocalPool,
  sessionsOf,
  startBuildctl,
  startPlain,
} from '../support/local-pool.ts';
import { bakeTargets, buildAndPush, exportRecord, removeBuildx, setUpBuildx } from '../support/peers.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

let pool: Pool;
let folder: string;
const cleanups: (() => void)[] = [];

const setUp = async (
  inputs: Record<string, string> = {},
  options: ConstructorParameters<typeof Job>[1] = {},
): Promise<Job> => {
  const job = new Job(
    { endpoint: pool.endpoint, 'queue-timeout': '120s', linger: '60s', ...inputs },
    options,
  );
  cleanups.push(() => job.remove());
  return await job.ready();
};
const context = (script: string) => {
  const path = makeContext(dockerfileRunning(script));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
};
const fresh = () => `--build-arg=ID=${randomBytes(4).toString('hex')}`;
const totalSessions = async () => (await countersOf(pool)).totalSessions;
const inLine = async (count: number) =>
  await eventually(`${count} in line`, async () => (await sessionsOf(pool)) === count);
/** Keeps the only builder busy until its build is let go. */
const occupy = async () => {
  const held = makeHeldContext(folder);
  const build = startBuildctl(pool.endpoint, held.context, randomBytes(4).toString('hex'));
  cleanups.push(() => build.process.kill('SIGKILL'));
  await eventually('the builder is busy', () => held.running() === 1);
  return { ...build, letGo: () => held.release() };
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'setup-'));
  pool = await openLocalPool({ minBuilders: 1, maxBuilders: 1 });
  await pool.untilReady(1);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  await inLine(0);
  // The load balancer may not have noticed yet that the builder was killed.
  await eventually('the builder is back', () => pool.readyBuilders() === 1);
  await pool.untilReady(1);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

describe('the builder that a set-up step leaves', () => {
  test('is described by outputs, is the default, and has cost no place yet', async () => {
    const before = await totalSessions();
    const job = await setUp({ name: 'pool-builder', platforms: 'linux/amd64' });
    const { outputs } = job.action;
    expect(outputs).toMatchObject({ name: 'pool-builder', driver: 'remote', platforms: 'linux/amd64' });
    expect(outputs['endpoint']).toBe(
      `unix://${job.folder}/${/bkp-[^/]+\/buildkitd.sock$/.exec(outputs['endpoint'] ?? '')?.[0]}`,
    );
    expect(JSON.parse(outputs['nodes'] ?? '')).toMatchObject([
      { name: 'pool-builder0', endpoint: outputs['endpoint'], platforms: 'linux/amd64' },
    ]);
    expect(job.variables).toEqual({ BUILDX_BUILDER: 'pool-builder' });
    // Also for whoever has no variables of the job's.
    const { code, log } = await job.step(['inspect', '--bootstrap'], { BUILDX_BUILDER: '' }).ended;
    expect(code, log).toBe(0);
    expect(log).toMatch(/Name: +pool-builder\n[\s\S]*Status: +running\n[\s\S]*BuildKit version: v0\.32\.2\n/);
    expect((await job.buildx('ls')).log).toMatch(/pool-builder\*? +remote[\s\S]*running/);
    expect(await totalSessions()).toBe(before);
    expect((await job.post()).code).toBe(0);
    expect(job.variables).toEqual({ BUILDX_BUILDER: '' });
    expect(Object.keys(job.files()).filter((path) => /instances|current|bkp/.test(path))).toEqual([]);
    expect(existsSync(job.folder)).toBe(false);
  });

  test('is not made the default without `use`, and its name stays without `cleanup`', async () => {
    const job = await setUp({ name: 'kept', use: 'false', cleanup: 'false' });
    expect(job.variables).toEqual({});
    expect((await job.buildx('ls')).log).not.toMatch(/kept\*/);
    const build = job.step(['build', '--builder=kept', fresh(), context('echo built')]);
    expect((await build.ended).code, build.log()).toBe(0);
    expect((await job.post()).code).toBe(0);
    await inLine(0);
    expect((await job.buildx('ls')).log).toMatch(/kept/);
    expect(existsSync(job.folder)).toBe(false);
  });

  test('works for unchanged steps on a full pool as on a free one: one connection, the same attestations', async () => {
    const dockerfile = context('echo built');
    const free = await setUp();
    const unhurried = await buildAndPush(free, dockerfile);
    await free.post();
    await inLine(0);

    const job = await setUp({ hold: 'step' });
    const blocker = await occupy();
    const records: ConnectionRecord[] = [];
    const record = (connection: ConnectionRecord) => records.push(connection);
    pool.events.on('record', record);
    const from = Date.now();
    const theirs = await setUpBuildx(job, 'theirs', job.action.outputs['endpoint'] ?? '');
    expect(theirs).toMatch(/Status: +running\n/);
    const building = buildAndPush(job, dockerfile);
    const waiting = inLine(2).then(async () => {
      // Long enough to be told from no wait at all.
      await new Promise((done) => setTimeout(done, 1_500));
      blocker.letGo();
    });
    const [built] = await Promise.all([building, waiting]);
    expect((await blocker.ended).code).toBe(0);
    expect(Date.now() - from).toBeGreaterThan(1_000);
    expect(built.inspect).toContain('Status:           running');
    expect(built.attestations).toEqual(unhurried.attestations);
    expect(built.attestations).toHaveLength(1);
    const baked = await bakeTargets(job, dockerfile);
    expect(baked).toHaveLength(2);
    // The records are with the builder, which is still ours.
    expect((await exportRecord(job, built.ref)).code).toBe(0);
    await removeBuildx(job, 'theirs');
    const { log } = await job.post();
    expect(log).toContain('builds: 3 succeeded');
    await eventually('both are logged', () => records.length >= 2);
    pool.events.off('record', record);
    // The load balancer's own log: the blocker's, which has no place token, and the job's.
    expect(records.map(({ place }) => Number.isInteger(place))).toEqual([false, true]);
    expect(job.report).toMatchObject({ over: true, builds: { succeeded: 3, failed: 0, lost: 0 } });
    expect(job.report.lines[0]?.waits).toHaveLength(1);
    expect(job.report.queue_ms).toBeGreaterThan(1_000);
    expect(job.action.summary).toContain('3 succeeded');
  });

  test('is given back when the linger is over, and its records with it: said at once', async () => {
    const job = await setUp({ linger: '1s' });
    const built = await buildAndPush(job, context('echo built'));
    await inLine(0);
    const from = Date.now();
    const exported = await exportRecord(job, built.ref);
    expect(exported.code).toBe(1);
    expect(exported.log).toContain(
      'the builder has been given back to the pool, and its build records with it',
    );
    expect(exported.log).toContain('DOCKER_BUILD_SUMMARY=false');
    expect(Date.now() - from).toBeLessThan(15_000);
    // What was seen of it is still shown.
    expect((await job.buildx('inspect')).log).toContain('org.mobyproject.buildkit.worker.executor');
    expect(await sessionsOf(pool)).toBe(0);
    expect((await job.buildx('build', fresh(), context('echo again'))).code).toBe(0);
    await job.post();
    expect(job.report.lines[0]?.waits.map((wait) => wait.outcome)).toEqual(['released', 'released']);
  });

  test('is kept until post with `hold: job`', async () => {
    const job = await setUp({ hold: 'job', linger: '0s' });
    const built = await buildAndPush(job, context('echo built'));
    await new Promise((done) => setTimeout(done, 1_500));
    expect(await sessionsOf(pool)).toBe(1);
    expect((await exportRecord(job, built.ref)).code).toBe(0);
    await job.post();
    await inLine(0);
    expect(job.report.lines[0]?.waits).toHaveLength(1);
  });

  test('keeps its place for a client that gave up and comes again', async () => {
    const job = await setUp();
    const blocker = await occupy();
    const before = await totalSessions();
    const first = job.step(['build', fresh(), context('echo never')]);
    await inLine(2);
    first.process.kill('SIGINT');
    await first.ended;
    const again = job.buildx('build', fresh(), context('echo built'));
    // Meanwhile it has come.
    await new Promise((done) => setTimeout(done, 2_000));
    blocker.letGo();
    expect((await again).code).toBe(0);
    expect((await blocker.ended).code).toBe(0);
    expect(await totalSessions()).toBe(before + 1);
    await job.post();
  });
});

test('a container that shares the runner’s temporary folder builds through the same socket', async () => {
  const job = await setUp();
  const { temp } = job.action;
  const root = mkdtempSync(join(tmpdir(), 'root-'));
  cleanups.push(() => rmSync(root, { recursive: true, force: true }));
  // Nothing but that folder, at its own path, and buildx itself.
  mkdirSync(join(root, temp), { recursive: true });
  copyFileSync(process.env['BUILDX'] ?? '', join(root, 'buildx'));
  const config = join(temp, 'config');
  cpSync(job.buildxFolder, join(config, 'buildx'), { recursive: true });
  const files = join(temp, 'files');
  cpSync(context('echo from-a-container'), files, { recursive: true });
  const inside = `mount --bind "${temp}" "${root}${temp}" && exec chroot "${root}" /buildx build --progress=plain ${fresh()} "${files}"`;
  const step = startPlain('unshare', ['--mount', '--pid', '--fork', 'sh', '-c', inside], {
    DOCKER_CONFIG: config,
    HOME: temp,
    TMPDIR: temp,
    BUILDX_BUILDER: job.variables['BUILDX_BUILDER'] ?? '',
  });
  const { code, log } = await step.ended;
  expect(code, log).toBe(0);
  expect(log).toContain('from-a-container');
  await job.post();
});

describe('what goes wrong', () => {
  test('no builder in time: the build says so, and the next one has all its time again', async () => {
    const job = await setUp({ 'queue-timeout': '5s' });
    const blocker = await occupy();
    const { code, log } = await job.buildx('build', fresh(), context('echo never'));
    expect(code).toBe(1);
    expect(log).toMatch(/no builder became free within 5 s: .*; a longer queue-timeout waits longer/);
    await inLine(1);
    blocker.process.kill('SIGKILL');
    await inLine(0);
    expect((await job.buildx('build', fresh(), context('echo built'))).code).toBe(0);
    await job.post();
    expect(job.report.lines[0]?.waits.map((wait) => wait.outcome)).toEqual(['queue-timeout', 'released']);
  });

  test('a pool that can’t be had at all: at once', async () => {
    // No part of a name may be so long: no name server has to be asked.
    const host = `${'x'.repeat(64)}.invalid`;
    const job = await setUp({ endpoint: `tcp://${host}:1`, 'queue-timeout': '1h' });
    const { code, log } = await job.buildx('build', context('echo never'));
    expect(code).toBe(1);
    expect(log).toContain(`tcp://${host}:1 names an unknown host (ENOTFOUND)`);
    await job.post();
  });

  test('a builder lost in the middle of a build is said to be, and the next build finds another', async () => {
    const job = await setUp();
    const build = job.step([
      'build',
      '--progress=plain',
      fresh(),
      context('echo in-the-$((40+2)); sleep 60'),
    ]);
    await eventually('the build is in its step', () => build.log().includes('in-the-42'));
    expect(pool.killBuilder(0, 'SIGKILL')).toBe(true);
    const { code, log } = await build.ended;
    expect(code).toBe(1);
    expect(log).toContain('the connection to the builder was lost');
    expect((await job.buildx('build', fresh(), context('echo built'))).code).toBe(0);
    await job.post();
    expect(job.report).toMatchObject({ builds: { succeeded: 1, lost: 1 } });
  });

  test('a name that is somebody else’s is refused, and theirs is left alone', async () => {
    const dockerConfig = mkdtempSync(join(tmpdir(), 'docker-'));
    cleanups.push(() => rmSync(dockerConfig, { recursive: true, force: true }));
    const theirs =
      '{"Name":"mine","Driver":"remote","Nodes":[{"Name":"mine0","Endpoint":"tcp://127.0.0.1:9"}]}';
    mkdirSync(join(dockerConfig, 'buildx/instances'), { recursive: true });
    writeFileSync(join(dockerConfig, 'buildx/instances/mine'), theirs);
    const job = new Job({ endpoint: pool.endpoint, name: 'mine' }, { dockerConfig });
    cleanups.push(() => job.remove());
    expect((await job.action.ended).code).toBe(1);
    expect(job.action.log).toContain(
      '`name` is "mine": there is a builder of that name already; choose another',
    );
    await job.post();
    expect(readFileSync(join(dockerConfig, 'buildx/instances/mine'), 'utf8')).toBe(theirs);
    expect(existsSync(job.folder)).toBe(false);
  });
});

describe('two jobs on one machine', () => {
  test('share buildx’s folder, and neither builds on, nor takes away, the other’s builder', async () => {
    const dockerConfig = mkdtempSync(join(tmpdir(), 'docker-'));
    cleanups.push(() => rmSync(dockerConfig, { recursive: true, force: true }));
    const one = await setUp({}, { dockerConfig });
    const two = await setUp({}, { dockerConfig });
    const builds = [one, two].map((job) => job.buildx('build', fresh(), context('echo built')));
    // The pool has one builder: the second waits for the first one's to be given back.
    const first = await Promise.race(builds.map((build, index) => build.then(() => index)));
    const [early, late] = first === 0 ? [one, two] : [two, one];
    await early.post();
    expect((await Promise.all(builds)).map((end) => end.code)).toEqual([0, 0]);
    expect((await late.buildx('inspect')).code).toBe(0);
    await late.post();
    for (const job of [one, two]) {
      expect(job.report.builds).toEqual({ succeeded: 1, failed: 0, lost: 0 });
      expect(existsSync(join(dockerConfig, 'buildx/instances', job.state.registration.name))).toBe(false);
    }
  });

  test('the default of before comes back, and a dead job’s builder of the same name is replaced', async () => {
    const dockerConfig = mkdtempSync(join(tmpdir(), 'docker-'));
    cleanups.push(() => rmSync(dockerConfig, { recursive: true, force: true }));
    const dead = await setUp({ name: 'same' }, { dockerConfig });
    const current = join(dockerConfig, 'buildx/current');
    const living = new Job({ endpoint: pool.endpoint, name: 'same' }, { dockerConfig });
    cleanups.push(() => living.remove());
    expect((await living.action.ended).code).toBe(1);
    expect(living.action.log).toContain('another job on this machine uses a builder of that name');
    process.kill(dead.gatewayPid, 'SIGKILL');
    await eventually('the gateway is gone', () => !identify(dead.gatewayPid));
    writeFileSync(current, '{"Key":"unix:///var/run/docker.sock","Name":"","Global":false}');
    const next = await setUp({ name: 'same' }, { dockerConfig });
    expect(JSON.parse(readFileSync(current, 'utf8'))).toMatchObject({ Name: 'same' });
    expect((await next.buildx('build', fresh(), context('echo built'))).code).toBe(0);
    await next.post();
    expect(JSON.parse(readFileSync(current, 'utf8'))).toMatchObject({ Name: '' });
  });
});

describe('the end of the job', () => {
  const gone = async (job: Job) => {
    const gateway = job.state.gateway;
    expect(gateway !== undefined && isAlive(gateway)).toBe(false);
    expect(existsSync(job.folder)).toBe(false);
    await inLine(0);
  };

  test('cancelled while setting up: nothing stays', async () => {
    const job = new Job({ endpoint: pool.endpoint });
    cleanups.push(() => job.remove());
    // As early as there is something to give back: the state is saved before the gateway is started.
    await eventually('the state is saved', () => {
      try {
        return job.state.registration.name !== '';
      } catch {
        return false;
      }
    });
    job.action.signal('SIGINT');
    const { code } = await job.action.ended;
    await job.post();
    await gone(job);
    if (code !== 0) expect(job.action.log).toContain('cancelled; nothing was taken from the pool');
    expect(Object.keys(job.files()).filter((path) => /instances\//.test(path))).toEqual([]);
  });

  test.each(['waiting in line', 'building'])(
    'cancelled while %s: post gives the place back',
    async (phase) => {
      const job = await setUp();
      const blocker = phase === 'building' ? undefined : await occupy();
      const build = job.step([
        'build',
        '--progress=plain',
        fresh(),
        context('echo in-the-$((40+2)); sleep 60'),
      ]);
      if (blocker === undefined) await eventually('it builds', () => build.log().includes('in-the-42'));
      else await inLine(2);
      build.process.kill('SIGINT');
      await job.post();
      await build.ended;
      await eventually(
        'the place is free',
        async () => (await sessionsOf(pool)) === (blocker === undefined ? 0 : 1),
      );
      blocker?.process.kill('SIGKILL');
      await gone(job);
    },
  );

  test('post ends a step’s client that goes on, and a gateway that can’t be asked', async () => {
    const job = await setUp();
    const build = job.step([
      'build',
      '--progress=plain',
      fresh(),
      context('echo in-the-$((40+2)); sleep 60'),
    ]);
    await eventually('it builds', () => build.log().includes('in-the-42'));
    process.kill(job.gatewayPid, 'SIGSTOP');
    expect((await job.post()).code).toBe(0);
    expect((await build.ended).code).toBe(1);
    await gone(job);
  });

  test('the runner is killed and post never runs: everything is given back all the same', async () => {
    // A job whose set-up step has another process for a parent.
    const dockerConfig = mkdtempSync(join(tmpdir(), 'docker-'));
    const temp = mkdtempSync(join(tmpdir(), 'runner-'));
    cleanups.push(() => {
      for (const path of [dockerConfig, temp]) rmSync(path, { recursive: true, force: true });
    });
    const file = (name: string) => {
      writeFileSync(join(temp, name), '');
      return join(temp, name);
    };
    mkdirSync(join(temp, 'bin'));
    symlinkSync(process.env['BUILDX'] ?? '', join(temp, 'bin', 'buildx'));
    const runner = new FakeRunner(temp, {
      ...process.env,
      DOCKER_CONFIG: dockerConfig,
      // Whatever the name of the program is.
      PATH: `${join(temp, 'bin')}:${process.env['PATH']}`,
      RUNNER_TEMP: temp,
      RUNNER_ARCH: process.arch === 'arm64' ? 'ARM64' : 'X64',
      GITHUB_OUTPUT: file('output'),
      GITHUB_STATE: file('state'),
      GITHUB_ENV: file('env'),
      INPUT_ENDPOINT: pool.endpoint,
      INPUT_NAME: 'orphan',
      INPUT_HOLD: 'job',
    });
    cleanups.push(() => runner.process.kill('SIGKILL'));
    await runner.ready();
    const states = readFileSync(join(temp, 'state'), 'utf8').split('\n');
    const state = JSON.parse(states[states.findLastIndex((line) => line.startsWith('setup<<')) + 1] ?? '');
    expect(isAlive(state.gateway)).toBe(true);
    const job = new Job({}, { dockerConfig });
    cleanups.push(() => job.remove());
    const build = job.step(['build', '--builder=orphan', fresh(), context('echo built')]);
    expect((await build.ended).code, build.log()).toBe(0);
    expect(await sessionsOf(pool)).toBe(1);
    runner.process.kill('SIGKILL');
    await eventually('the gateway has ended', () => !isAlive(state.gateway));
    await inLine(0);
    expect(existsSync(join(dockerConfig, 'buildx/instances/orphan'))).toBe(false);
    expect(existsSync(join(dockerConfig, 'buildx/current'))).toBe(false);
    const folders = readFileSync(join(temp, 'state'), 'utf8').match(/\/\S*bkpool-\S*/g) ?? [];
    expect(folders.filter((path) => /bkpool-[^/]+$/.test(path) && existsSync(path))).toEqual([]);
  });
});

test('what the runner gives to the step does not reach the gateway, and nobody else reaches its sockets', async () => {
  const secret = `secret-${randomBytes(8).toString('hex')}`;
  const job = await setUp(
    { name: 'private' },
    { env: { ACTIONS_RUNTIME_TOKEN: secret, GITHUB_TOKEN: secret } },
  );
  const proc = (name: string) => readFileSync(`/proc/${job.gatewayPid}/${name}`, 'latin1');
  expect(proc('environ')).not.toContain(secret);
  expect(proc('environ')).not.toContain('INPUT_');
  expect(proc('cmdline').split('\0').filter(Boolean)).toHaveLength(2);
  // Closed to the runner's streams: only its own log and what it has opened itself.
  expect(readFileSync(`/proc/${job.gatewayPid}/stat`, 'latin1').split(') ')[1]?.split(' ')[2]).toBe(
    String(job.gatewayPid),
  );
  for (const [path, text] of Object.entries(job.files())) expect(text, path).not.toContain(secret);
  await job.post();
  for (const [path, text] of Object.entries(job.files())) expect(text, path).not.toContain(secret);
});

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'keys go to the gateway by a pipe and nowhere else (%s)',
  async (signal) => {
    const key = `-----BEGIN PRIVATE KEY-----\n${randomBytes(24).toString('base64')}`;
    const run = mkdtempSync(join(tmpdir(), 'bkpool-'));
    cleanups.push(() => rmSync(run, { recursive: true, force: true }));
    const endpoint = { host: '127.0.0.1', port: 9, url: 'tcp://127.0.0.1:9' };
    const gateway = await startGateway(
      resolve('dist/gateway.js'),
      {
        nodes: [
          {
            arch: 'amd64',
            endpoint,
            platforms: [],
            builds: ['linux/amd64'],
            tls: { key, ca: key, cert: key },
          },
        ],
        folder: run,
        hold: 'step',
        lingerMs: 0,
        queueTimeoutMs: 1_000,
        assumedVersion: 'v0.32.2',
        reportPath: join(run, 'report.json'),
        runner: undefined,
        registration: undefined,
        builder: 'keys',
      },
      { ...process.env, INPUT_KEY: key, BUILDER_NODE_0_AUTH_TLS_KEY: key },
    );
    const { pid } = gateway.identity;
    cleanups.push(() => {
      if (isAlive(gateway.identity)) process.kill(pid, 'SIGKILL');
    });
    const [address = ''] = await gateway.addresses;
    expect(statSync(join(address.slice('unix://'.length), '..')).mode & 0o777).toBe(0o700);
    const secret = key.split('\n')[1] ?? '';
    const places = () => [
      ...['environ', 'cmdline'].flatMap((name) => {
        try {
          return [readFileSync(`/proc/${pid}/${name}`, 'latin1')];
        } catch {
          return [];
        }
      }),
      ...entriesUnder(run)
        .filter((entry) => entry.isFile())
        .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')),
    ];
    // Where it would show: environment, arguments, log, report.
    expect(places()).toHaveLength(4);
    expect(places().filter((text) => text.includes(secret))).toEqual([]);
    if (signal === 'SIGTERM') await endGateway(gateway.identity);
    else process.kill(pid, signal);
    await eventually('it has ended', () => !isAlive(gateway.identity));
    expect(places().filter((text) => text.includes(secret))).toEqual([]);
  },
);

test('a gateway that can’t start says why, and leaves nothing', async () => {
  const job = new Job({ endpoint: pool.endpoint }, { env: { BUILDX_CONFIG: '/dev/null/buildx' } });
  cleanups.push(() => job.remove());
  expect((await job.action.ended).code).toBe(1);
  expect(job.action.log).toContain('::error::`docker buildx create` made no builder');
  expect(existsSync(job.folder)).toBe(false);
  expect(isAlive(job.state.gateway ?? { pid: 1, startedAt: '' })).toBe(false);
});
