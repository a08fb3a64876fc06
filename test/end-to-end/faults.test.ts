/**
 * Every row of docs/outcomes.md on the real parts: buildkitd, HAProxy, buildx, the bundled Action.
 */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ConnectionRecord } from '../../src/local/connection-record.ts';
import { placeToken } from '../../src/queue/token.ts';
import { dockerfileRunning, makeContext, RunningAction } from '../support/action.ts';
import { BuildxAtWill } from '../support/buildx-at-will.ts';
import { HeldStep } from '../support/held-step.ts';
import {
  countersOf,
  eventually,
  openLocalPool,
  processesMentioning,
  sessionsOf,
} from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

let pool: Pool;
const cleanups: (() => void)[] = [];
const later = <T extends { remove(): void }>(thing: T): T => {
  cleanups.push(() => thing.remove());
  return thing;
};
const start = (inputs: Record<string, string>, env: NodeJS.ProcessEnv = {}) =>
  later(new RunningAction({ endpoint: pool.endpoint, 'queue-timeout': '120s', ...inputs }, { env }));
const context = (script: string) => {
  const folder = makeContext(dockerfileRunning(script));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};
/** A build that is in its RUN step once the log shows `marker` and lasts until it is ended. */
const LONG = 'echo in-the-$((40+2))-step; sleep 60';
const IN_RUN = 'in-the-42-step';
const SHORT = 'echo fine';

const busy = async (count: number) =>
  eventually(`${count} in line`, async () => (await sessionsOf(pool)) === count);
const idle = async () => eventually('nobody in line', async () => (await sessionsOf(pool)) === 0);
/** Far less than the deadlines and limits that would end it too: 7.5 s of the runner's, 60 s of the build's own. */
const AT_ONCE_MS = 5_000;
/** Seconds that no other process of this machine sleeps, be it one of an earlier run. */
const FOR_EVER = 1_100_000_000 + process.pid;

beforeAll(async () => {
  pool = await openLocalPool({ minBuilders: 2, maxBuilders: 2 });
  await pool.untilReady(2);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  await idle();
  // The load balancer may not have noticed yet that a builder was killed.
  await eventually('all builders are back', () => pool.readyBuilders() === 2);
  await pool.untilReady(2);
});

/** What was ended may still be on its way out. */
const nobodyMentions = (text: string) =>
  eventually('nothing of it runs any more', () => processesMentioning(text).length === 0);
/** What a run may not leave in the runner's temporary folder: anything but the runner's files and the report. */
const leftovers = (action: RunningAction) =>
  readdirSync(action.temp).filter(
    (name) => !/^(bin|docker|output|state|summary|buildkit-pool-report-.*)$/.test(name),
  );
