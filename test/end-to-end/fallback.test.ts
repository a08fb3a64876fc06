/** `fallback: local` on a real engine of this machine, with an image of BuildKit made here. */
import { readdirSync, rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { dockerfileRunning, makeContext, RunningAction } from '../support/action.ts';
import { type Engine, startEngine } from '../support/engine.ts';
import { HeldStep } from '../support/held-step.ts';
import { eventually, openLocalPool, processesMentioning, sessionsOf } from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

/** Nothing listens on the discard port of this address. */
const NOWHERE = 'tcp://127.0.0.1:9';
/** Seconds that no other process of this machine sleeps, be it one of an earlier run. */
const FOR_EVER = 1_000_000_000 + process.pid;

let pool: Pool;
let engine: Engine;
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  pool = await openLocalPool({ minBuilders: 1, maxBuilders: 1 });
  engine = await startEngine({ withBuildkit: true });
  await pool.untilReady(1);
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  await pool[Symbol.asyncDispose]();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  await eventually(
    'no builder is left',
    async () => (await engine.containers()).length === 0 && (await engine.volumes()).length === 0,
  );
});

function start(inputs: Record<string, string>, env: NodeJS.ProcessEnv = {}): RunningAction {
  const action = new RunningAction(
    { endpoint: pool.endpoint, fallback: 'local', ...inputs },
    { env: { DOCKER_HOST: engine.address, ...env } },
  );
  cleanups.push(() => action.remove());
  return action;
}

function context(script: string): string {
  const folder = makeContext(dockerfileRunning(script));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('a pool that is not reached: this machine builds, and says so loudly', async () => {
  const action = start({
    endpoint: NOWHERE,
    'queue-timeout': '5s',
    context: context('echo built-$((40+2))-here'),
    outputs: 'type=image,name=test.invalid/a:1,push=false',
  });
  expect(await action.ended, action.log).toEqual({ code: 0, signal: null });
  expect(action.log).toContain('built-42-here');
  expect(action.log).toMatch(/::warning::.*refuses connections.*building on this machine instead/);
  expect(action.outputs['imageid']).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(action.outputs['builder']).toBe('local');
  expect(action.report).toMatchObject({
    outcome: 'succeeded',
    fallback: true,
    builder: 'local',
    granted_at: null,
  });
  expect(action.report.queue_ms).toBeGreaterThanOrEqual(4_900);
  expect(action.report.build_ms).toBeGreaterThan(0);
  expect(action.summary).toContain('built on this machine');
});

test('a pool whose document is not to be had: the same', async () => {
  const action = start({
    endpoint: '',
    pool: 'http://127.0.0.1:9/pool.json',
    context: context('echo fine'),
  });
  expect(await action.ended, action.log).toEqual({ code: 0, signal: null });
  expect(action.log).toMatch(/::warning::.*building on this machine instead/);
  expect(action.report).toMatchObject({ outcome: 'succeeded', fallback: true, nodes: [] });
});

test('a pool that is full until the deadline: this machine runs the script, and the place is given up', async () => {
  const step = new HeldStep();
  const holder = start({ fallback: 'none', context: context(step.script) });
  await eventually('the pool is taken', async () => (await sessionsOf(pool)) === 1);
  await holder.says('a builder is ours');
  const folder = context('echo fine');
  const action = start({ 'queue-timeout': '2s', run: 'buildx build "$FOLDER"' }, { FOLDER: folder });
  expect(await action.ended, action.log).toEqual({ code: 0, signal: null });
  expect(await sessionsOf(pool)).toBe(1);
  expect(action.report).toMatchObject({ outcome: 'succeeded', fallback: true });
  await step.letGoUntil(holder.ended);
  expect((await holder.ended).code).toBe(0);
});

test('a build that failed on the pool has failed: nothing is built here', async () => {
  const action = start({ context: context('exit 7') });
  const { code } = await action.ended;
  expect(code).toBe(1);
  expect(action.log).not.toContain('on this machine');
  expect(action.report).toMatchObject({ outcome: 'failed', fallback: false, builder: pool.endpoint });
});

test('a build that fails here has failed, once', async () => {
  const action = start({ endpoint: NOWHERE, 'queue-timeout': '1s', context: context('exit 7') });
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain('exit code: 7');
  expect(action.report).toMatchObject({ outcome: 'failed', fallback: true });
});

test('no engine either: one message with both reasons', async () => {
  const action = start(
    { endpoint: NOWHERE, 'queue-timeout': '5s', context: context('echo fine') },
    { DOCKER_HOST: 'unix:///nowhere/docker.sock' },
  );
  expect((await action.ended).code).toBe(1);
  expect(action.log).toMatch(/::error::.*refuses connections.*no builder could be started on this machine/);
  expect(action.report).toMatchObject({ outcome: 'unreachable', fallback: false });
});

test('cancelled while it builds here: nothing is left', async () => {
  const action = start({ endpoint: NOWHERE, 'queue-timeout': '1s', context: context(`sleep ${FOR_EVER}`) });
  await eventually('it builds', () => processesMentioning(`sleep ${FOR_EVER}`).length > 0, 120_000);
  action.signal('SIGINT');
  expect((await action.ended).code).toBe(1);
  expect(action.report.outcome).toBe('cancelled');
  expect(await engine.containers()).toEqual([]);
});

test('killed without warning while it builds here: post removes the builder', async () => {
  const action = start({
    endpoint: NOWHERE,
    'queue-timeout': '1s',
    context: context(`sleep ${2 * FOR_EVER}`),
  });
  await eventually('it builds', () => processesMentioning(`sleep ${2 * FOR_EVER}`).length > 0, 120_000);
  action.signal('SIGKILL');
  // buildx and its build go on meanwhile.
  const { code, log } = await action.post();
  expect(code, log).toBe(0);
  await action.ended;
  expect(await engine.containers()).toEqual([]);
  expect(readdirSync(action.temp).filter((name) => name.startsWith('bkpool-'))).toEqual([]);
});
