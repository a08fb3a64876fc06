/** The local pool with real programs: plain clients, scaling, deaths of every part, and nothing left behind. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BurstResult } from '../../src/burst/result.ts';
import type { ConnectionRecord } from '../../src/local/connection-record.ts';
import { defaultBaseFolder, type LocalPool } from '../../src/local/pool.ts';
import { type BalancerModel, GATHERING_MS, renderBalancer } from '../../src/pool/haproxy.ts';
import { waitInLine } from '../../src/queue/line.ts';
import {
  countersOf,
  eventually,
  makeHeldContext,
  makeSleepContext,
  mountsUnder,
  openLocalPool,
  type PlainBuild,
  processesMentioning,
  sessionsOf,
  startBuildctl,
  startPlain,
} from '../support/local-pool.ts';

/** How long a build pauses that does not come to its end: no other process of this machine has this number. */
const LASTING = 10_000 + (process.pid % 70_000);
const PAUSE = `busybox sleep ${LASTING}`;
let scratch: string;
let base: string;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'local-pool-'));
  base = join(scratch, 'pools');
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function recordsOf(pool: LocalPool): readonly ConnectionRecord[] {
  const records: ConnectionRecord[] = [];
  pool.events.on('record', (record) => records.push(record));
  return records;
}

/** Nothing of the pool lives, is mounted, listens or lies about. */
async function expectNothingLeft(pool: { readonly folder: string; readonly port: number }): Promise<void> {
  await eventually('no process is left', () => processesMentioning(pool.folder).length === 0);
  expect(mountsUnder(pool.folder)).toEqual([]);
  await expect(dial(pool.port)).resolves.toBe('refused');
}

/** Control groups of the pool's builds, in whichever hierarchy. */
function cgroupsOf({ folder }: { readonly folder: string }): readonly string[] {
  const root = '/sys/fs/cgroup';
  return [root, ...readdirSync(root).map((name) => join(root, name))]
    .map((hierarchy) => join(hierarchy, `buildkit-${basename(folder)}`))
    .filter((group) => existsSync(group));
}

function dial(port: number): Promise<'connected' | 'refused'> {
  return dialAt({ address: '127.0.0.1', port });
}

function dialAt({ address, port }: { address: string; port: number }): Promise<'connected' | 'refused'> {
  return new Promise((done) => {
    const socket = connect(port, address);
    socket.once('connect', () => {
      socket.destroy();
      done('connected');
    });
    socket.once('error', () => done('refused'));
  });
}

