/** `buildx-version`, on a release served from this machine that holds the real program. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { dockerfileRunning, makeContext, RunningAction } from '../support/action.ts';
import { entriesUnder } from '../support/files.ts';
import { eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

const TAG = 'v0.99.1';
const ASSET = `buildx-${TAG}.linux-${process.arch === 'x64' ? 'amd64' : process.arch}`;
const program = readFileSync(process.env['BUILDX'] ?? '');
const sum = createHash('sha256').update(program).digest('hex');

let pool: Pool;
let server: Server;
let checksums: string;
let requests: string[];
let toolCache: string;
/** The program's download begins and does not go on. */
let stalled = false;
const context = makeContext(dockerfileRunning('echo fine'));
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  pool = await openLocalPool({ minBuilders: 1, maxBuilders: 1 });
  await pool.untilReady(1);
  server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    switch (request.url) {
      case '/latest':
        response.writeHead(302, { location: `/tag/${TAG}` }).end();
        return;
      case `/download/${TAG}/${ASSET}`:
        if (stalled) response.write(program.subarray(0, 100_000));
        else response.end(program);
        return;
      case `/download/${TAG}/checksums.txt`:
        response.end(checksums);
        return;
      default:
        response.writeHead(404).end();
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
});
afterAll(async () => {
  server.close();
  await pool[Symbol.asyncDispose]();
  rmSync(context, { recursive: true });
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  // The load balancer sees the end of a connection a moment after its client's.
  await eventually('nobody in line', async () => (await sessionsOf(pool)) === 0);
});

/** An Action on a machine without any buildx. */
function start(inputs: Record<string, string>): RunningAction {
  const action = new RunningAction(
    {
      endpoint: pool.endpoint,
      context,
      outputs: 'type=image,name=test.invalid/a:1,push=false',
      ...inputs,
    },
    {
      env: {
        PATH: '/usr/bin:/bin',
        BUILDX_RELEASES_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        RUNNER_TOOL_CACHE: toolCache,
      },
    },
  );
  cleanups.push(() => action.remove());
  return action;
}

function newRelease(text: string): void {
  checksums = text;
  requests = [];
  toolCache = mkdtempSync(join(tmpdir(), 'tools-'));
  cleanups.push(() => rmSync(toolCache, { recursive: true, force: true }));
}

test('latest is found, verified, used, and kept for the next job', async () => {
  newRelease(`${'0'.repeat(64)} *${ASSET}.sbom.json\n${sum} *${ASSET}\n`);
  const first = start({ 'buildx-version': 'latest' });
  expect(await first.ended, first.log).toEqual({ code: 0, signal: null });
  expect(first.outputs['imageid']).toMatch(/^sha256:/);
  expect(requests.toSorted()).toEqual(
    ['HEAD /latest', `GET /download/${TAG}/${ASSET}`, `GET /download/${TAG}/checksums.txt`].toSorted(),
  );
  expect(existsSync(join(first.temp, 'docker', 'cli-plugins'))).toBe(false);

  requests.length = 0;
  const second = start({ 'buildx-version': TAG.slice(1) });
  expect(await second.ended, second.log).toEqual({ code: 0, signal: null });
  expect(requests).toEqual([]);
});

test('a script finds it as docker’s plugin', async () => {
  newRelease(`${sum}  ${ASSET}\n`);
  const action = new RunningAction(
    {
      endpoint: pool.endpoint,
      run: '"$DOCKER_CONFIG/cli-plugins/docker-buildx" build "$CONTEXT"',
      'buildx-version': TAG,
    },
    {
      env: {
        PATH: '/usr/bin:/bin',
        CONTEXT: context,
        BUILDX_RELEASES_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        RUNNER_TOOL_CACHE: toolCache,
      },
    },
  );
  cleanups.push(() => action.remove());
  expect(await action.ended, action.log).toEqual({ code: 0, signal: null });
});

test.each([
  ['another sum', `${'0'.repeat(64)} *${ASSET}\n`, 'is not what its release says'],
  ['no sum', `${sum} *something-else\n`, `checksums.txt does not name ${ASSET}`],
])('%s: it is not used, and nothing is kept', async (_, text, message) => {
  newRelease(text);
  const action = start({ 'buildx-version': TAG });
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain(message);
  expect(readdirSync(toolCache)).toEqual([]);
  expect(readdirSync(action.temp).filter((name) => /^[0-9a-f-]{36}$/.test(name))).toEqual([]);
});

test('a version that is not there: one message with the address and what can be done', async () => {
  newRelease('');
  const action = start({ 'buildx-version': 'v0.98.0' });
  expect((await action.ended).code).toBe(1);
  expect(action.log).toMatch(/::error::http:.*\/download\/v0\.98\.0\/.* can't be fetched/);
  expect(action.log).toContain('check `buildx-version`');
});

test('one that is too old is refused before anything is asked for', async () => {
  newRelease('');
  mkdirSync(toolCache, { recursive: true });
  const action = start({ 'buildx-version': '0.15.1' });
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain('choose 0.16.0 or newer');
  expect(requests).toEqual([]);
});

test('cancelled while it is fetched: over at once, with nothing taken and nothing left', async () => {
  newRelease(`${sum} *${ASSET}\n`);
  stalled = true;
  cleanups.push(() => {
    stalled = false;
    server.closeAllConnections();
  });
  const action = start({ 'buildx-version': TAG });
  await eventually('both files have begun to come', () => {
    const names = entriesUnder(action.temp).map(({ name }) => name);
    return names.includes('program') && names.includes('checksums.txt');
  });
  action.signal('SIGINT');
  // The runner kills after ten seconds.
  const from = Date.now();
  expect((await action.ended).code, action.log).toBe(1);
  expect(Date.now() - from).toBeLessThan(7_500);
  expect(action.log).toContain('::error::cancelled; no builder had been asked for yet');
  expect(readdirSync(action.temp).toSorted()).toEqual(['bin', 'output', 'state', 'summary']);
  expect(readdirSync(toolCache)).toEqual([]);
  expect((await action.post()).code).toBe(0);
});
