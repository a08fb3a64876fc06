/**
 * The load balancer of an example as it was rendered, with the certificates that cert-manager would make of the rendered
 * requests: only addresses, ports of the name server and folders are replaced.
 */
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BALANCER_PATHS, balancerModel } from '../../../src/pool/components/balancer-model.ts';
import { placeToken } from '../../../src/queue/token.ts';
import { type Authority, issue, type KeyPair, makeAuthority } from '../../support/certificates.ts';
import { type DnsServer, startDnsServer } from '../../support/dns-server.ts';
import { composeText, exampleNamed, pick, sizeText, type Tree } from '../../support/examples.ts';
import { Build, LoadBalancer, StandIn } from '../../support/server-line.ts';

const example = exampleNamed('two-trust-levels').poolYaml;
const objects = composeText(example);
const sizing = sizeText(example);
const pool = sizing.pools.find(({ pool: { name } }) => name === 'trusted');

/** Addresses that no other test has. */
const BLOCK = 1 + (process.pid % 250);
const BALANCER = `127.91.${BLOCK}.1`;
const BUILDERS = { amd64: `127.91.${BLOCK}.11`, arm64: `127.91.${BLOCK}.12` };

let folder = '';
let dns: DnsServer;
let balancer: LoadBalancer;
let runner: KeyPair;
/** Of the client that `priorities` names. */
let release: KeyPair;
const standIns: StandIn[] = [];
const builds: Build[] = [];

function own(text: string): string {
  return text
    .replaceAll(/"\$\{NAME_SERVER\}":53/g, `${dns.address}:${dns.port}`)
    .replaceAll(/"\$\{ANY_ADDRESS\}"/g, BALANCER)
    .replaceAll('127.0.0.1', BALANCER)
    .replaceAll(BALANCER_PATHS.adminSocket, join(folder, 'admin.sock'))
    .replaceAll(BALANCER_PATHS.tls, join(folder, 'trusted-haproxy-tls'))
    .replaceAll(BALANCER_PATHS.clientTls, join(folder, 'trusted-haproxy-client-tls'))
    .replaceAll(BALANCER_PATHS.folder, folder);
}

/** What cert-manager would write into the Secret of a rendered Certificate. */
async function certify(name: string, authorities: ReadonlyMap<string, Authority>): Promise<KeyPair> {
  const { spec } = pick(objects, 'Certificate', name);
  const authority = authorities.get(spec.issuerRef.name);
  if (authority === undefined) throw new Error(`nobody signs ${name}`);
  return await issue(authority, join(folder, spec.secretName), spec.commonName ?? name, spec.dnsNames ?? []);
}

