/** The generated buildkitd.toml under the real buildkitd: it starts with it, and does what it says. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { renderBuildkitd } from '../../../src/pool/builder/buildkitd.ts';
import { freePort } from '../../support/buildkitd.ts';
import { issue, type KeyPair, makeAuthority } from '../../support/certificates.ts';
import { eventually } from '../../support/local-pool.ts';

const run = promisify(execFile);
const { BUILDKITD: buildkitd = 'buildkitd', BUILDCTL: buildctl = 'buildctl' } = process.env;

/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let folder: string;
let port: number;
let child: ChildProcess;
let log = '';
let client: KeyPair;
let stranger: KeyPair;
let builders: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'buildkitd-'));
  port = await freePort();
  const authority = await makeAuthority(join(folder, 'ca'), 'pool');
  const other = await makeAuthority(join(folder, 'other'), 'others');
  const server = await issue(authority, join(folder, 'server'), 'builder', ['builder-0.builders.internal']);
  client = await issue(authority, join(folder, 'client'), 'balancer', []);
  stranger = await issue(other, join(folder, 'stranger'), 'balancer', []);
  builders = authority.certificatePath;
  const config = join(folder, 'buildkitd.toml');
  writeFileSync(
    config,
    renderBuildkitd({
      socketPath: join(folder, 'buildkitd.sock'),
      address: '127.0.0.1',
      port,
      tls: { certificatePath: server.certificatePath, keyPath: server.keyPath, clientCaPath: server.caPath },
      profile: 'privileged',
      maxParallelism: 3,
      cache: { reservedBytes: 1_100_000_000, maxUsedBytes: 7_300_000_000, minFreeBytes: 2_500_000_000 },
      history: { maxAgeSeconds: 172_800, maxEntries: 50 },
      mirrors: {},
    }),
  );
  child = spawn(
    buildkitd,
    [
      ...[
        '--config',
        config,
        '--root',
        join(folder, 'root'),
        '--otel-socket-path',
        join(folder, 'otel.sock'),
      ],
      ...['--oci-worker-net=host', '--oci-worker-snapshotter=native'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
  }
  await eventually('buildkitd listens', () => existsSync(join(folder, 'buildkitd.sock')), 120_000);
  await workers('unix');
});

afterAll(async () => {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  if (child.exitCode === null) {
    child.kill('SIGKILL');
    await exited;
  }
  rmSync(folder, { recursive: true, force: true });
});

/** `buildctl debug workers -v`, what the probes ask, over the unix socket or over the port with a certificate. */
async function workers(how: 'unix' | KeyPair | null): Promise<string> {
  const address = how === 'unix' ? `unix://${join(folder, 'buildkitd.sock')}` : `tcp://127.0.0.1:${port}`;
  const tls =
    how === 'unix' || how === null ? [] : ['--tlscert', how.certificatePath, '--tlskey', how.keyPath];
  const trust =
    how === 'unix' ? [] : ['--tlscacert', builders, '--tlsservername', 'builder-0.builders.internal'];
  const { stdout } = await run(
    buildctl,
    ['--addr', address, '--timeout', '30', ...trust, ...tls, 'debug', 'workers', '-v'],
    {
      timeout: 60_000,
    },
  );
  return stdout;
}

test('garbage collection keeps to the limits of the file, and to no rules of its own', async () => {
  const text = await workers('unix');
  const rules = text.split(/GC Policy rule#\d+:/).slice(1);
  expect(rules).toHaveLength(2);
  for (const rule of rules) {
    expect(rule).toMatch(/Reserved space:\s+1\.1GB/);
    expect(rule).toMatch(/Maximum used space:\s+7\.3GB/);
    expect(rule).toMatch(/Minimum free space:\s+2\.5GB/);
    expect(rule).not.toMatch(/Keep duration|Filters/);
  }
  expect(rules[0]).toMatch(/All:\s+false/);
  expect(rules[1]).toMatch(/All:\s+true/);
});

test('its port lets in who has a certificate of the pool, and nobody else', async () => {
  await expect(workers(client)).resolves.toContain('Platforms:');
  await expect(workers(stranger)).rejects.toThrow();
  await expect(workers(null)).rejects.toThrow();
});

test('it writes JSON, has one worker, and leaves no port without TLS', () => {
  const messages = log
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { msg: string }).msg);
  expect(messages.some((message) => message.includes('found 1 workers'))).toBe(true);
  expect(messages.filter((message) => /TLS is not enabled|deprecated|CDI/.test(message))).toEqual([]);
});

const go = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/go/bin', '/usr/lib/go/bin']
  .map((path) => join(path, 'go'))
  .find((path) => existsSync(path));

// On a machine without Go it may be left out; in CI it fails.
test.skipIf(go === undefined && process.env['CI'] === undefined)(
  'the list of known keys is that of the pinned source',
  async () => {
    const { stdout: keys } = await run(go ?? 'go', ['run', './configkeys'], { cwd: 'tools/buildkit' });
    expect(readFileSync('test/unit/pool/builder/buildkitd-keys.txt', 'utf8')).toBe(keys);
  },
  900_000,
);
