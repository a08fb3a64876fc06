/** A connection that ends, or is ended, right after an answer of the builder: to the byte, which no killed builder gives. */
import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { dockerfileRunning, makeContext, RunningAction } from '../support/action.ts';
import { BuildxAtWill } from '../support/buildx-at-will.ts';
import { eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';
import { type Fate, type ScriptedPool, startScriptedPool } from '../support/scripted-pool.ts';

let pool: Awaited<ReturnType<typeof openLocalPool>>;
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  pool = await openLocalPool({ minBuilders: 1, maxBuilders: 1 });
  await pool.untilReady(1);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  await eventually('nobody in line', async () => (await sessionsOf(pool)) === 0);
});

/** `rest`: what becomes of the connections, in turn, and variables. */
async function build(script: string, retries: string, ...rest: readonly (Fate | NodeJS.ProcessEnv)[]) {
  const fates = rest.filter((given): given is Fate => 'kind' in given);
  const env = rest.find((given) => !('kind' in given)) ?? {};
  const scripted: ScriptedPool = await startScriptedPool(pool.endpoint, fates);
  const context = makeContext(dockerfileRunning(script));
  const action = new RunningAction(
    {
      endpoint: scripted.endpoint,
      'queue-timeout': '120s',
      context,
      'no-cache': 'true',
      outputs: 'type=image,name=test.invalid/a:1,push=false',
      'lost-builder-retries': retries,
    },
    { env },
  );
  cleanups.push(() => {
    action.remove();
    scripted[Symbol.dispose]();
    rmSync(context, { recursive: true, force: true });
  });
  const { code } = await action.ended;
  const runs = action.report.attempts.filter(({ phase }) => phase === 'building').length;
  return { code, action, runs, connections: scripted.done };
}

test('an error is the answer, whatever the connection does next: not run again', async () => {
  const { code, action, runs, connections } = await build('exit 9', '3', {
    kind: 'cut-when',
    solve: 'answered-error',
  });
  expect(connections).toEqual(['cut-when']);
  expect(code).toBe(1);
  expect(action.report.outcome, action.log).toBe('failed');
  expect(runs).toBe(1);
});

test('a good answer is the answer, too: buildx needs nothing more of the builder', async () => {
  const { code, action, runs } = await build('echo fine', '0', { kind: 'cut-when', solve: 'answered-ok' });
  expect(code, action.log).toBe(0);
  expect(action.report.outcome).toBe('succeeded');
  expect(action.outputs['digest']).toMatch(/^sha256:/);
  expect(runs).toBe(1);
});

test('where buildx fails all the same, the builder was lost before all was said: run again, if one is left', async () => {
  const failing = new BuildxAtWill({ exitCode: 1 });
  cleanups.push(() => failing.remove());
  const cut: Fate = { kind: 'cut-when', solve: 'answered-ok' };
  const { action, runs, connections } = await build('echo fine', '1', cut, cut, failing.env);
  expect(connections).toEqual(['cut-when', 'cut-when']);
  expect(action.report.outcome, action.log).toBe('builder-lost');
  expect(runs).toBe(2);
  // On a connection that stands it is buildx's own failure.
  const other = await build('echo fine', '1', failing.env);
  expect(other.action.report.outcome, other.action.log).toBe('failed');
  expect(other.runs).toBe(1);
});

test('cut the moment the build is asked for: lost, and run again', async () => {
  const { code, action, runs } = await build('echo fine', '1', { kind: 'cut-when', solve: 'sent' });
  expect(code, action.log).toBe(0);
  expect(runs).toBe(2);
});

test('a builder that says GOAWAY before the build has begun is left at once, invisibly', async () => {
  const from = Date.now();
  const { code, action, runs, connections } = await build(
    'echo fine',
    '0',
    { kind: 'goes-away' },
    { kind: 'goes-away' },
  );
  expect(connections).toEqual(['goes-away', 'goes-away', 'pass']);
  expect(code, action.log).toBe(0);
  expect(action.report.outcome).toBe('succeeded');
  expect(runs).toBe(3);
  // Left alone buildx tries for 40 s with each.
  expect(Date.now() - from).toBeLessThan(40_000);
});