describe('two-trust-levels, trusted', () => {
  beforeAll(async () => {
    if (pool === undefined) throw new Error('no pool');
    folder = await mkdtemp(join(tmpdir(), 'assembled-'));
    const issuers: string[] = objects
      .filter(({ kind, metadata }) => kind === 'Issuer' && metadata?.namespace === pool.names.namespace)
      .flatMap((object: Tree) => (object.spec.ca === undefined ? [] : [object.metadata.name]));
    const authorities = new Map<string, Authority>();
    for (const name of issuers) authorities.set(name, await makeAuthority(join(folder, name), name));
    const { balancerSecret, balancerClientSecret, buildersSecret, clientSecret, namedClients } = pool.names;
    await certify(balancerSecret ?? '', authorities);
    await certify(balancerClientSecret ?? '', authorities);
    runner = await certify(clientSecret ?? '', authorities);
    release = await certify(namedClients[0]?.secret ?? '', authorities);
    const builders = await certify(buildersSecret ?? '', authorities);
    for (const [index, address] of Object.values(BUILDERS).entries()) {
      standIns.push(await StandIn.start(address, index, builders));
    }

    dns = await startDnsServer({ address: `127.91.${BLOCK}.2`, cacheMs: 1_000, negativeCacheMs: 1_000 });
    const { data } = pick(objects, 'ConfigMap', pool.names.balancer);
    for (const [name, text] of Object.entries<string>(data)) await writeFile(join(folder, name), own(text));
    const rendered = balancerModel(sizing, pool);
    const model = {
      ...rendered,
      adminSocketPath: join(folder, 'admin.sock'),
      metrics: { ...rendered.metrics, address: BALANCER },
    };
    balancer = await LoadBalancer.start(join(folder, 'haproxy.cfg'), model);
  });

  afterAll(async () => {
    for (const build of builds) build.leave();
    await balancer?.kill();
    for (const standIn of standIns) await standIn.die();
    dns?.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** The sum of what the rendered ScaledObject makes KEDA read, from the paths that it reads. */
  async function demandOf(arch: string): Promise<number> {
    const { triggers } = pick(objects, 'ScaledObject', `trusted-${arch}`).spec;
    const values = triggers.map(async ({ metadata: { url, valueLocation } }: Tree) => {
      const { port, pathname, search } = new URL(url);
      const page = await (await fetch(`http://${BALANCER}:${port}${pathname}${search}`)).text();
      const row = page.split('\n').find((line) => line.startsWith(`${valueLocation} `));
      if (row === undefined) throw new Error(`the page has no ${valueLocation}`);
      return Number(row.slice(row.lastIndexOf(' ')));
    });
    return (await Promise.all<number>(values)).reduce((sum, value) => sum + value, 0);
  }

  function joinLine(arch: 'amd64' | 'arm64', joinedAtMs: number, pair = runner): Build {
    const line = pool?.architectures.find(({ name }) => name === arch)?.line;
    const door = { port: line?.listenPort.value ?? 0, pair, serverName: line?.serverName ?? '' };
    const build = new Build(arch, () => BALANCER, door, placeToken(joinedAtMs));
    builds.push(build);
    return build;
  }

  async function eventually(what: () => Promise<unknown> | unknown, expected: unknown): Promise<void> {
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(100)) {
      if (JSON.stringify(await what()) === JSON.stringify(expected)) return;
    }
    expect(await what()).toEqual(expected);
  }

  test('builds of both architectures wait at zero builders, are counted as the scaler counts, and get their own', async () => {
    const [one, other] = [joinLine('amd64', Date.now() - 2_000), joinLine('arm64', Date.now() - 1_000)];
    await eventually(async () => [await demandOf('amd64'), await demandOf('arm64')], [1, 1]);
    expect([one.state, other.state]).toEqual(['waiting', 'waiting']);

    // The first pod of each StatefulSet is ready: its name is that of the rendered headless Service.
    for (const [arch, address] of Object.entries(BUILDERS)) {
      const { metadata, spec } = pick(objects, 'StatefulSet', `trusted-${arch}-builder`);
      dns.set(`${metadata.name}-0.${spec.serviceName}.${metadata.namespace}.svc.cluster.local`, address);
    }
    await Promise.all([one.granted, other.granted]);
    expect(standIns.map(({ stays }) => stays.map(({ token }) => token))).toEqual([
      [one.token],
      [other.token],
    ]);
    expect([await demandOf('amd64'), await demandOf('arm64')]).toEqual([1, 1]);

    // The next one waits behind a builder that is taken, and goes on from there.
    const next = joinLine('amd64', Date.now());
    await eventually(() => demandOf('amd64'), 2);
    one.leave();
    await next.granted;
    other.leave();
    next.leave();
    await eventually(async () => [await demandOf('amd64'), await demandOf('arm64')], [0, 0]);
    expect(balancer.refusals).toEqual([]);
  });

  test('a release build, by the certificate that is made for it, is ahead of who joined minutes before', async () => {
    const now = Date.now();
    const first = joinLine('amd64', now - 30 * 60_000);
    await first.granted;
    const [plain, ahead] = [joinLine('amd64', now - 60_000), joinLine('amd64', now, release)];
    await eventually(() => demandOf('amd64'), 3);
    first.leave();
    await ahead.granted;
    expect(plain.state).toBe('waiting');
    ahead.leave();
    await plain.granted;
    plain.leave();
    await eventually(() => demandOf('amd64'), 0);
  });

  test('a runner\u2019s certificate opens no builder, and no certificate opens nothing', async () => {
    const dial = async (
      host: string,
      port: number,
      pair: KeyPair | null,
      servername: string,
      limitMs = 30_000,
    ): Promise<string> => {
      const socket = tls.connect({
        ...{ host, port, servername, ALPNProtocols: ['h2'], rejectUnauthorized: false },
        ...(pair === null
          ? {}
          : { cert: await readFile(pair.certificatePath), key: await readFile(pair.keyPath) }),
      });
      // A server tells what it thinks of a certificate after the handshake.
      const end = await Promise.race([
        new Promise<string>((resolve) => socket.once('error', (error) => resolve(String(error)))),
        new Promise<string>((resolve) => socket.once('close', () => resolve('closed'))),
        sleep(limitMs, 'open'),
      ]);
      socket.destroy();
      return end;
    };
    const line = pool?.architectures[0]?.line;
    const [port, name] = [line?.listenPort.value ?? 0, line?.serverName ?? ''];
    expect(await dial(BALANCER, port, runner, name, 1_000)).toBe('open');
    expect(await dial(BALANCER, port, null, name)).not.toBe('open');
    expect(await dial(BALANCER, port, runner, 'other.example.com')).not.toBe('open');

    const certificate = new X509Certificate(await readFile(runner.certificatePath));
    const signedBy = async (secret: string | null | undefined) =>
      certificate.verify(new X509Certificate(await readFile(join(folder, secret ?? '', 'ca.crt'))).publicKey);
    expect(await signedBy(pool?.names.balancerSecret)).toBe(true);
    expect(await signedBy(pool?.names.buildersSecret)).toBe(false);
  });
});
