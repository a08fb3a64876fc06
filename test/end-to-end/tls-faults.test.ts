/** What TLS does not let through, by the bundled Action on a real HAProxy, and where the key is not, however a step ends. */
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { dockerfileRunning, makeContext, RunningAction } from '../support/action.ts';
import { Certificates } from '../support/certificate-authority.ts';
import { entriesUnder, readUnlessGone } from '../support/files.ts';
import { HeldStep } from '../support/held-step.ts';
import { countersOf, eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';

let pool: Awaited<ReturnType<typeof openLocalPool>>;
const certificates = new Certificates();
const authority = certificates.authority();
const stranger = certificates.authority();
const client = authority.issue('DNS:client');
const foreigner = stranger.issue('DNS:client');
const TLS = { ca: authority.pem, cert: client.cert, key: client.key, 'server-name': 'pool.test' };
/** A line of the key that occurs nowhere else. */
const SECRET = client.key.split('\n')[1] ?? '';

const cleanups: (() => void)[] = [];
const start = (inputs: Record<string, string>, script = 'echo fine') => {
  const context = makeContext(dockerfileRunning(script));
  const given = { endpoint: pool.endpoint, 'queue-timeout': '120s', context, 'no-cache': 'true', ...inputs };
  const action = new RunningAction(given);
  cleanups.push(() => {
    action.remove();
    rmSync(context, { recursive: true, force: true });
  });
  return action;
};

beforeAll(async () => {
  // HAProxy chooses by the name that it is asked for; the first one where it knows none.
  const served = join(certificates.folder, 'served');
  mkdirSync(served);
  copyFileSync(authority.issue('DNS:pool.test').path, join(served, '1.pem'));
  copyFileSync(authority.issue('DNS:old.test', { expired: true }).path, join(served, '2.pem'));
  pool = await openLocalPool({
    minBuilders: 1,
    maxBuilders: 1,
    tls: { serverName: 'pool.test', certificatePath: served, clientCaPath: authority.path },
  });
  await pool.untilReady(1);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  certificates[Symbol.dispose]();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  await eventually('nobody in line', async () => (await sessionsOf(pool)) === 0);
});

test.each([
  ['the pool’s certificate has expired', { 'server-name': 'old.test' }, /has a certificate that has expired/],
  [
    'it is signed by somebody else',
    { ca: stranger.pem },
    /is signed by another authority than the one in `ca`/,
  ],
  [
    'it is for another name',
    { 'server-name': 'other.test' },
    /a certificate for another name than other\.test, namely for .*pool\.test/,
  ],
  [
    'ours is missing',
    { cert: '', key: '' },
    /lets nobody in without a client certificate: give `cert` and `key`/,
  ],
  [
    'ours is signed by somebody else',
    { cert: foreigner.cert, key: foreigner.key },
    /refused our certificate: `cert` is signed by another authority than the pool’s/,
  ],
])('%s: unreachable at once, and said so', async (_, fault, message) => {
  const before = (await countersOf(pool)).totalSessions;
  const action = start({ ...TLS, ...fault });
  expect((await action.ended).code, action.log).toBe(1);
  expect(action.report.outcome, action.log).toBe('unreachable');
  // No second attempt could differ.
  expect(action.report.attempts.filter(({ phase }) => phase === 'dialling')).toHaveLength(1);
  expect(action.log.split('\n').find((line) => line.startsWith('::error::'))).toMatch(message);
  expect(action.log).not.toContain(SECRET);
  expect((await countersOf(pool)).totalSessions).toBe(before);
});

/** Every file of the runner's folder that holds the key. */
const filesWithKey = (action: RunningAction) =>
  entriesUnder(action.temp)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readUnlessGone(path)?.includes(SECRET));

test('the key is in no file and no log of a build that fails', async () => {
  const action = start(TLS, 'exit 9');
  expect((await action.ended).code).toBe(1);
  expect(action.report.outcome, action.log).toBe('failed');
  expect(filesWithKey(action)).toEqual([]);
  expect(action.log).not.toContain(SECRET);
});

test.each(['SIGINT', 'SIGKILL'] as const)(
  'nor of one that is ended by %s, before and after post',
  async (signal) => {
    const step = new HeldStep();
    const action = start(TLS, step.script);
    await action.says('in-the-42-step');
    expect(filesWithKey(action)).toEqual([]);
    action.signal(signal);
    await action.ended;
    expect(filesWithKey(action)).toEqual([]);
    const { code, log } = await action.post();
    expect(code, log).toBe(0);
    expect(filesWithKey(action)).toEqual([]);
    expect(`${action.log}${log}`).not.toContain(SECRET);
    await eventually('the builder is free', async () => (await sessionsOf(pool)) === 0);
  },
);