describe('plain clients', { timeout: 240_000 }, () => {
  test('builds by buildctl and buildx wait in one line, and the pool grows and shrinks with them', async () => {
    await using pool = await openLocalPool({
      baseFolder: base,
      minBuilders: 1,
      maxBuilders: 3,
      idleMs: 3000,
    });
    const records = recordsOf(pool);
    const gone: string[] = [];
    pool.events.on('builder-gone', ({ name }, reason) => gone.push(`${name} ${reason}`));
    await pool.untilReady(1);
    expect(statSync(pool.folder).mode & 0o777).toBe(0o700);

    const held = makeHeldContext(scratch);
    const buildx = process.env['BUILDX'] ?? 'buildx';
    const env = { BUILDX_CONFIG: join(scratch, 'buildx'), HOME: scratch };
    await startPlain(buildx, ['create', '--name', 'pool', '--driver', 'remote', pool.endpoint], env).ended;
    const builds = [
      startBuildctl(pool.endpoint, held.context, '1'),
      startBuildctl(pool.endpoint, held.context, '2'),
      startPlain(buildx, ['build', '--builder', 'pool', '--build-arg', 'ID=3', held.context], env),
    ];
    await eventually('three builds at the same time', () => held.running() === 3);
    expect(pool.readyBuilders()).toBe(3);
    held.release();
    for (const build of builds) {
      const { code, log } = await build.ended;
      expect(code, log).toBe(0);
    }
    await eventually('the surplus is gone', () => gone.length === 2);
    expect(gone.toSorted()).toEqual(['builder-1 drained', 'builder-2 drained']);
    expect(pool.readyBuilders()).toBe(1);
    const built = () => records.filter(({ receivedBytes }) => receivedBytes > 100_000);
    await eventually('the builds are logged', () => built().length === 3);
    expect(
      built()
        .map(({ server }) => server)
        .toSorted(),
    ).toEqual(['builder-0', 'builder-1', 'builder-2']);
    expect(await sessionsOf(pool)).toBe(0);
  });

  test('a pool with no builder takes a build from zero and goes back to zero', async () => {
    await using pool = await openLocalPool({
      baseFolder: base,
      minBuilders: 0,
      maxBuilders: 2,
      idleMs: 1000,
    });
    const records = recordsOf(pool);
    expect(pool.readyBuilders()).toBe(0);
    // A plain client hears something within 20 s or dials again: it comes when only the builder is still to start.
    await pool.untilReady(0);
    const { code, log } = await startBuildctl(pool.endpoint, makeSleepContext(scratch, 1), 'zero').ended;
    expect(code, log).toBe(0);
    await eventually('no builder is left', () => pool.readyBuilders() === 0);
    await eventually('its end is logged', () => records.length === 1);
    // The client ends first; HAProxy hears of it as an end, or as a reset if something was left unread.
    expect(records[0]).toMatchObject({
      server: 'builder-0',
      termination: expect.stringMatching(/^(--|CD)$/) as string,
    });
  });

  test('a drained builder ends its build first', async () => {
    await using pool = await openLocalPool({
      baseFolder: base,
      minBuilders: 1,
      maxBuilders: 2,
      idleMs: 1000,
    });
    const gone: string[] = [];
    pool.events.on('builder-gone', ({ name }, reason) => gone.push(`${name} ${reason}`));
    await pool.untilReady(1);
    // Two builders, of which the higher one has the longer build.
    const [short, long] = [makeHeldContext(scratch), makeHeldContext(scratch)];
    const first = startBuildctl(pool.endpoint, short.context, 'short');
    await eventually('the first one builds', () => short.running() === 1);
    const second = startBuildctl(pool.endpoint, long.context, 'long');
    await eventually('the second one builds', () => long.running() === 1);
    short.release();
    expect((await first.ended).code).toBe(0);
    await eventually('the second builder is to go', () => pool.readyBuilders() === 1);
    // Longer than an idle builder's drain takes.
    await sleep(7_000);
    expect(gone).toEqual([]);
    expect(long.running()).toBe(1);
    long.release();
    const { code, log } = await second.ended;
    expect(code, log).toBe(0);
    await eventually('it is gone', () => gone.length === 1);
    expect(gone).toEqual(['builder-1 drained']);
  });
});

