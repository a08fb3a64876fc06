/** Every generated configuration on the real HAProxy, and the pods' scripts as they run it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { fetch } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { ensurePrograms } from '../../../src/local/programs.ts';
import { BALANCER_PATHS } from '../../../src/pool/components/balancer-model.ts';
import { renderDocumentScript, renderDocumentServer } from '../../../src/pool/components/document.ts';
import { describePool } from '../../../src/pool/document.ts';
import type { Sizing } from '../../../src/pool/sizing/model.ts';
import { freePort } from '../../support/buildkitd.ts';
import { issue, makeAuthority } from '../../support/certificates.ts';
import { composeText, EXAMPLES, exampleNamed, pick, sizeText, type Tree } from '../../support/examples.ts';

const run = promisify(execFile);
const haproxy = process.env['HAPROXY'] ?? 'haproxy';

let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'manifests-'));
  const authority = await makeAuthority(join(folder, 'ca'), 'a test');
  for (const name of ['server', 'client']) {
    await issue(authority, join(folder, 'tls', name), name, ['localhost']);
  }
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** The files of a ConfigMap where a pod has them; the certificates are the test's. Returns their folder. */
async function layDown(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const place = join(folder, name);
  await mkdir(place, { recursive: true });
  for (const [file, text] of Object.entries(files)) {
    const moved = text
      .replaceAll(BALANCER_PATHS.tls, join(folder, 'tls/server'))
      .replaceAll(BALANCER_PATHS.clientTls, join(folder, 'tls/client'))
      .replaceAll(BALANCER_PATHS.adminSocket, join(place, 'admin.sock'))
      .replaceAll(BALANCER_PATHS.folder, place);
    await writeFile(join(place, file), moved);
  }
  return place;
}

/** What HAProxy says when it checks a file. */
async function complaintsAbout(path: string): Promise<string> {
  const env = { ...process.env, ANY_ADDRESS: '127.0.0.1', NAME_SERVER: '127.0.0.1' };
  const { stdout, stderr } = await run(haproxy, ['-c', '-f', path], { env }).catch((error: Tree) => error);
  return `${stdout}${stderr}`;
}

/** What this HAProxy was built without and the pools need: a plain build knows neither. */
async function lacking({ pools }: Sizing): Promise<readonly string[]> {
  const { stdout } = await run(haproxy, ['-vv']);
  const needs = [
    ...(pools.some(({ pool }) => pool.tls.kind === 'terminate') ? ['OPENSSL'] : []),
    ...(pools.some(({ pool }) => pool.exposure.earlySettingsPort !== null) ? ['LUA'] : []),
  ];
  return needs.filter((feature) => !stdout.includes(`+${feature}`));
}

const VARIANTS: readonly (readonly [string, string])[] = [
  ...EXAMPLES.map(({ name, poolYaml }) => [name, poolYaml] as const),
  ...(
    [
      ['passthrough', { tls: { mode: 'passthrough' } }],
      ['passthrough-shared', { tls: { mode: 'passthrough' }, exposure: { ports: 'shared' } }],
      ['plain', { tls: 'off' }],
      ['plain-early-settings', { tls: 'off', exposure: { 'early-settings': 2000 } }],
    ] as const
  ).map(
    ([name, pool]) =>
      [
        name,
        stringify({
          version: 1,
          cluster: { dns: { address: '10.96.0.10' } },
          pools: { [name]: { ...pool, architectures: { amd64: {}, arm64: {} } } },
        }),
      ] as const,
  ),
];

describe.each(VARIANTS)('%s', (name, poolYaml) => {
  test('HAProxy accepts every configuration without a warning', async () => {
    const sizing = sizeText(poolYaml);
    expect(await lacking(sizing), 'this HAProxy was built without them').toEqual([]);
    const objects = composeText(poolYaml);
    for (const pool of sizing.pools) {
      const balancer = await layDown(
        `${name}-${pool.pool.name}`,
        pick(objects, 'ConfigMap', pool.names.balancer).data,
      );
      expect(await complaintsAbout(join(balancer, 'haproxy.cfg'))).toMatch(VALID);
      const document = await layDown(
        `${name}-${pool.pool.name}-document`,
        pick(objects, 'ConfigMap', pool.names.document).data,
      );
      expect(await complaintsAbout(join(document, 'haproxy.cfg'))).toMatch(VALID);
      for (const { names } of pool.architectures) {
        const gate = await layDown(
          `${name}-${names.statefulSet}`,
          pick(objects, 'ConfigMap', names.statefulSet).data,
        );
        expect(await complaintsAbout(join(gate, 'gate.cfg'))).toMatch(VALID);
      }
    }
  });
});

/** Older versions say so, newer ones say nothing, or that this machine has fewer processors than the cluster's nodes. */
const VALID = new RegExp(
  [
    '^(Configuration file is valid\n)?$',
    '^Warnings were found\\.\n(\\[NOTICE\\].*\n)*\\[WARNING\\].*binds \\d+ threads to a total of \\d+ CPUs .*\n$',
  ].join('|'),
);

