/** As many clients as the load balancer takes, and more: health and metrics answer, and those in line keep their places. */
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import {
  AMD64,
  type Build,
  joinTimes,
  type LoadBalancer,
  Rig,
  servedOrder,
} from '../../support/server-line.ts';

const WAIT = { timeout: 60_000, interval: 100 };
/** Shorter than an entrance waits for a first byte: whoever has sent one is handed on at once. */
const AT_ONCE = { timeout: 8_000, interval: 100 };

/** How many clients the one entrance takes, by its own word. */
async function limitOf(balancer: LoadBalancer, entrance: string): Promise<number> {
  return await balancer.metric('haproxy_frontend_limit_sessions', `proxy="${entrance}"`);
}

async function taken(balancer: LoadBalancer, entrance: string): Promise<number> {
  return await balancer.metric('haproxy_frontend_current_sessions', `proxy="${entrance}"`);
}

/** By the administration socket, which answers whoever else does not. */
async function frontendSessions(balancer: LoadBalancer, frontend: string): Promise<number> {
  const [head = '', ...rows] = (await balancer.ask('show stat')).trim().split('\n');
  const columns = head.replace(/^# /, '').split(',');
  const row = rows
    .map((line) => line.split(','))
    .find(([name, side]) => name === frontend && side === 'FRONTEND');
  return Number(row?.[columns.indexOf('scur')]);
}

/** As a kubelet and a scaler ask. */
async function expectAnswers(rig: Rig, patienceMs = 10_000): Promise<void> {
  const { address, port } = rig.model().metrics;
  const read = (path: string) =>
    fetch(`http://${address}:${port}${path}`, { signal: AbortSignal.timeout(patienceMs) });
  expect((await read('/healthz')).status).toBe(200);
  expect(await (await read('/metrics?scope=frontend')).text()).toContain('haproxy_frontend_current_sessions');
}

/** Serves them one after another. */
async function serveAll(builds: readonly Build[]): Promise<void> {
  for (let count = 1; count <= builds.length; count += 1) {
    await expect.poll(() => servedOrder(builds).length, WAIT).toBe(count);
    builds.find(({ state }) => state === 'building')?.leave();
  }
}

test('silent connections fill an entrance for seconds only, and nobody in line notices', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 1 }], tls: true });
  const balancer = await rig.startBalancer();
  const entrance = `only_${AMD64}`;
  const builds = joinTimes(6).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  await expect.poll(() => balancer.demand(AMD64), AT_ONCE).toBe(6);

  // Without a certificate, and without a word.
  const limit = await limitOf(balancer, entrance);
  const silent = Array.from({ length: limit }, () =>
    net.connect(rig.door(AMD64).port, rig.address).on('error', () => undefined),
  );
  rig.closeLater(() => {
    for (const socket of silent) socket.destroy();
  });
  await expect.poll(() => taken(balancer, entrance), WAIT).toBe(limit);
  await expectAnswers(rig);
  expect(await balancer.demand(AMD64)).toBe(6);

  const [first = 0] = joinTimes(7);
  const late = rig.join('late', rig.door(AMD64), first + 60_000);
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(7);
  expect(silent.filter(({ readyState }) => readyState === 'open').length).toBeLessThan(limit);
  // Longer than any client may take to begin: those who wait have been as silent since they joined.
  await sleep(12_000);
  await expect.poll(() => taken(balancer, entrance), WAIT).toBe(7);
  expect(builds.map(({ dials, state }) => [dials, state])).toEqual(builds.map(() => [1, 'waiting']));

  await rig.startStandIns(AMD64, [0]);
  rig.announce(AMD64, 0);
  await serveAll([...builds, late]);
  expect(servedOrder(builds)).toEqual(builds.map(({ name }) => name));
}, 240_000);

test('twice as many builds as an entrance takes: so many wait in line, the others outside, and health answers', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 1 }], tls: false });
  const balancer = await rig.startBalancer();
  const limit = await limitOf(balancer, `only_${AMD64}`);
  const first = joinTimes(5).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  await expect.poll(() => balancer.demand(AMD64), AT_ONCE).toBe(5);
  const crowd = Array.from({ length: 2 * limit }, (_, index) =>
    rig.join(`crowd ${index}`, rig.door(AMD64), Date.now()),
  );
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(limit);
  await expectAnswers(rig);

  await rig.startStandIns(AMD64, [0]);
  rig.announce(AMD64, 0);
  await serveAll(first);
  expect(servedOrder(first)).toEqual(first.map(({ name }) => name));
  expect(first.map(({ dials }) => dials)).toEqual(first.map(() => 1));
  // Whoever leaves makes room for one from outside.
  await expect.poll(() => servedOrder(crowd).length, WAIT).toBeGreaterThan(0);
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(limit);
  await expectAnswers(rig);
}, 240_000);

test('connections to the metrics that ask for nothing take a few of their own, and go', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 1 }], tls: false });
  const balancer = await rig.startBalancer();
  const { address, port } = rig.model().metrics;
  const limit = await limitOf(balancer, 'metrics');
  const silent = Array.from({ length: limit + 50 }, () =>
    net.connect(port, address).on('error', () => undefined),
  );
  rig.closeLater(() => {
    for (const socket of silent) socket.destroy();
  });
  await expect.poll(() => frontendSessions(balancer, 'metrics'), AT_ONCE).toBe(limit);
  const build = rig.join('one', rig.door(AMD64));
  await rig.startStandIns(AMD64, [0]);
  rig.announce(AMD64, 0);
  await expect.poll(() => build.state, WAIT).toBe('building');
  // After five seconds each has been told to ask or go; a reader's own patience is thirty.
  const answers = () =>
    expectAnswers(rig, 2_000).then(
      () => true,
      () => false,
    );
  await expect.poll(answers, { timeout: 25_000, interval: 500 }).toBe(true);
}, 240_000);