describe('faults', { timeout: 240_000 }, () => {
  test('a load balancer killed with -9 comes back at the same place', async () => {
    await using pool = await openLocalPool({ baseFolder: base, minBuilders: 1, maxBuilders: 1 });
    await pool.untilReady(1);
    const troubles: string[] = [];
    pool.events.on('trouble', ({ message }) => troubles.push(message));
    const [haproxy] = processesMentioning(join(pool.folder, 'haproxy.cfg'));
    process.kill(haproxy ?? 0, 'SIGKILL');
    await eventually('it tells', () => troubles.length === 1);
    await pool.untilReady(1);
    const { code, log } = await startBuildctl(pool.endpoint, makeSleepContext(scratch, 1), 'again').ended;
    expect(code, log).toBe(0);
    expect(troubles).toEqual(['HAProxy ended (SIGKILL) and is started again']);
  });

  test('a load balancer that is asked to stop softly lets its builds end and those who wait dial again', async () => {
    await using pool = await openLocalPool({ baseFolder: base, minBuilders: 1, maxBuilders: 1 });
    await pool.untilReady(1);
    const records = recordsOf(pool);
    const held = makeHeldContext(scratch);
    const building = startBuildctl(pool.endpoint, held.context, 'building');
    await eventually('it builds', () => held.running() === 1);
    const waiting = joinLine({ address: '127.0.0.1', port: pool.port });
    await eventually('one waits', async () => (await countersOf(pool)).queued === 1);
    const restarted = pool.restartBalancer('SIGUSR1');
    expect(await outcomeWithin(waiting, SOON_MS)).toBe('closed');
    held.release();
    const { code, log } = await building.ended;
    expect(code, log).toBe(0);
    await restarted;
    await eventually('both are logged', () => records.length === 2);
    expect(records.map(({ server }) => server)).toEqual(['placeholder', 'builder-0']);
  });

  test('restarting the load balancer is no trouble', async () => {
    await using pool = await openLocalPool({ baseFolder: base, minBuilders: 1, maxBuilders: 1 });
    const troubles: string[] = [];
    pool.events.on('trouble', ({ message }) => troubles.push(message));
    await pool.restartBalancer();
    await pool.restartBalancer('SIGTERM');
    await pool.untilReady(1);
    expect(troubles).toEqual([]);
  });

  test('a builder killed with -9 takes its build with it and comes back; who waits is served', async () => {
    await using pool = await openLocalPool({ baseFolder: base, minBuilders: 1, maxBuilders: 1 });
    await pool.untilReady(1);
    const lost = startBuildctl(pool.endpoint, makeSleepContext(scratch, LASTING), 'lost');
    await eventually('it builds', () => processesMentioning(PAUSE).length > 0);
    // A client of ours: a plain one is lost when it is given the builder in the very moment of its death.
    const waiting = waitInLine({
      endpoint: { host: '127.0.0.1', port: Number(new URL(pool.endpoint).port), url: pool.endpoint },
      queueTimeoutMs: 600_000,
      signal: new AbortController().signal,
    });
    await eventually('one waits', async () => (await countersOf(pool)).queued === 1);
    expect(pool.killBuilder(0, 'SIGKILL')).toBe(true);
    expect(pool.killBuilder(7, 'SIGKILL')).toBe(false);
    expect((await lost.ended).code).not.toBe(0);
    // What ran in its containers ended with it.
    await eventually('its step is gone', () => processesMentioning(PAUSE).length === 0);
    const { connection } = await waiting;
    connection.socket.destroy();
  });

  test('stopping ends builds, too, and may be asked for twice', async () => {
    const pool = await openLocalPool({ baseFolder: base, minBuilders: 1, maxBuilders: 2 });
    await pool.untilReady(1);
    const cut = startBuildctl(pool.endpoint, makeSleepContext(scratch, LASTING), 'cut');
    await eventually('it builds', () => processesMentioning(PAUSE).length > 0);
    expect(cgroupsOf(pool)).not.toEqual([]);
    await Promise.all([pool.stop(), pool.stop()]);
    expect((await cut.ended).code).not.toBe(0);
    expect(processesMentioning(PAUSE)).toEqual([]);
    await expectNothingLeft(pool);
    expect(existsSync(pool.folder)).toBe(false);
    expect(cgroupsOf(pool)).toEqual([]);
  });

  test('a port that is taken is told, and nothing is left', async () => {
    await using first = await openLocalPool({ baseFolder: base, minBuilders: 0 });
    const folders = readdirSync(base).length;
    await expect(openLocalPool({ baseFolder: base, port: first.port })).rejects.toThrow(
      `Port ${first.port} of 127.0.0.1 is in use; choose another with --port`,
    );
    expect(readdirSync(base)).toHaveLength(folders);
  });

  test('two pools on one machine do not meet', async () => {
    await using first = await openLocalPool({ baseFolder: base, minBuilders: 1 });
    await using second = await openLocalPool({ baseFolder: base, minBuilders: 1 });
    await Promise.all([first.untilReady(1), second.untilReady(1)]);
    const records = recordsOf(second);
    const { code, log } = await startBuildctl(first.endpoint, makeSleepContext(scratch, 1), 'first').ended;
    expect(code, log).toBe(0);
    expect(records).toEqual([]);
  });
});