async function listen(onConnection: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onConnection(socket);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

describe('a build', () => {
  test('succeeds: image id, digest, metadata, times and report, over exactly one connection', async () => {
    const before = (await countersOf(pool)).totalSessions;
    const action = start({ context: context(SHORT), outputs: 'type=image,name=test.invalid/a:1,push=false' });
    expect(await action.ended, action.log).toEqual({ code: 0, signal: null });
    const { outputs, report } = action;
    expect(outputs['imageid']).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(outputs['digest']).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(JSON.parse(outputs['metadata'] ?? '')).toMatchObject({
      'containerimage.digest': outputs['digest'],
    });
    expect(outputs['attempts']).toBe('1');
    expect(Number(outputs['queue-time-ms'])).toBe(report.queue_ms);
    expect(Number(outputs['build-time-ms'])).toBe(report.build_ms);
    expect(report).toMatchObject({
      schema: 'buildkit-pool/report/v1',
      outcome: 'succeeded',
      fallback: false,
    });
    expect(report.attempts.map((attempt) => attempt.phase)).toEqual([
      'dialling',
      'queued',
      'building',
      'done',
    ]);
    expect(Date.parse(report.granted_at ?? '') - Date.parse(report.joined_at)).toBe(report.queue_ms);
    expect(action.summary).toContain('Pool build: succeeded');
    expect((await countersOf(pool)).totalSessions).toBe(before + 1);
    expect(leftovers(action)).toEqual([]);
    expect((await action.post()).log).toBe('');
  });

  test('fails on a broken Dockerfile: once, with BuildKit’s own message and exit code', async () => {
    const buildx = later(new BuildxAtWill());
    const action = start({ context: context('echo broken; exit 7') }, buildx.env);
    expect((await action.ended).code).toBe(1);
    expect(action.log).toContain('did not complete successfully: exit code: 7');
    expect(action.log).toMatch(
      /::error::the build failed: it ended with exit code 1: ERROR: failed to build: failed to solve/,
    );
    expect(readFileSync(join(buildx.folder, 'runs'), 'utf8').trim().split('\n')).toHaveLength(1);
    expect(action.report).toMatchObject({ outcome: 'failed' });
    expect(action.outputs['attempts']).toBe('1');
    expect(leftovers(action)).toEqual([]);
  });

  test('carries a line of 200 kB on stderr whole and in no time', async () => {
    const script =
      'i=0; while [ $i -lt 200 ]; do printf %01000d 0; i=$((i+1)); done; echo " end-of-$((40+2))"; exit 3';
    const action = start({ context: context(script) });
    expect((await action.ended).code).toBe(1);
    expect(/0+ end-of-42/.exec(action.log)?.[0]).toHaveLength(200_000 + ' end-of-42'.length);
    expect(action.report.outcome).toBe('failed');
  });
});

describe.each(['SIGKILL', 'SIGTERM'] as const)('buildkitd ended by %s', (signal) => {
  const killBusyBuilder = async () => {
    let name: string | undefined;
    await eventually('a builder is busy', async () => {
      const { servers } = await countersOf(pool);
      name = [...servers].find(
        ([server, { sessions }]) => server.startsWith('builder-') && sessions > 0,
      )?.[0];
      return name !== undefined;
    });
    expect(pool.killBuilder(Number(name?.split('-')[1]), signal)).toBe(true);
  };

  /** Since 0.14 a daemon told to stop lets a running step end: it has been told while the step runs. */
  const stopping = () => new Promise((done) => setTimeout(done, 2_000));

  test('before Solve: another builder, invisibly', async () => {
    const buildx = later(new BuildxAtWill({ holdBefore: true }));
    const action = start({ context: context(SHORT), 'lost-builder-retries': '0' }, buildx.env);
    await eventually('buildx is about to start', () => buildx.reached('before'));
    await killBusyBuilder();
    // A daemon that stops gracefully closes an idle connection only after telling so.
    await new Promise((done) => setTimeout(done, 500));
    buildx.release('before');
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
  });

  test('in mid-RUN: the build runs again on another builder', async () => {
    const step = new HeldStep();
    const action = start({ context: context(step.script) });
    await action.says(IN_RUN);
    await killBusyBuilder();
    if (signal === 'SIGKILL') await action.says(IN_RUN, 2);
    else await stopping();
    await step.letGoUntil(action.ended);
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
    if (signal === 'SIGKILL') {
      expect(action.outputs['attempts']).toBe('2');
      expect(action.log).toContain('running the build again on another builder');
    }
  });

  test('in mid-RUN with no retry left: builder-lost, and said so', async () => {
    const step = new HeldStep();
    const action = start({ context: context(step.script), 'lost-builder-retries': '0' });
    await action.says(IN_RUN);
    await killBusyBuilder();
    if (signal === 'SIGTERM') {
      await stopping();
      await step.letGoUntil(action.ended);
    }
    const { code } = await action.ended;
    if (signal === 'SIGKILL') {
      expect(code).toBe(1);
      expect(action.report.outcome).toBe('builder-lost');
      expect(action.log).toContain('`lost-builder-retries` allows no further run');
    } else {
      expect(['succeeded', 'builder-lost']).toContain(action.report.outcome);
    }
  });

  test('after its answer: the success stands', async () => {
    const buildx = later(new BuildxAtWill({ holdAfter: true }));
    const action = start({ context: context(SHORT), 'lost-builder-retries': '0' }, buildx.env);
    await eventually('buildx has ended', () => buildx.reached('after'));
    pool.killBuilder(0, signal);
    pool.killBuilder(1, signal);
    await new Promise((done) => setTimeout(done, 300));
    buildx.release('after');
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
  });

  test('after its answer: the failure stands and is not run again', async () => {
    const buildx = later(new BuildxAtWill({ holdAfter: true }));
    const action = start({ context: context('exit 9') }, buildx.env);
    await eventually('buildx has ended', () => buildx.reached('after'));
    pool.killBuilder(0, signal);
    pool.killBuilder(1, signal);
    await new Promise((done) => setTimeout(done, 300));
    buildx.release('after');
    expect((await action.ended).code).toBe(1);
    expect(action.report.outcome).toBe('failed');
    expect(readFileSync(join(buildx.folder, 'runs'), 'utf8').trim().split('\n')).toHaveLength(1);
  });
});

describe('the load balancer restarted', () => {
  test('while builds wait and run: those that wait come back to their places, those that ran run again', async () => {
    const running = [start({ context: context(LONG) }), start({ context: context(LONG) })];
    for (const action of running) await action.says(IN_RUN);
    const waiting: RunningAction[] = [];
    for (const id of [1, 2, 3]) {
      waiting.push(start({ context: context(SHORT), 'build-args': `ID=${id}` }));
      await busy(2 + waiting.length);
      // Places are told apart by ticks of a quarter of a second.
      await new Promise((done) => setTimeout(done, 600));
    }
    const served: { readonly place: number; readonly grantedAtMs: number }[] = [];
    const record = ({ place, grantedAtMs }: ConnectionRecord) => {
      if (place !== null && grantedAtMs !== null) served.push({ place, grantedAtMs });
    };
    pool.events.on('record', record);
    const restartedAtMs = Date.now();
    await pool.restartBalancer();
    for (const action of waiting) await action.says('back in line, at the same place');
    for (const action of running) {
      await action.says('running the build again on another builder');
      await action.says(IN_RUN, 2);
      action.signal('SIGINT');
      await action.ended;
    }
    for (const action of waiting) expect((await action.ended).code, action.log).toBe(0);
    expect(waiting.map((action) => action.outputs['attempts'])).toEqual(['1', '1', '1']);
    // By the load balancer's own log: at the places that they had before, in the order of these.
    const joined = waiting.map(({ report }) => Date.parse(report.joined_at));
    const grantOf = (atMs: number) =>
      served.findLast(({ place }) => place === placeToken(atMs))?.grantedAtMs ?? Number.NaN;
    await eventually('all are logged', () => !joined.map(grantOf).includes(Number.NaN));
    pool.events.off('record', record);
    for (const [index, joinedAtMs] of joined.entries()) {
      expect(joinedAtMs).toBeLessThan(restartedAtMs);
      // A sum of three times in whole milliseconds is a few of them off.
      if (index > 0)
        expect(grantOf(joinedAtMs)).toBeGreaterThan(grantOf(joined[index - 1] ?? Number.NaN) - 10);
    }
  });
});

describe('the pool not had', () => {
  test('refused until the deadline: unreachable, with the real cause', async () => {
    const action = start({ endpoint: 'tcp://127.0.0.1:9', 'queue-timeout': '5s', context: context(SHORT) });
    expect((await action.ended).code).toBe(1);
    expect(action.report.outcome).toBe('unreachable');
    expect(action.log).toContain(
      '::error::the pool was not reached within 5 s: tcp://127.0.0.1:9 refuses connections (ECONNREFUSED)',
    );
    expect(leftovers(action)).toEqual([]);
  });

  test('unknown host: unreachable at once, not at the deadline', async () => {
    // No part of a name may be so long: no name server has to be asked.
    const host = `${'x'.repeat(64)}.invalid`;
    const action = start({ endpoint: `tcp://${host}:1234`, context: context(SHORT) });
    expect((await action.ended).code).toBe(1);
    expect(action.report.outcome).toBe('unreachable');
    expect(action.report.queue_ms).toBeLessThan(30_000);
    expect(action.log).toContain(`${host}:1234 names an unknown host (ENOTFOUND)`);
  });

  test.each([
    ['silent', undefined, 'queue-timeout', 'accepts connections without passing them on'],
    ['foreign', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'unreachable', 'it answered "HTTP/1.1 400 Bad Request..'],
  ])('%s: %o', async (_, answer, outcome, message) => {
    const { server, port } = await listen((socket) => {
      if (answer !== undefined) socket.write(answer);
    });
    try {
      const action = start({
        endpoint: `tcp://127.0.0.1:${port}`,
        'queue-timeout': '5s',
        context: context(SHORT),
      });
      expect((await action.ended).code).toBe(1);
      expect(action.report.outcome).toBe(outcome);
      expect(action.log).toContain(message);
    } finally {
      server.close();
    }
  });

  test('accepted and closed again and again, as by a load balancer without builders: dialled until the deadline', async () => {
    let connections = 0;
    const { server, port } = await listen((socket) => {
      connections += 1;
      socket.destroy();
    });
    try {
      const action = start({
        endpoint: `tcp://127.0.0.1:${port}`,
        'queue-timeout': '5s',
        context: context(SHORT),
      });
      expect((await action.ended).code).toBe(1);
      expect(action.report.outcome).toBe('queue-timeout');
      expect(action.log).toContain('has no builder yet');
      expect(connections).toBeGreaterThan(1);
    } finally {
      server.close();
    }
  });

  test.each(['build', 'run'])(
    'granted and lost again and again: the search ends at its deadline (%s)',
    async (mode) => {
      let connections = 0;
      const settings = Buffer.from('000000040000000000', 'hex');
      const acknowledgement = Buffer.from('000000040100000000', 'hex');
      const { server, port } = await listen((socket) => {
        connections += 1;
        socket.write(Buffer.concat([settings, acknowledgement]));
        setTimeout(() => socket.destroy(), 5);
      });
      try {
        const work = mode === 'build' ? { context: context(SHORT) } : { run: '"$BUILDX" build "$CONTEXT"' };
        const action = start(
          { endpoint: `tcp://127.0.0.1:${port}`, 'queue-timeout': '10s', ...work },
          { CONTEXT: context(SHORT) },
        );
        expect((await action.ended).code).toBe(1);
        expect(action.report.outcome).toBe('queue-timeout');
        expect(connections).toBeGreaterThan(1);
        // Backoff keeps a crashing builder from being hammered.
        expect(connections).toBeLessThan(40);
        expect(leftovers(action)).toEqual([]);
      } finally {
        server.close();
      }
    },
  );

  test('full until the deadline: queue-timeout, and no ghost stays in line', async () => {
    const running = [start({ context: context(LONG) }), start({ context: context(LONG) })];
    for (const action of running) await action.says(IN_RUN);
    const action = start({ context: context(SHORT), 'queue-timeout': '5s' });
    expect((await action.ended).code).toBe(1);
    expect(action.report).toMatchObject({ outcome: 'queue-timeout', granted_at: null });
    expect(action.log).toContain('no builder became free within 5 s');
    await busy(2);
    for (const other of running) other.signal('SIGINT');
    for (const other of running) await other.ended;
  });
});

describe('cancelled as the runner does it', () => {
  const cancel = async (action: RunningAction) => {
    action.signal('SIGINT');
    const kill = setTimeout(() => action.signal('SIGTERM'), 7_500);
    const { code } = await action.ended;
    clearTimeout(kill);
    return code;
  };

  /** The inputs of each mode for the same work. */
  const MODES = {
    build: (folder: string) => ({ context: folder }),
    bake: (folder: string) => {
      const file = join(folder, 'docker-bake.json');
      writeFileSync(file, JSON.stringify({ target: { default: { context: folder } } }));
      return { source: '.', files: file, targets: 'default', allow: `fs.read=${folder}` };
    },
    run: (folder: string) => ({ run: `"$BUILDX" build --progress=plain "${folder}"` }),
  } as const;
  const modes = ['build', 'bake', 'run'] as const;

  test.each(modes)('while waiting: the place is given up at once (%s)', async (mode) => {
    const running = [start({ context: context(LONG) }), start({ context: context(LONG) })];
    for (const action of running) await action.says(IN_RUN);
    const action = start(MODES[mode](context(SHORT)));
    await busy(3);
    action.signal('SIGINT');
    expect(await eventually('left the line', async () => (await sessionsOf(pool)) === 2)).toBeLessThan(
      AT_ONCE_MS,
    );
    expect((await action.ended).code).toBe(1);
    expect(action.report.outcome).toBe('cancelled');
    expect(leftovers(action)).toEqual([]);
    for (const other of running) await cancel(other);
  });

  test.each(modes)('in mid-RUN: the builder is free at once, nothing is left (%s)', async (mode) => {
    const folder = context(LONG);
    const action = start(MODES[mode](folder));
    await action.says(IN_RUN);
    expect(processesMentioning(folder)).not.toEqual([]);
    action.signal('SIGINT');
    expect(await eventually('builder free', async () => (await sessionsOf(pool)) === 0)).toBeLessThan(
      AT_ONCE_MS,
    );
    expect(await cancel(action)).toBe(1);
    expect(action.report.outcome).toBe('cancelled');
    expect(leftovers(action)).toEqual([]);
    await nobodyMentions(folder);
  });

  test('killed without warning: the builder is free at once, post ends and removes the rest', async () => {
    const folder = context(LONG);
    const action = start({ context: folder });
    await action.says(IN_RUN);
    action.signal('SIGKILL');
    expect(await eventually('builder free', async () => (await sessionsOf(pool)) === 0)).toBeLessThan(
      AT_ONCE_MS,
    );
    const { code } = await action.post();
    expect(code).toBe(0);
    expect(leftovers(action)).toEqual([]);
    await nobodyMentions(folder);
  });

  test('no signal at all, as in a container job: post ends main, buildx and the script', async () => {
    const action = start({ run: `echo in-the-$((40+2))-step; sleep ${FOR_EVER}` });
    await action.says(IN_RUN);
    const { code, log } = await action.post();
    expect(code).toBe(0);
    expect(log).toContain('ended what the killed step had left running');
    await action.ended;
    await idle();
    expect(leftovers(action)).toEqual([]);
    await nobodyMentions(`sleep ${FOR_EVER}`);
  });
});

describe('a script', () => {
  const build = (id: number) => `"$BUILDX" build --build-arg ID=${id} "$CONTEXT"`;

  test('has the builder already, runs several builds over one connection, and keeps no token', async () => {
    const before = (await countersOf(pool)).totalSessions;
    const script = ['env | sort > "$OUT"', '"$BUILDX" inspect', build(1), build(2)].join('\n');
    const folder = context(SHORT);
    const action = start(
      { run: script },
      { CONTEXT: folder, OUT: join(folder, 'env'), ACTIONS_RUNTIME_TOKEN: 'secret' },
    );
    expect((await action.ended).code, action.log).toBe(0);
    expect((await countersOf(pool)).totalSessions).toBe(before + 1);
    const env = readFileSync(join(folder, 'env'), 'utf8');
    expect(env).toContain('BUILDX_BUILDER=pool-1');
    expect(env).not.toMatch(/^(ACTIONS_|INPUT_)/m);
    expect(leftovers(action)).toEqual([]);
  });

  test('fails with the exit code of its first failing line', async () => {
    const action = start({ run: 'echo one\n(exit 5)\necho never-$((1+1))' });
    expect((await action.ended).code).toBe(1);
    expect(action.log).toContain('ended with exit code 5');
    expect(action.log).not.toContain('never-2');
  });

  test('outlives a builder lost between two builds', async () => {
    const folder = context(SHORT);
    const script = [build(1), 'touch "$OUT"', 'while [ -e "$OUT" ]; do sleep 0.1; done', build(2)].join('\n');
    const action = start({ run: script }, { CONTEXT: folder, OUT: join(folder, 'pause') });
    await eventually('first build done', () => existsSync(join(folder, 'pause')));
    pool.killBuilder(0, 'SIGKILL');
    pool.killBuilder(1, 'SIGKILL');
    await action.says('the builder was lost');
    rmSync(join(folder, 'pause'));
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.report.outcome).toBe('succeeded');
  });

  test('whose build lost its builder is not repeated unless asked for', async () => {
    const step = new HeldStep();
    const folder = context(step.script);
    const script = ['echo run >> "$OUT"', build(3)].join('\n');
    for (const [retries, runs, outcome] of [
      ['', 1, 'builder-lost'],
      ['1', 2, 'succeeded'],
    ] as const) {
      const out = join(folder, `runs${retries}`);
      const action = start({ run: script, 'lost-builder-retries': retries }, { CONTEXT: folder, OUT: out });
      await action.says(IN_RUN);
      pool.killBuilder(0, 'SIGKILL');
      pool.killBuilder(1, 'SIGKILL');
      if (runs > 1) {
        await action.says(IN_RUN, runs);
        await step.letGoUntil(action.ended);
      }
      expect((await action.ended).code, action.log).toBe(outcome === 'succeeded' ? 0 : 1);
      expect(action.report.outcome).toBe(outcome);
      expect(readFileSync(out, 'utf8').trim().split('\n')).toHaveLength(runs);
      await eventually('all builders are back', () => pool.readyBuilders() === 2);
      await pool.untilReady(2);
    }
  });
});

