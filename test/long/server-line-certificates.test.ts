/** Certificates of the load balancer, its clients and the builders are rotated with builds running and waiting. About a minute. */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { issue, type KeyPair, makeAuthority, trust } from '../support/certificates.ts';
import { AMD64, type Build, joinTimes, mostAtOnce, Rig } from '../support/server-line.ts';

const WAIT = { timeout: 30_000, interval: 50 };

test('certificates are rotated, leaf first, then the CA with an overlap, with builds running and waiting: 0 killed', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 4 }], tls: true });
  let balancer = await rig.startBalancer(11);
  const first = await rig.builderPair(AMD64);
  const standIns = await rig.startGatedStandIns(AMD64, [0, 1], first);
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