describe('the placeholder', () => {
  test('closes a build that reaches it before the plug, and is never reached after', async () => {
    const model = placeholderModel();
    const config = join(scratch, 'placeholder.cfg');
    // The plug cannot come: the ring dials a port where nobody listens.
    const ring = /^( {2}server plug_amd64 \S+:)8406$/m;
    writeFileSync(config, renderBalancer(model).replace(ring, '$18499'));
    const { HAPROXY: haproxy = 'haproxy' } = process.env;
    const balancer = startPlain(haproxy, ['-db', '-f', config]);
    try {
      await eventually('it listens', async () => (await dialAt(BUILDS)) === 'connected');
      // Each is closed at once, so that it dials again, and not held like the plug.
      for (let count = 0; count < 3; count += 1) {
        expect(await outcomeWithin(joinLine(BUILDS), SOON_MS)).toBe('closed');
      }
      const plug = connect(PLUG.port, PLUG.address);
      await eventually('the plug has the placeholder', async () => (await plugs()) === '1 of 1');
      expect(await outcomeWithin(plug, 500)).toBe('held');
      const build = joinLine(BUILDS);
      expect(await outcomeWithin(build, 1000)).toBe('held');
      // The plug goes and comes again, ahead of the build that waits: that one pays with at most one dial.
      plug.destroy();
      await eventually('the plug is gone', async () => (await plugs()).endsWith('of 0'));
      const again = connect(PLUG.port, PLUG.address);
      await eventually('it has the placeholder again', async () => (await plugs()) === '1 of 1');
      expect(await outcomeWithin(again, 500)).toBe('held');
      for (const socket of [build, again]) {
        socket.destroy();
      }
    } finally {
      balancer.process.kill('SIGKILL');
      await balancer.ended;
    }
  });
});

/** What is to happen at once happens within this time, on any machine. */
const SOON_MS = 30_000;

/** An address that no other process of this machine has. */
const PLACE = `127.78.${1 + (process.pid % 250)}.${1 + (Math.floor(process.pid / 250) % 250)}`;
const BUILDS = { address: PLACE, port: 1234 };
const PLUG = { address: PLACE, port: 8406 };

/** How many the placeholder has, of how many that dialled the plug's port. */
async function plugs(): Promise<string> {
  const page = await (await fetch(`http://${PLACE}:8404/metrics`)).text();
  const value = (series: string) =>
    page
      .split('\n')
      .find((row) => row.startsWith(`${series} `))
      ?.slice(series.length + 1);
  const had = value('haproxy_server_current_sessions{proxy="builders_amd64",server="placeholder"}');
  return `${had} of ${value('haproxy_frontend_current_sessions{proxy="plug_amd64"}')}`;
}

function placeholderModel(): BalancerModel {
  const hour = 3_600_000;
  return {
    threads: 1,
    maxConnections: 100,
    hardStopMs: null,
    logTarget: 'stdout format raw local0',
    adminSocketPath: null,
    metrics: { address: BUILDS.address, port: 8404 },
    placeholder: { address: BUILDS.address, port: 8405 },
    nameServers: [{ name: 'nobody', address: BUILDS.address, port: 53 }],
    nameGate: { address: BUILDS.address, port: 8407 },
    resolution: { intervalMs: 1000, holdGoneMs: 2000, holdOutageMs: hour },
    timeouts: { connectMs: 5000, queueMs: hour, clientMs: hour, serverMs: hour },
    keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
    checkIntervalMs: 1000,
    gatheringMs: GATHERING_MS,
    entrances: [],
    earlySettingsPath: null,
    pools: [
      {
        name: 'amd64',
        bind: BUILDS,
        fedBy: 'network',
        places: 'token',
        headStarts: [],
        builderTls: null,
        slotPort: null,
        plug: PLUG,
        servers: [{ name: 'builder-0', host: 'builder-0.amd64.pool.internal', port: 1234 }],
      },
    ],
  };
}

function joinLine({ address, port }: typeof BUILDS): Socket {
  const socket = connect(port, address);
  socket.on('error', () => undefined);
  // The preface and an empty SETTINGS frame: a client that is not aware of places.
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
  return socket;
}

function outcomeWithin(socket: Socket, limitMs: number): Promise<'closed' | 'held'> {
  socket.resume();
  return Promise.race([
    new Promise<'closed'>((done) => socket.once('close', () => done('closed'))),
    sleep(limitMs).then(() => 'held' as const),
  ]);
}

/** `buildkit-pool up` as a person runs it. */
async function startUp(): Promise<{
  cli: PlainBuild;
  pool: { folder: string; port: number; endpoint: string };
}> {
  const known = new Set(existsSync(base) ? readdirSync(base) : []);
  const cli = startPlain(process.execPath, [
    ...[resolve('dist/cli.js'), 'up', '--min', '1', '--max', '1', '--dir', base],
  ]);
  let said = '';
  cli.process.stdout?.on('data', (chunk: string) => {
    said += chunk;
  });
  await eventually('a builder is ready', () => {
    const { exitCode, signalCode } = cli.process;
    if (exitCode !== null || signalCode !== null) throw new Error(`it has ended:\n${said}`);
    return said.includes('1 builders');
  });
  const endpoint = /tcp:\/\/127\.0\.0\.1:(\d+)/.exec(said);
  const [name = ''] = readdirSync(base).filter((entry) => !known.has(entry));
  return {
    cli,
    pool: { folder: join(base, name), port: Number(endpoint?.[1]), endpoint: endpoint?.[0] ?? '' },
  };
}

