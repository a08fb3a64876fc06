/**
 * Certificates are renewed, and then their CA changed with an overlap, with builds running and waiting all the time. The
 * load balancer runs in its own start script, which takes up new files; builders are replaced one after another.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { expect, test, vi } from 'vitest';
import { ensurePrograms } from '../../../src/local/programs.ts';
import { PLACE_TICK_MS } from '../../../src/queue/token.ts';
import { buildersNameOf, serverNameOf } from '../../support/balancer-model.ts';
import {
  type Authority,
  issue,
  type KeyPair,
  makeAuthority,
  mountSecret,
  trust,
} from '../../support/certificates.ts';
import { composeText, pick } from '../../support/examples.ts';
import { HAPROXY_COUNTS_EVERY_BUILD, HAPROXY_TAKES_AUTHORITIES } from '../../support/haproxy-version.ts';
import { eventually, makeHeldContext } from '../../support/local-pool.ts';
import {
  AMD64,
  type Build,
  joinTimes,
  type LoadBalancer,
  type RealBuilder,
  Rig,
  servedOrder,
  startRealBuild,
  watchBuilds,
} from '../../support/server-line.ts';

const WAIT = { timeout: 90_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 });
const { HAPROXY: haproxy = 'haproxy' } = process.env;

const POOL = `
version: 1
cluster: { dns: { address: 10.96.0.10 } }
pools: { main: { architectures: { amd64: {} } } }
`;

/** The start script that is rendered, which looks for new files ten times as often. */
const SCRIPT: string = pick(composeText(POOL), 'ConfigMap', 'main-haproxy').data['start.sh'].replace(
  'sleep 10',
  'sleep 1',
);

/** The load balancer's files. */
const FILES = ['balancer/tls.crt', 'balancer/ca.crt', 'balancer-client/tls.crt', 'balancer-client/ca.crt'];

const { socat } = await ensurePrograms(['socat'], { install: true, log: (line) => console.error(line) });

/** New certificates for load balancer and client; the load balancer's folders change as the kubelet changes them. */
async function renew(rig: Rig, authority: Authority, trusted: readonly Authority[]): Promise<KeyPair> {
  const fresh = (name: string): string => join(rig.folder, 'issued', name);
  const outer = await issue(authority, fresh('balancer'), 'balancer', [serverNameOf(AMD64)]);
  const inner = await issue(authority, fresh('balancer-client'), 'balancer', []);
  const client = await issue(authority, join(rig.folder, 'client'), 'runner', []);
  for (const pair of [outer, inner, client]) await trust(pair, trusted);
  await mountSecret(outer, join(rig.folder, 'balancer'));
  await mountSecret(inner, join(rig.folder, 'balancer-client'));
  return outer;
}

/** A load balancer in its start script. What its socat has as arguments goes to the file `arguments`. */
async function startByScript(rig: Rig, pod: number): Promise<LoadBalancer> {
  const bin = join(rig.folder, `bin-${pod}`);
  await mkdir(bin);
  await symlink(haproxy, join(bin, 'haproxy'));
  const recording = `#!/bin/sh\nprintf '%s\\n' "$@" >> ${join(rig.folder, 'arguments')}\nexec ${socat} "$@"\n`;
  await writeFile(join(bin, 'socat'), recording, { mode: 0o755 });
  const balancer = await rig.startBalancerByScript(pod, SCRIPT, bin);
  const once = FILES.map((file) => (HAPROXY_TAKES_AUTHORITIES || file.endsWith('tls.crt') ? 1 : 0));
  await expect.poll(() => takenUp(rig, balancer), WAIT).toEqual(once);
  return balancer;
}

/** How often the load balancer has said of each of its files that it took it up. */
function takenUp({ folder }: Rig, { events }: LoadBalancer): readonly number[] {
  return FILES.map((file) => events.split(`certificates: ${join(folder, file)} is in use\n`).length - 1);
}

/** The certificate that new clients are shown. */
async function shownBy(rig: Rig): Promise<string> {
  const { pair, port, serverName } = rig.door(AMD64);
  if (pair === null) throw new Error('no certificate');
  const socket = tls.connect({
    ...{ host: rig.address, port, servername: serverName, ALPNProtocols: ['h2'] },
    ...{ ca: await readFile(pair.caPath), cert: await readFile(pair.certificatePath) },
    key: await readFile(pair.keyPath),
  });
  await once(socket, 'secureConnect');
  const certificate = socket.getPeerX509Certificate()?.toString() ?? '';
  socket.destroy();
  return certificate.trim();
}

async function certificateOf(pair: KeyPair): Promise<string> {
  return (await readFile(pair.certificatePath, 'utf8')).trim();
}

function statesOf(builds: readonly Build[]): readonly string[] {
  return builds.map(({ name, state, dials }) => `${name}: ${state}, dialled ${dials} times`);
}