test('two Actions at once on one machine keep out of each other’s way: one is cancelled and cleaned up after, the other builds', async () => {
  const step = new HeldStep();
  const folder = context(step.script);
  const [one, other] = [1, 2].map((id) => start({ context: folder, 'build-args': `ID=${id}` }));
  if (one === undefined || other === undefined) throw new Error('two were started');
  for (const action of [one, other]) await action.says(IN_RUN);
  one.signal('SIGINT');
  expect((await one.ended).code).toBe(1);
  expect((await one.post()).code).toBe(0);
  await busy(1);
  await step.letGoUntil(other.ended);
  expect((await other.ended).code, other.log).toBe(0);
  expect(other.report).toMatchObject({ outcome: 'succeeded' });
  expect(other.outputs['attempts']).toBe('1');
});

test('the oldest buildx that is accepted builds, over one connection', async () => {
  const before = (await countersOf(pool)).totalSessions;
  const buildx = later(new BuildxAtWill({ real: process.env['BUILDX_OLDEST'] ?? '' }));
  const action = start({ context: context(SHORT) }, buildx.env);
  expect((await action.ended).code, action.log).toBe(0);
  expect((await countersOf(pool)).totalSessions).toBe(before + 1);
  const script = start(
    { run: '"$BUILDX_OLDEST" inspect && "$BUILDX_OLDEST" build "$CONTEXT"' },
    { CONTEXT: context(SHORT) },
  );
  expect((await script.ended).code, script.log).toBe(0);
  expect((await countersOf(pool)).totalSessions).toBe(before + 2);
});