describe('the pool document server', () => {
  let server: ChildProcess | undefined;

  afterAll(() => {
    server?.kill('SIGTERM');
  });

  test.each([
    ['IPv4 alone', '127.0.0.1', false],
    ...(existsSync('/proc/net/if_inet6') ? [['IPv6 as well', '[::1]', true] as const] : []),
  ] as const)(
    'in a pod with %s it serves the document, tells that it is well, and nothing else',
    async (_, host, six) => {
      const [pool] = sizeText(exampleNamed('two-trust-levels').poolYaml).pools;
      if (pool === undefined) throw new Error('no pool');
      const port = await freePort();
      const place = join(folder, `served-${six}`);
      await mkdir(place);
      const moved = { ...pool, document: { ...pool.document, port } };
      await writeFile(join(place, 'pool.json'), JSON.stringify(describePool(pool)));
      await writeFile(join(place, 'haproxy.cfg'), renderDocumentServer(moved, place));
      // Loopback in the place of "any", and a kernel with or without IPv6.
      const script = renderDocumentScript()
        .replace('=0.0.0.0', '=127.0.0.1')
        .replace('=::', '=::1')
        .replace('/proc/net/if_inet6', six ? place : join(place, 'none'))
        .replace('exec haproxy', `exec ${haproxy}`)
        .replace('/usr/local/etc/haproxy', place);
      await writeFile(join(place, 'start.sh'), script);
      server = spawn('/bin/sh', [join(place, 'start.sh')], { stdio: 'inherit' });
      const base = `http://${host}:${port}`;
      await waitFor(async () => (await fetch(`${base}/healthz`)).ok);

      const answer = await fetch(`${base}/pool.json`);
      expect([
        answer.status,
        answer.headers.get('content-type'),
        answer.headers.get('cache-control'),
      ]).toEqual([200, 'application/json', `max-age=${pool.document.maxAgeSeconds.value}`]);
      expect(await answer.json()).toEqual(describePool(pool));
      expect((await fetch(`${base}/pool.json`, { method: 'POST', body: '{}' })).status).toBe(405);
      expect((await fetch(`${base}/other`)).status).toBe(404);
      server.kill('SIGTERM');
    },
  );
});

describe('the load balancer\u2019s start', () => {
  /** A HAProxy that tells what it was given and how it was asked to end. */
  const STAND_IN = `#!/bin/sh
[ "$1" = -v ] && exit
trap 'echo soft; exit 0' USR1
trap 'echo hard; exit 1' TERM
echo "any=$ANY_ADDRESS dns=\${NAME_SERVER-none} args=$*"
while :; do sleep 0.05; done
`;

  async function start(
    text: string,
    resolvConf: string,
    socat = true,
  ): Promise<{ child: ChildProcess; output: () => string }> {
    const place = await mkdtemp(join(folder, 'start-'));
    await writeFile(join(place, 'haproxy'), STAND_IN, { mode: 0o755 });
    if (socat) await writeFile(join(place, 'socat'), '#!/bin/sh\n', { mode: 0o755 });
    await writeFile(join(place, 'resolv.conf'), resolvConf);
    await writeFile(join(place, 'start.sh'), text.replaceAll('/etc/resolv.conf', join(place, 'resolv.conf')));
    const child = spawn('/bin/sh', [join(place, 'start.sh')], {
      env: { PATH: socat ? `${place}:${process.env['PATH']}` : place },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk;
      });
    }
    return { child, output: () => output };
  }

  const script: string = pick(
    composeText(exampleNamed('no-karpenter').poolYaml),
    'ConfigMap',
    'default-haproxy',
  ).data['start.sh'];

  test.each(['SIGTERM', 'SIGUSR1', 'SIGINT'] as const)(
    '%s is a soft stop, whatever the image says',
    async (signal) => {
      const { child, output } = await start(
        script,
        'search a b\nnameserver 10.96.0.10\nnameserver 10.96.0.11\n',
      );
      await waitFor(() => output().includes('any='));
      expect(output()).toContain('dns=10.96.0.10 args=-db -f /usr/local/etc/haproxy/haproxy.cfg');
      const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
      // The script has yet to note whom it has started.
      await sleep(200);
      child.kill(signal);
      expect(await ended).toBe(0);
      // What it has written may be read after its end.
      await waitFor(() => output().includes('soft'));
      expect(output()).not.toContain('hard');
    },
  );

  test('without a name server it says so and ends', async () => {
    const { child, output } = await start(script, 'search a b\n');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(1);
    expect(output()).toContain('names no name server');
  });

  test('in an image that has no socat it says so and ends', async () => {
    const { child, output } = await start(script, 'nameserver 10.96.0.10\n', false);
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(1);
    expect(output()).toContain('this image has no socat');
  });

  test('a given name server is in the configuration, and none is looked for', async () => {
    const text =
      'version: 1\ncluster: {dns: {address: 10.0.0.10}}\npools: {p: {tls: off, architectures: {amd64: {}}}}\n';
    const { data } = pick(composeText(text), 'ConfigMap', 'p-haproxy');
    expect(data['start.sh']).not.toContain('resolv.conf');
    expect(data['haproxy.cfg']).toContain('server dns 10.0.0.10:53');
  });

  test('shellcheck has nothing to say', async () => {
    const { shellcheck } = await ensurePrograms(['shellcheck'], {
      install: true,
      log: (line) => console.error(line),
    });
    const place = join(folder, 'checked.sh');
    await writeFile(place, script);
    const { stdout } = await run(shellcheck, ['--shell=sh', place]).catch((error: Tree) => error);
    expect(stdout).toBe('');
    // It may have to be fetched.
  }, 600_000);
});

const READY_TIMEOUT_MS = 60_000;

async function waitFor(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (
    !(await Promise.resolve()
      .then(condition)
      .catch(() => false))
  ) {
    if (Date.now() > deadline) {
      throw new Error('it did not become so in time');
    }
    await sleep(20);
  }
}