test('a renewed certificate is taken up while builds run and wait; one that does not fit is not, and is told once', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 2 }], tls: true });
  const keys: string[] = [];
  const remember = async ({ keyPath }: KeyPair): Promise<void> => {
    keys.push(...(await readFile(keyPath, 'utf8')).split('\n').filter((line) => /^[\w+/=]{40,}$/.test(line)));
  };
  const first = await renew(rig, rig.authority, [rig.authority]);
  await remember(first);
  const old = await certificateOf(first);
  await rig.startStandIns(AMD64, [0]);
  rig.announce(AMD64, 0);
  const balancer = await startByScript(rig, 11);
  await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(1);
  const builds = joinTimes(3).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  await expect.poll(() => statesOf(builds).filter((text) => text.includes('building')).length, WAIT).toBe(1);
  await expect.poll(async () => (await balancer.counters(AMD64)).queued, WAIT).toBe(2);
  const before = statesOf(builds);

  // The key of another certificate.
  const wrong = await issue(rig.authority, join(rig.folder, 'issued/wrong'), 'balancer', [
    serverNameOf(AMD64),
  ]);
  const other = await issue(rig.authority, join(rig.folder, 'issued/other'), 'balancer', []);
  await remember(other);
  await mountSecret({ ...wrong, keyPath: other.keyPath }, join(rig.folder, 'balancer'));
  const refusals = () => balancer.events.split('balancer/tls.crt is not taken up').length - 1;
  await expect.poll(refusals, WAIT).toBe(1);
  // Two more looks at least.
  await sleep(3_000);
  expect(refusals()).toBe(1);
  expect(await shownBy(rig)).toBe(old);

  const counts = takenUp(rig, balancer);
  const right = await renew(rig, rig.authority, [rig.authority]);
  await remember(right);
  const more = FILES.map((file) => (file.endsWith('tls.crt') ? 1 : 0));
  await expect
    .poll(() => takenUp(rig, balancer), WAIT)
    .toEqual(counts.map((count, index) => count + (more[index] ?? 0)));
  expect(await shownBy(rig)).toBe(await certificateOf(right));
  expect(statesOf(builds)).toEqual(before);

  const told = `${await readFile(join(rig.folder, 'arguments'), 'utf8')}${balancer.events}`;
  expect(told).toContain('admin-11.sock');
  expect(keys.length).toBeGreaterThan(2);
  expect(keys.filter((line) => told.includes(line))).toEqual([]);
});

