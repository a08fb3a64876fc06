/**
 * A planned replacement of the load balancer, as Kubernetes does it: the old one is asked to stop softly, the new one
 * starts; builds that run stay where they are, those who wait come to the new one, each at its own place.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { serverNameOf } from '../../support/balancer-model.ts';
import { issue, type KeyPair, makeAuthority, trust } from '../../support/certificates.ts';
import { makeSleepContext, type PlainBuild, startPlain } from '../../support/local-pool.ts';
import {
  AMD64,
  type Build,
  joinTimes,
  type LoadBalancer,
  mostAtOnce,
  type RealBuilder,
  Rig,
  servedOrder,
} from '../../support/server-line.ts';

const WAIT = { timeout: 30_000, interval: 50 };
const BUILDERS = 8;

test('incident 7: replaced under 8 running and 8 waiting builds: 0 killed, 0 doubled, order kept', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 12 }], tls: true });
  const old = await rig.startBalancer(11);
  const pair = await rig.builderPair(AMD64);
  const builders: RealBuilder[] = [];
  for (let ordinal = 0; ordinal < BUILDERS; ordinal += 1) {
    builders.push(await rig.startBuilder(AMD64, ordinal, pair));
    rig.announce(AMD64, ordinal);
  }
  await expect.poll(() => old.usable(AMD64), WAIT).toBe(BUILDERS);

  // Real builds of 18 to 25 s, by plain buildctl.
  const scratch = mkdtempSync(join(tmpdir(), 'replacement-'));
  const running: PlainBuild[] = [];
  for (let index = 0; index < BUILDERS; index += 1) {
    running.push(startRealBuild(rig, makeSleepContext(scratch, 18 + index), `running ${index}`));
    await expect.poll(() => old.demand(AMD64), WAIT).toBe(index + 1);
  }
  await expect
    .poll(() => builders.map((builder) => builder.connections()), WAIT)
    .toEqual(builders.map(() => 1));
  const waiting = joinTimes(8).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  await expect.poll(async () => (await old.counters(AMD64)).queued, WAIT).toBe(8);

  const watch = watchConnections(builders);
  old.stopSoftly();
  const next = await rig.startBalancer(12);
  expect(old.running).toBe(true);
  await expect.poll(() => next.demand(AMD64), WAIT).toBe(8);
  // Served one after another, as the old load balancer's builds end; none gets in beside one of those.
  for (let count = 1; count <= 8; count += 1) {
    await expect.poll(() => servedOrder(waiting).length, WAIT).toBeGreaterThanOrEqual(count);
    waiting.find(({ state }) => state === 'building')?.leave();
  }
  for (const { ended } of running) {
    const { code, log } = await ended;
    expect(code, log).toBe(0);
  }
  const mostOnOne = watch();
  await old.exited;

  expect(servedOrder(waiting)).toEqual(waiting.map(({ name }) => name));
  expect(waiting.filter(({ state }) => state === 'lost')).toEqual([]);
  expect(mostOnOne).toBe(1);
  expect(
    old.log.filter(({ server }) => server.startsWith('builder')).map(({ termination }) => termination),
  ).toEqual(running.map(() => '--'));
  await expect.poll(() => next.demand(AMD64), WAIT).toBe(0);
  rmSync(scratch, { recursive: true });
});

function startRealBuild(rig: Rig, context: string, id: string): PlainBuild {
  const { BUILDCTL: buildctl = 'buildctl' } = process.env;
  const { client } = rig;
  if (client === null) throw new Error('no certificate');
  return startPlain(buildctl, [
    ...['--addr', `tcp://${rig.address}:${rig.door(AMD64).port}`],
    ...['--tlsservername', serverNameOf(AMD64), '--tlscacert', client.caPath],
    ...['--tlscert', client.certificatePath, '--tlskey', client.keyPath],
    ...['build', '--frontend', 'dockerfile.v0', '--progress', 'plain'],
    ...['--local', `context=${context}`, '--local', `dockerfile=${context}`, '--opt', `build-arg:ID=${id}`],
  ]);
}

/** Looks at the kernel's table again and again; the returned function tells the most that were on one builder. */
function watchConnections(builders: readonly RealBuilder[]): () => number {
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, ...builders.map((builder) => builder.connections()));
  }, 50);
  return () => {
    clearInterval(timer);
    return most;
  };
}

