/** The `pool` input and TLS as a workflow uses them: the bundled Action, a real pool, its document and its counters. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { POOL_DOCUMENT_SCHEMA } from '../../src/pool-document/document.ts';
import { dockerfileRunning, makeContext, RunningAction } from '../support/action.ts';
import { BuildxAtWill } from '../support/buildx-at-will.ts';
import { Certificates } from '../support/certificate-authority.ts';
import { entriesUnder, readUnlessGone } from '../support/files.ts';
import { countersOf, eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

let pool: Pool;
const certificates = new Certificates();
const authority = certificates.authority();
const server = authority.issue('DNS:pool.test');
const client = authority.issue('DNS:client');
const TLS = { ca: authority.pem, cert: client.cert, key: client.key };
/** A line of the key that occurs nowhere else. */
const SECRET = client.key.split('\n')[1] ?? '';

const cleanups: (() => void)[] = [];
const later = <T extends { remove(): void }>(thing: T): T => {
  cleanups.push(() => thing.remove());
  return thing;
};
const start = (inputs: Record<string, string>, env: NodeJS.ProcessEnv = {}) =>
  later(new RunningAction({ 'queue-timeout': '120s', ...inputs }, { env }));
const context = (script = 'echo fine') => {
  const folder = makeContext(dockerfileRunning(script));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

beforeAll(async () => {
  pool = await openLocalPool({
    minBuilders: 1,
    maxBuilders: 1,
    tls: {
      serverName: 'pool.test',
      certificatePath: server.path,
      clientCaPath: authority.path,
    },
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

/** A server that answers every request alike. */
async function serve(status: number, body: string): Promise<string> {
  const answering: Server = createServer((_, response) => response.writeHead(status).end(body));
  await new Promise<void>((done) => answering.listen(0, '127.0.0.1', done));
  cleanups.push(() => answering.close());
  const address = answering.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/pool.json`;
}

/** Every file under a folder that holds the text. */
function filesWith(folder: string, text: string): string[] {
  return entriesUnder(folder)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readUnlessGone(path)?.includes(text));
}

/** Processes, other than the Action itself, whose command line or environment holds the text. */
function processesWith(action: RunningAction, text: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && Number(name) !== action.pid)
    .filter((pid) =>
      ['cmdline', 'environ'].some((file) => {
        try {
          return readFileSync(`/proc/${pid}/${file}`).includes(text);
        } catch {
          return false;
        }
      }),
    );
}

describe('TLS', () => {
  test('address and name come from the document; a build goes through, over one connection', async () => {
    const before = (await countersOf(pool)).totalSessions;
    const action = start({ pool: pool.documentUrl, context: context(), ...TLS });
    expect((await action.ended).code, action.log).toBe(0);
    expect((await countersOf(pool)).totalSessions).toBe(before + 1);
    expect(action.report).toMatchObject({ outcome: 'succeeded', builder: pool.endpoint });
  });

  test.each([
    ['inputs', (): [Record<string, string>, NodeJS.ProcessEnv] => [TLS, {}]],
    [
      'the variables of docker/setup-buildx-action',
      (): [Record<string, string>, NodeJS.ProcessEnv] => [
        {},
        {
          BUILDER_NODE_0_AUTH_TLS_CACERT: TLS.ca,
          BUILDER_NODE_0_AUTH_TLS_CERT: TLS.cert,
          BUILDER_NODE_0_AUTH_TLS_KEY: TLS.key,
        },
      ],
    ],
  ])(
    'the key from %s is in memory only: no file, argument, child, log, state or summary',
    async (_, given) => {
      const [inputs, variables] = given();
      const folder = context();
      const script =
        'env > "$OUT.env"; "$BUILDX" build "$CONTEXT"; touch "$OUT"; while [ -e "$OUT" ]; do sleep 0.1; done';
      const out = join(folder, 'pause');
      const action = start(
        { endpoint: pool.endpoint, 'server-name': 'pool.test', run: script, ...inputs },
        { CONTEXT: folder, OUT: out, BUILDKIT_HOST: 'tcp://elsewhere.invalid:1', ...variables },
      );
      await eventually('the build is done', () => readdirSync(folder).includes('pause'), 120_000);
      expect(filesWith(action.temp, SECRET)).toEqual([]);
      expect(processesWith(action, SECRET)).toEqual([]);
      rmSync(out);
      expect((await action.ended).code, action.log).toBe(0);
      expect(action.log).not.toContain(SECRET);
      expect(filesWith(action.temp, SECRET)).toEqual([]);
      const env = readFileSync(`${out}.env`, 'utf8');
      expect(env).toContain('BUILDX_BUILDER=pool-1');
      expect(env).not.toMatch(/^(INPUT_|BUILDER_NODE_|BUILDKIT_HOST=)/m);
    },
  );

  test('the runner is told to mask the key', async () => {
    const action = start({ pool: pool.documentUrl, context: context(), ...TLS }, { GITHUB_ACTIONS: 'true' });
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.log.split('\n').filter((line) => line.includes(SECRET))).toEqual([
      expect.stringMatching(/^::add-mask::-----BEGIN PRIVATE KEY-----/) as string,
    ]);
  });

  test('a certificate that is missing: unreachable at once, with what to give', async () => {
    const action = start({ pool: pool.documentUrl, context: context(), ca: authority.pem });
    expect((await action.ended).code).toBe(1);
    expect(action.report.outcome).toBe('unreachable');
    expect(action.report.attempts.filter(({ phase }) => phase === 'dialling')).toHaveLength(1);
    expect(action.log).toMatch(
      /::error::.*lets nobody in without a client certificate: give `cert` and `key`/,
    );
  });

  test('certificates that can’t work are told before anything is opened, and never shown', async () => {
    const before = (await countersOf(pool)).totalSessions;
    const old = authority.issue('DNS:client', { expired: true });
    const action = start({
      pool: pool.documentUrl,
      context: context(),
      ca: 'no-such-file.pem',
      cert: old.cert,
      key: client.key.replace('BEGIN', 'BEGUN'),
    });
    expect((await action.ended).code).toBe(1);
    expect(action.log).toContain('`ca` is neither PEM nor the path of a file that can be read (ENOENT)');
    expect(action.log).toContain(
      '`key` is neither PEM nor the path of a file that can be read (it is no path)',
    );
    expect(action.log).not.toContain(SECRET);
    const other = start({
      pool: pool.documentUrl,
      context: context(),
      ca: authority.path,
      cert: old.cert,
      key: client.key,
    });
    expect((await other.ended).code).toBe(1);
    expect(other.log).toMatch(/`cert` expired on \d{4}-\d\d-\d\dT[\d:]+Z: issue a new one/);
    expect(other.log).toContain('`key` is not the key of the first certificate in `cert`');
    expect((await countersOf(pool)).totalSessions).toBe(before);
  });
});

test('while it waits a build says about where it stands, and how many builders there are', async () => {
  const buildx = later(new BuildxAtWill({ holdBefore: true }));
  const first = start({ pool: pool.documentUrl, context: context(), ...TLS }, buildx.env);
  await eventually('the builder is taken', () => buildx.reached('before'));
  const waiting: RunningAction[] = [];
  for (const id of [1, 2]) {
    waiting.push(start({ pool: pool.documentUrl, context: context(), 'build-args': `ID=${id}`, ...TLS }));
    await eventually('in line', async () => (await countersOf(pool)).queued === id);
    await waiting.at(-1)?.says('in line at');
    // Its first look at the line is the one that counts, and was before this.
    await waiting.at(-1)?.says(`about ${id === 1 ? '1st' : '2nd'} in line · 1 of 1 builders busy`);
  }
  expect(waiting[1]?.log).toMatch(
    /^queued (\d+\.\d s|\d+m\d\ds) · about 2nd in line · 1 of 1 builders busy$/m,
  );
  buildx.release('before');
  for (const action of [first, ...waiting]) expect((await action.ended).code, action.log).toBe(0);
});

describe('a pool document', () => {
  test.each([
    ['that is no JSON', 200, '<html>', 'is no pool document:\n- it is no JSON: it begins with "<html>"'],
    [
      'of another version',
      200,
      '{"schema":"buildkit-pool/pool/v9"}',
      'schema is "buildkit-pool/pool/v9": expected buildkit-pool/pool/v1',
    ],
    [
      'that lacks fields',
      200,
      JSON.stringify({ schema: POOL_DOCUMENT_SCHEMA, name: 'x' }),
      'queue_timeout_s: Invalid input: expected number, received undefined',
    ],
    ['that is not there', 404, 'no', 'answered with status 404'],
  ])('%s is told at once', async (_, status, body, message) => {
    const action = start({ pool: await serve(status, body), context: context() });
    expect((await action.ended).code).toBe(1);
    // Lines of a workflow command are written in one.
    expect(action.log.replaceAll('%0A', '\n')).toContain(message);
    expect(action.log).toContain('::error::');
  });

  test('that can’t be had is a warning where there is an endpoint as well', async () => {
    const action = start({
      pool: 'http://127.0.0.1:9/pool.json',
      endpoint: pool.endpoint,
      'server-name': 'pool.test',
      context: context(),
      ...TLS,
    });
    expect((await action.ended).code, action.log).toBe(0);
    expect(action.log).toMatch(
      /::warning::the pool document http:\/\/127\.0\.0\.1:9\/pool\.json can't be had: .*ECONNREFUSED.*; going by `endpoint` instead/,
    );
  });
});