test('leaves, then the CA with an overlap, are changed under running and waiting builds: 0 killed, 0 doubled, order kept from HAProxy 3.2 on', {
  timeout: 600_000,
}, async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 4 }], tls: true });
  await renew(rig, rig.authority, [rig.authority]);
  let pod = 11;
  let balancer = await startByScript(rig, pod);
  const pair = await rig.builderPair(AMD64);
  if (pair === null) throw new Error('no certificate');
  const builders: RealBuilder[] = [];
  for (const ordinal of [0, 1]) {
    builders.push(await rig.startBuilder(AMD64, ordinal, pair));
    rig.announce(AMD64, ordinal);
  }
  await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(2);
  const watch = watchBuilds(builders);

  // A real build on the first builder, a client that holds the second, two that wait.
  const scratch = mkdtempSync(join(tmpdir(), 'certificates-'));
  const held = makeHeldContext(scratch);
  const real = startRealBuild(rig, held.context, 'first');
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(1);
  const all: Build[] = [];
  const firstJoined = Date.now() - 600_000;
  const waiting = () => all.filter(({ state }) => state === 'waiting');
  const joinLine = async (): Promise<void> => {
    const build = rig.join(`${all.length}`, rig.door(AMD64), firstJoined + 2 * all.length * PLACE_TICK_MS);
    all.push(build);
    if (HAPROXY_COUNTS_EVERY_BUILD) {
      await expect.poll(async () => (await balancer.counters(AMD64)).queued, WAIT).toBe(waiting().length);
    } else {
      await expect.poll(() => build.connected, WAIT).toBe(true);
    }
  };
  const holder = rig.join('0', rig.door(AMD64), firstJoined);
  all.push(holder);
  await expect.poll(() => holder.state, WAIT).toBe('building');
  await joinLine();
  await joinLine();
  /** Who is on which builder; null: the real build. */
  const running: Array<Build | null> = [null, holder];
  const runningStates = () => running.map((build) => build?.state ?? real.process.exitCode);

  // Whoever knocks at a builder, as those do who have come over to a HAProxy before 3.1, would be let in by a gate that is
  // about to end, and keep it from ending.
  const untilAllWait = async (): Promise<void> => {
    await expect.poll(async () => (await balancer.counters(AMD64)).queued, WAIT).toBe(2);
  };
  const connections = () =>
    HAPROXY_COUNTS_EVERY_BUILD ? statesOf(all) : all.map(({ name, state }) => `${name}: ${state}`);
  /** New files at the load balancer: whoever builds and whoever waits keeps the connection that he has. */
  const takeUp = async (what: string, authority: Authority, trusted: readonly Authority[]): Promise<void> => {
    const trustNow = () => readFile(join(rig.folder, 'balancer/ca.crt'), 'utf8');
    const [before, counts, trustBefore] = [connections(), takenUp(rig, balancer), await trustNow()];
    const leaf = await renew(rig, authority, trusted);
    const newTrust = (await trustNow()) !== trustBefore;
    const changed = (file = ''): boolean =>
      file.endsWith('tls.crt') || (newTrust && HAPROXY_TAKES_AUTHORITIES);
    await expect
      .poll(() => takenUp(rig, balancer), WAIT)
      .toEqual(counts.map((count, index) => count + (changed(FILES[index]) ? 1 : 0)));
    expect(connections(), what).toEqual(before);
    if (newTrust && !HAPROXY_TAKES_AUTHORITIES) await replaceBalancer(what);
    expect(await shownBy(rig), what).toBe(await certificateOf(leaf));
    expect([running.length, waiting().length], what).toEqual([2, 2]);
  };
  /** Builds that run go on at the old one; those who wait come over. */
  const replaceBalancer = async (what: string): Promise<void> => {
    const before = runningStates();
    await expect.poll(() => balancer.events, WAIT).toContain('HAProxy before 3.3');
    balancer.stopSoftly();
    pod += 1;
    balancer = await startByScript(rig, pod);
    await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(2);
    await expect.poll(() => balancer.takenElsewhere(AMD64), WAIT).toBe(2);
    expect(runningStates(), what).toEqual(before);
  };
  /** The pod is asked to end: its gate lets nobody in any more, and goes with the build that it has. */
  const replaceBuilder = async (what: string, ordinal: number): Promise<void> => {
    const [old, last] = [builders[ordinal], running[ordinal]];
    if (old === undefined || last === undefined) throw new Error('no builder');
    const before = runningStates();
    await untilAllWait();
    old.gate.kill('SIGUSR1');
    await expect
      .poll(async () => (await balancer.counters(AMD64)).servers.get(`b${ordinal}`)?.up, WAIT)
      .toBe(false);
    expect([old.gate.exitCode, ...runningStates()], what).toEqual([null, ...before]);
    if (last === null) {
      await eventually('its step runs', () => held.running() > 0);
      held.release();
      await expect.poll(() => real.process.exitCode, WAIT).toBe(0);
    } else last.leave();
    await expect.poll(() => old.gate.exitCode, WAIT).toBe(0);
    await old.stop();
    const line = waiting();
    expect([running[1 - ordinal]?.state ?? 'building', line.length], what).toEqual(['building', 2]);
    builders[ordinal] = await rig.startBuilder(AMD64, ordinal, pair);
    await expect.poll(() => waiting().length, { message: what, ...WAIT }).toBe(1);
    running[ordinal] = line.find(({ state }) => state === 'building') ?? null;
    if (HAPROXY_COUNTS_EVERY_BUILD) expect(running[ordinal], what).toBe(line[0]);
    await joinLine();
  };

  const nextAuthority = await makeAuthority(join(rig.folder, 'next-ca'), 'next CA');
  const steps: ReadonlyArray<readonly [what: string, Authority, trusted: readonly Authority[]]> = [
    ['new leaves, both CAs are trusted', rig.authority, [rig.authority, nextAuthority]],
    ['leaves of the new CA', nextAuthority, [rig.authority, nextAuthority]],
    ['the old CA is forgotten', nextAuthority, [nextAuthority]],
  ];
  for (const [what, authority, trusted] of steps) {
    await takeUp(what, authority, trusted);
    await issue(authority, pair.folder, 'builder', [buildersNameOf(AMD64)]);
    await trust(pair, trusted);
    for (const ordinal of [0, 1]) await replaceBuilder(what, ordinal);
  }

  expect(watch().mostOnOne).toBe(1);
  expect(all.filter(({ state }) => state === 'lost')).toEqual([]);
  if (HAPROXY_COUNTS_EVERY_BUILD) expect(servedOrder(all)).toEqual(all.slice(0, -2).map(({ name }) => name));
  const leftOver = await issue(rig.authority, join(rig.folder, 'left-over'), 'runner', []);
  await trust(leftOver, [nextAuthority]);
  const refused = rig.join('with a certificate of the old CA', { ...rig.door(AMD64), pair: leftOver });
  await expect.poll(() => balancer.refusals.length, WAIT).toBeGreaterThan(0);
  expect(refused.state).toBe('waiting');
  rmSync(scratch, { recursive: true });
});