test('while builds go on at the old load balancer, the new one tells how many builders they take', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 6 }], tls: true });
  const old = await rig.startBalancer(11);
  const standIns = await rig.startStandIns(AMD64, [0, 1, 2, 3]);
  for (const { ordinal } of standIns) rig.announce(AMD64, ordinal);
  await expect.poll(() => old.usable(AMD64), WAIT).toBe(4);
  const running = joinTimes(3).map((joined, index) => rig.join(`running ${index}`, rig.door(AMD64), joined));
  await Promise.all(running.map(({ granted }) => granted));
  old.stopSoftly();
  const next = await rig.startBalancer(12);
  const elsewhere = (): Promise<number> => builtElsewhere(next);
  await expect.poll(elsewhere, WAIT).toBe(3);
  const here = rig.join('here', rig.door(AMD64));
  await here.granted;
  await sleep(1_500);
  // Its own build is no build of another load balancer.
  expect([await next.demand(AMD64), await elsewhere()]).toEqual([1, 3]);
  for (const [index, build] of running.entries()) {
    build.leave();
    await expect.poll(elsewhere, WAIT).toBe(2 - index);
  }
  await old.exited;
  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual([1, 1, 1, 1]);
});

/** Builders that refuse this load balancer because another one has a build there. */
async function builtElsewhere(balancer: LoadBalancer): Promise<number> {
  return await balancer.metric('haproxy_backend_agg_check_status', `proxy="builders_${AMD64}",state="L7STS"`);
}

test('certificates are rotated, leaf first, then the CA with an overlap, with builds running and waiting: 0 killed', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 4 }], tls: true });
  let balancer = await rig.startBalancer(11);
  const first = await rig.builderPair(AMD64);
  const standIns = await rig.startStandIns(AMD64, [0, 1], first);
  for (const { ordinal } of standIns) rig.announce(AMD64, ordinal);
  await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(2);
  const pairs = (): readonly KeyPair[] =>
    ['balancer', 'balancer-client', 'client', `builders-${AMD64}`].map((name) =>
      pairIn(join(rig.folder, name)),
    );
  const builds: Build[] = [];
  let pod = 11;

  /** One replacement with whatever files there are now, two builds running and two waiting; then the two waiting run. */
  const replace = async (what: string): Promise<void> => {
    for (const build of builds) if (build.state === 'building') build.leave();
    const [one, two, three, four] = joinTimes(4).map((joined, index) =>
      rig.join(`${what} ${index}`, rig.door(AMD64), joined),
    );
    const all = [one, two, three, four].filter((build) => build !== undefined);
    await expect.poll(() => all.filter(({ state }) => state === 'building').length, WAIT).toBe(2);
    await expect.poll(async () => (await balancer.counters(AMD64)).queued, WAIT).toBe(2);
    const running = all.filter(({ state }) => state === 'building');
    const waiting = all.filter(({ state }) => state === 'waiting');
    balancer.stopSoftly();
    const previous = balancer;
    pod += 1;
    balancer = await rig.startBalancer(pod);
    await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(2);
    await sleep(1_000);
    expect(
      running.map(({ state }) => state),
      what,
    ).toEqual(['building', 'building']);
    for (const build of running) build.leave();
    await expect.poll(() => waiting.map(({ state }) => state), WAIT).toEqual(['building', 'building']);
    await previous.exited;
    builds.push(...waiting);
  };
  /** Builders take their new files one at a time, when they are idle, as OnDelete does. */
  const replaceBuilders = async (): Promise<void> => {
    for (const build of builds) if (build.state === 'building') build.leave();
    for (const standIn of standIns) {
      await expect.poll(() => standIn.busy, WAIT).toBe(false);
      await standIn.replace(pairIn(join(rig.folder, `builders-${AMD64}`)));
    }
    await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(2);
  };

  await rig.reissue(rig.authority);
  await replace('new leaf at the load balancer');
  await replaceBuilders();
  await replace('new leaf at the builders');

  const nextAuthority = await makeAuthority(join(rig.folder, 'next-ca'), 'next CA');
  for (const pair of pairs()) await trust(pair, [rig.authority, nextAuthority]);
  await replace('both CAs trusted by the load balancer');
  await replaceBuilders();
  await rig.reissue(nextAuthority, [rig.authority, nextAuthority]);
  await replace('leaves of the new CA at the load balancer and its clients');
  await replaceBuilders();
  await replace('leaves of the new CA at the builders');
  for (const pair of pairs()) await trust(pair, [nextAuthority]);
  await replace('the old CA is forgotten');
  await replaceBuilders();
  const last = rig.join('after all', rig.door(AMD64));
  await last.granted;

  expect(standIns.map((standIn) => mostAtOnce(standIn))).toEqual([1, 1]);
  expect(builds.filter(({ state }) => state === 'lost')).toEqual([]);
  const old = await issue(rig.authority, join(rig.folder, 'left-over'), 'runner', []);
  await trust(old, [nextAuthority]);
  const refused = rig.join('with a certificate of the old CA', { ...rig.door(AMD64), pair: old });
  await expect.poll(() => balancer.refusals.length, WAIT).toBeGreaterThan(0);
  expect(refused.state).toBe('waiting');
});

function pairIn(folder: string): KeyPair {
  return {
    folder,
    certificatePath: join(folder, 'tls.crt'),
    keyPath: join(folder, 'tls.key'),
    caPath: join(folder, 'ca.crt'),
  };
}
