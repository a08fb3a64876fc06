/** Set-up mode on a pool with mutual TLS: keys by variables and inputs, in memory only. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { dockerfileRunning, makeContext } from '../support/action.ts';
import { Certificates } from '../support/certificate-authority.ts';
import { Job } from '../support/job.ts';
import { openLocalPool } from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

let pool: Pool;
const certificates = new Certificates();
const authority = certificates.authority();
const server = authority.issue('DNS:pool.test');
const client = authority.issue('DNS:client');
const stranger = certificates.authority().issue('DNS:client');
const jobs: Job[] = [];

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
afterEach(() => {
  for (const job of jobs.splice(0)) job.remove();
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  certificates[Symbol.dispose]();
});

const setUp = async (pair: { cert: string; key: string }) => {
  const job = new Job({
    endpoint: pool.endpoint,
    'server-name': 'pool.test',
    ca: authority.pem,
    cert: pair.cert,
    key: pair.key,
    'queue-timeout': '120s',
  });
  jobs.push(job);
  return await job.ready();
};

test('builds over mutual TLS, and the key is nowhere but in memory', async () => {
  const context = makeContext(dockerfileRunning('echo built'));
  const job = await setUp(client);
  const { code, log } = await job.buildx('build', '--no-cache', '--progress=plain', context);
  expect(code, log).toBe(0);
  // A line of the key's own, without its frame.
  const secret = client.key.split('\n')[2] ?? '';
  expect(secret.length).toBeGreaterThan(40);
  const proc = ['environ', 'cmdline'].map((name) =>
    readFileSync(`/proc/${job.gatewayPid}/${name}`, 'latin1'),
  );
  for (const text of [...proc, ...Object.values(job.files())]) expect(text.includes(secret)).toBe(false);
  await job.post();
  expect(existsSync(job.folder)).toBe(false);
  for (const text of Object.values(job.files())) expect(text.includes(secret)).toBe(false);
  rmSync(context, { recursive: true, force: true });
});

test('a certificate that the pool does not take is said to be by the build, at once', async () => {
  const context = makeContext(dockerfileRunning('echo never'));
  const job = await setUp(stranger);
  const { code, log } = await job.buildx('build', context);
  expect(code).toBe(1);
  expect(log).toMatch(/FailedPrecondition: .* refused our certificate/);
  await job.post();
  expect(job.report.lines[0]?.waits.map((wait) => wait.outcome)).toEqual(['unreachable']);
  rmSync(context, { recursive: true, force: true });
});