test('an old buildx is refused before it has built anything, and the builder is given back', async () => {
  // Held, as a real one is: it waits for a second connection that never comes.
  const buildx = later(new BuildxAtWill({ version: '0.15.1', holdBefore: true }));
  const action = start({ context: context(SHORT) }, buildx.env);
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain('::error::docker buildx is 0.15.1');
  expect(action.log).toContain('install 0.16.0 or newer');
  expect(action.log).not.toContain('#0 building');
  await idle();
  expect(leftovers(action)).toEqual([]);
});

test('no buildx at all: said so, with the remedy, and nothing left', async () => {
  const action = start({ context: context(SHORT) }, { PATH: '/nowhere' });
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain(
    '::error::neither `docker buildx` nor `buildx` can be run: install the buildx plugin',
  );
  await idle();
  expect(leftovers(action)).toEqual([]);
});

test('bad input: one message, all problems, nothing opened', async () => {
  const before = (await countersOf(pool)).totalSessions;
  const action = start({
    endpoint: 'tcp://pool',
    'queue-timeout': '-1h',
    context: 'missing',
    push: 'true',
    load: 'maybe',
  });
  expect((await action.ended).code).toBe(1);
  expect(action.log.match(/::error::/g)).toHaveLength(1);
  for (const name of ['endpoint', 'queue-timeout', 'context', 'push', 'load'])
    expect(action.log).toContain(`\`${name}\``);
  expect((await countersOf(pool)).totalSessions).toBe(before);
  expect(readdirSync(action.temp).toSorted()).toEqual(['bin', 'output', 'state', 'summary']);
  expect(readFileSync(join(action.temp, 'state'), 'utf8')).toBe('');
});