describe('buildkit-pool up', { timeout: 240_000 }, () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s ends everything', async (signal) => {
    const { cli, pool } = await startUp();
    cli.process.kill(signal);
    const { code, log } = await cli.ended;
    expect(code, log).toBe(0);
    await expectNothingLeft(pool);
    expect(existsSync(pool.folder)).toBe(false);
  });

  test('killed with -9 during a build it leaves only its folder, and the next start removes that', async () => {
    const { cli, pool } = await startUp();
    const cut = startBuildctl(pool.endpoint, makeSleepContext(scratch, LASTING), 'cut');
    await eventually('it builds', () => processesMentioning(PAUSE).length > 0);
    cli.process.kill('SIGKILL');
    await cli.ended;
    await expectNothingLeft(pool);
    await eventually('its step is gone', () => processesMentioning(PAUSE).length === 0);
    expect((await cut.ended).code).not.toBe(0);
    expect(existsSync(pool.folder)).toBe(true);
    await using next = await openLocalPool({ baseFolder: base, minBuilders: 0 });
    expect(existsSync(pool.folder)).toBe(false);
    expect(cgroupsOf(pool)).toEqual([]);
    expect(existsSync(next.folder)).toBe(true);
  });

  test('SIGINT during a burst ends it, and everything with it', async () => {
    const temporary = join(scratch, 't');
    mkdirSync(temporary);
    const json = join(scratch, 'interrupted.json');
    const burst = startPlain(
      process.execPath,
      [
        ...[resolve('dist/cli.js'), 'burst', '--builders', '1', '--builds', '3'],
        ...['--seconds', `${LASTING}`, '--json', json],
      ],
      { TMPDIR: temporary },
    );
    await eventually('it builds', () => processesMentioning(PAUSE).length > 0);
    burst.process.kill('SIGINT');
    const { code, log } = await burst.ended;
    expect(code, log).toBe(1);
    expect(log).toContain('the burst was stopped');
    expect(processesMentioning(PAUSE)).toEqual([]);
    expect(existsSync(json)).toBe(false);
    expect(readdirSync(join(temporary, basename(defaultBaseFolder())))).toEqual([]);
  });

  test('a burst measures itself', async () => {
    const json = join(scratch, 'burst.json');
    const burst = startPlain(process.execPath, [
      ...[
        resolve('dist/cli.js'),
        'burst',
        '--builders',
        '2',
        '--builds',
        '5',
        '--seconds',
        '1',
        '--json',
        json,
      ],
    ]);
    const { code, log } = await burst.ended;
    expect(code, log).toBe(0);
    const result: BurstResult = JSON.parse(readFileSync(json, 'utf8'));
    expect(result).toMatchObject({ failed: 0, ghosts: 0, order_inversions: 0, connections: 5 });
    expect(result.builds.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 5 }, () => 'succeeded'));
    expect(result.builders.map(({ builds }) => builds).reduce((sum, count) => sum + count)).toBe(5);
    // A build's own time is that of another process, whose end is noticed a moment later.
    expect(result.makespan_ms).toBeGreaterThan(0.8 * result.ideal_ms);
  });

  test('bad options: one error that names all, and nothing is opened', async () => {
    const cli = startPlain(process.execPath, [
      ...[
        resolve('dist/cli.js'),
        'up',
        '--min',
        '9',
        '--max',
        '3',
        '--idle',
        'long',
        '--dir',
        join(scratch, 'never'),
      ],
    ]);
    const { code, log } = await cli.ended;
    expect(code).toBe(2);
    expect(log).toBe(
      'buildkit-pool: --idle: expected a duration from 1s to 1h such as `30s`, got `long`\n--min (9) is more than --max (3)\n',
    );
    expect(existsSync(join(scratch, 'never'))).toBe(false);
  });
});
