/** Every rendered buildkitd.toml under the real buildkitd: it starts with it and does what it says. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'smol-toml';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../support/buildkitd.ts';
import { issue, type KeyPair, makeAuthority } from '../../support/certificates.ts';
import { composeText, EXAMPLES, type Tree } from '../../support/examples.ts';
import { eventually } from '../../support/local-pool.ts';
import { startRegistry } from '../../support/registry.ts';

const run = promisify(execFile);
const { BUILDKITD: buildkitd = 'buildkitd', BUILDCTL: buildctl = 'buildctl' } = process.env;
const { SETPRIV: setpriv = 'setpriv' } = process.env;

let folder = '';
let pair: KeyPair;
let child: ChildProcess | undefined;
let log = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rendered-buildkitd-'));
  const authority = await makeAuthority(join(folder, 'ca'), 'pool');
  pair = await issue(authority, join(folder, 'server'), 'builder', ['builder-0.builders.internal']);
});

afterEach(async () => {
  if (child === undefined) return;
  const exited = new Promise((resolve) => child?.once('exit', resolve));
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await exited;
  }
  child = undefined;
});

afterAll(() => rm(folder, { recursive: true, force: true }));

function socketIn(place: string): string {
  return join(place, 'buildkitd.sock');
}

/** The daemon with a rendered file of which addresses and folders alone are replaced. Returns its folder. */
async function start(name: string, file: string): Promise<string> {
  const place = join(folder, name);
  await mkdir(place);
  const config = join(place, 'buildkitd.toml');
  const own = file
    .replaceAll('/run/buildkit/buildkitd.sock', socketIn(place))
    .replaceAll(/127\.0\.0\.1:1236/g, `127.0.0.1:${await freePort()}`)
    .replaceAll('/etc/buildkit-tls/tls.crt', pair.certificatePath)
    .replaceAll('/etc/buildkit-tls/tls.key', pair.keyPath)
    .replaceAll('/etc/buildkit-tls/ca.crt', pair.caPath);
  expect(own).not.toMatch(/\/run\/|\/etc\/|:1236/);
  await writeFile(config, own);
  log = '';
  const process = spawn(
    setpriv,
    [
      ...['--pdeathsig', 'KILL', '--', buildkitd],
      ...['--config', config, '--root', join(place, 'root'), '--otel-socket-path', join(place, 'otel.sock')],
      ...['--oci-worker-net=host', '--oci-worker-snapshotter=native'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  child = process;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
  }
  const ready = async () => process.exitCode !== null || (await answers(socketIn(place)));
  await eventually('buildkitd listens, or has ended', ready);
  expect(process.exitCode, log).toBeNull();
  return place;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

async function control(place: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run(buildctl, ['--addr', `unix://${socketIn(place)}`, ...args], {
    timeout: 120_000,
  });
  return stdout;
}

/** `10.73741824GB`, as buildctl prints it, of each rule. */
function sizes(workers: string, what: string): readonly number[] {
  return [...workers.matchAll(new RegExp(`${what}:\\s+([\\d.]+)([kMGT])B`, 'g'))].map(([, amount, unit]) =>
    Math.round(Number(amount) * 1000 ** ('kMGT'.indexOf(unit ?? '') + 1)),
  );
}

const FILES = EXAMPLES.flatMap(({ name, poolYaml }) =>
  composeText(poolYaml).flatMap((object: Tree): readonly { name: string; file: string }[] => {
    const file: string | undefined = object.data?.['buildkitd.toml'];
    return file === undefined ? [] : [{ name: `${name}-${object.metadata.name}`, file }];
  }),
);

test('there is a file for each architecture of each pool', () => {
  expect(FILES).toHaveLength(
    EXAMPLES.flatMap(({ poolYaml }) => composeText(poolYaml).filter(({ kind }) => kind === 'StatefulSet'))
      .length,
  );
});

describe.each(FILES)('$name', ({ name, file }) => {
  test('buildkitd starts with it, and keeps its cache as it says', async () => {
    const place = await start(name, file);
    const told = await control(place, 'debug', 'workers', '-v');
    const { oci } = parse(file)['worker'] as Tree;
    expect(told.match(/^ID:/gm)).toHaveLength(1);
    expect(sizes(told, 'Maximum used space')).toEqual(oci.gcpolicy.map((rule: Tree) => rule.maxUsedSpace));
    expect(sizes(told, 'Reserved space')).toEqual(oci.gcpolicy.map((rule: Tree) => rule.reservedSpace));
    expect(sizes(told, 'Minimum free space')).toEqual(oci.gcpolicy.map((rule: Tree) => rule.minFreeSpace));
    expect(told.includes('process-mode:\tno-sandbox')).toBe(oci.noProcessSandbox === true);
    const messages = log
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { level: string; msg: string }).msg);
    expect(messages.filter((message) => /deprecated|invalid|unknown/.test(message))).toEqual([]);
  });
});

test('a mirror is asked for what is of another registry', async () => {
  await using registry = await startRegistry();
  const text = `version: 1\npools:\n  default:\n    tls: off\n    mirrors: {docker.io: ["${registry.host}/docker-hub"]}\n    architectures: {amd64: {}}\n`;
  const map = composeText(text).find((object: Tree) => object.data?.['buildkitd.toml'] !== undefined);
  const place = await start('mirrors', (map as Tree).data['buildkitd.toml']);
  const context = join(place, 'context');
  await mkdir(context);
  await writeFile(join(context, 'told'), 'by the mirror');
  const build = (dockerfile: string, output: string) =>
    writeFile(join(context, 'Dockerfile'), dockerfile).then(() =>
      control(
        place,
        ...['build', '--progress=plain', '--frontend=dockerfile.v0', '--output', output],
        ...['--local', `context=${context}`, '--local', `dockerfile=${context}`],
      ),
    );
  await build(
    'FROM scratch\nCOPY told /\n',
    `type=image,name=${registry.host}/docker-hub/library/base:1,push=true`,
  );
  await build('FROM base:1\n', `type=local,dest=${join(place, 'out')}`);
  expect(await readFile(join(place, 'out', 'told'), 'utf8')).toBe('by the mirror');
});
