/** How clients come in: with a certificate or not, by name, early greeted, with a head start, or past the load balancer's eyes. */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { serverNameOf } from '../../support/balancer-model.ts';
import { issue, makeAuthority, trust } from '../../support/certificates.ts';
import {
  AMD64,
  ARM64,
  type Build,
  type Door,
  joinTimes,
  type LoadBalancer,
  Rig,
  servedOrder,
} from '../../support/server-line.ts';

const WAIT = { timeout: 60_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 });
const MINUTE_MS = 60_000;

let rig: Rig;
let balancer: LoadBalancer;

beforeAll(async () => {
  rig = await Rig.open({
    pools: [
      { name: AMD64, ceiling: 2 },
      { name: ARM64, ceiling: 2 },
      { name: 'ranked', ceiling: 1 },
    ],
    tls: true,
    earlySettings: true,
  });
  balancer = await rig.startBalancer();
});

afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});

/** After the handshake, as far as the client can tell: with TLS 1.3 the answer to its certificate comes later. */
const REFUSED_WITHIN_MS = 5_000;

/** How a TLS client that says nothing fares: kept, or the reason why not. */
async function knock(door: Door, certificate: boolean): Promise<string> {
  const { pair } = door;
  if (pair === null) throw new Error('this door has no TLS');
  const socket = tls.connect({
    ...{ host: rig.address, port: door.port, servername: door.serverName, ca: readFileSync(pair.caPath) },
    ...(certificate ? { cert: readFileSync(pair.certificatePath), key: readFileSync(pair.keyPath) } : {}),
    ALPNProtocols: ['h2'],
  });
  try {
    return await Promise.race([
      once(socket, 'error').then(([error]) => String(error.code ?? error.message)),
      once(socket, 'close').then(() => 'closed'),
      once(socket, 'secureConnect').then(() =>
        sleep(REFUSED_WITHIN_MS).then(() => `kept, ${socket.alpnProtocol}`),
      ),
    ]);
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  } finally {
    socket.on('error', () => undefined).destroy();
  }
}

test('only certificates of the pool come in; who is refused is logged and never counted as demand', async () => {
  const stranger = await makeAuthority(join(rig.folder, 'stranger-ca'), 'somebody');
  const theirs = await issue(stranger, join(rig.folder, 'stranger'), 'runner', []);
  await trust(theirs, [rig.authority]);
  expect(await knock(rig.door(AMD64), true)).toBe('kept, h2');
  expect(await knock(rig.door(AMD64), false)).toMatch(/CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/);
  expect(await knock({ ...rig.door(AMD64), pair: theirs }, true)).toMatch(/UNKNOWN_CA|BAD_CERTIFICATE/);
  await expect.poll(() => balancer.refusals.length, WAIT).toBe(2);
  expect(balancer.refusals.map(({ entrance }) => entrance)).toEqual(['only_amd64', 'only_amd64']);

  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(0);

  // Somebody who connects and never shakes hands.
  const silent = net.connect(rig.door(AMD64).port, rig.address);
  await once(silent, 'connect');
  await sleep(300);
  expect(await balancer.demand(AMD64)).toBe(0);
  silent.destroy();
});

test('names tell architectures apart on the shared port; others are refused in the handshake', async () => {
  const [amd64] = await rig.startStandIns(AMD64, [0]);
  const [arm64] = await rig.startStandIns(ARM64, [0]);
  rig.announce(AMD64, 0);
  rig.announce(ARM64, 0);
  const builds = [AMD64, ARM64].map((pool) => rig.join(pool, rig.sharedDoor(pool)));
  await Promise.all(builds.map(({ granted }) => granted));
  expect([amd64?.stays.length, arm64?.stays.length]).toEqual([1, 1]);
  const demands = async () => [await balancer.demand(AMD64), await balancer.demand(ARM64)];
  await expect.poll(demands, WAIT).toEqual([1, 1]);
  for (const build of builds) build.leave();
  expect(await knock({ ...rig.sharedDoor(AMD64), serverName: 'pool-s390x.example' }, true)).toMatch(
    /UNRECOGNIZED_NAME|HANDSHAKE_FAILURE/,
  );
  // A name of the certificate without a pool of its own does not exist here; without a name nobody is let in.
  expect(serverNameOf(AMD64)).not.toBe(serverNameOf(ARM64));
});

test('a head start: release builds go first, unless somebody has waited longer than that', async () => {
  await rig.startStandIns('ranked', [0]);
  rig.announce('ranked', 0);
  const release = await issue(rig.authority, join(rig.folder, 'release'), 'release-runner', []);
  const door = rig.door('ranked');
  const blocker = rig.join('blocker', door);
  await blocker.granted;
  const now = Date.now();
  // The head start of this pool is an hour.
  const scene: ReadonlyArray<readonly [string, number, Door]> = [
    ['2: plain, joined 2 min ago', now - 2 * MINUTE_MS, door],
    ['1: release, just joined', now, { ...door, pair: release }],
    ['0: plain, joined 70 min ago', now - 70 * MINUTE_MS, door],
    ['3: plain, just joined', now, door],
  ];
  const builds = scene.map(([name, joined, way]) => rig.join(name, way, joined));
  await expect.poll(async () => (await balancer.counters('ranked')).queued, WAIT).toBe(4);
  blocker.leave();
  for (let count = 1; count <= 4; count += 1) {
    await expect.poll(() => servedOrder(builds).length, WAIT).toBe(count);
    builds.find(({ state }) => state === 'building')?.leave();
  }
  expect(servedOrder(builds)).toEqual(builds.map(({ name }) => name).toSorted());
});

test('pass-through: the builder itself ends TLS, and the line goes by arrival', async () => {
  await using own = await Rig.open({ pools: [{ name: 'passed', ceiling: 1 }], tls: true });
  const pair = await issue(own.authority, join(own.folder, 'passed'), 'builder', [serverNameOf('passed')]);
  const passing = own.model();
  const passes = await own.startBalancer(12, {
    entrances: passing.entrances.map((entrance) => ({ ...entrance, tls: { kind: 'passed' } })),
    pools: passing.pools.map((pool) => ({ ...pool, places: 'arrival', builderTls: null, headStarts: [] })),
  });
  const [builder] = await own.startStandIns('passed', [0], pair);
  const times = joinTimes(3);
  const builds: Build[] = [];
  for (const index of [2, 0, 1]) {
    builds.push(
      own.join(`${index}`, index === 0 ? own.sharedDoor('passed') : own.door('passed'), times[index]),
    );
    await expect.poll(async () => (await passes.counters('passed')).queued, WAIT).toBe(builds.length);
  }
  own.announce('passed', 0);
  for (let count = 1; count <= 3; count += 1) {
    await expect.poll(() => servedOrder(builds).length, WAIT).toBe(count);
    builds.find(({ state }) => state === 'building')?.leave();
  }
  expect(servedOrder(builds)).toEqual(['2', '0', '1']);
  expect(builder?.stays).toHaveLength(3);
});
