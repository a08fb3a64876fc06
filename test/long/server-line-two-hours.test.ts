/**
 * Clients that have waited as long as the Action waits by default, and then go: some say so, some vanish without a
 * word. With the generated keepalive, under TLS, both at a busy builder and at no builder at all. Idle, and root and
 * iptables. About two hours and ten minutes.
 */

import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { AMD64, ARM64, joinTimes, Rig, servedOrder } from '../support/server-line.ts';

const HOUR = 3_600_000;
const WAIT = { timeout: 30_000, interval: 50 };
/** The generated keepalive gives up after 30 s and six probes 10 s apart. */
const KEEPALIVE_WAIT = { timeout: 270_000, interval: 500 };
const run = promisify(execFile);

test('clients gone after two hours of waiting leave no ghost', { timeout: 3 * HOUR }, async () => {
  await using rig = await Rig.open({
    pools: [
      { name: AMD64, ceiling: 2 },
      { name: ARM64, ceiling: 2 },
    ],
    tls: true,
  });
  const balancer = await rig.startBalancer();
  const [builder] = await rig.startStandIns(AMD64, [0]);
  rig.announce(AMD64, 0);
  await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(1);
  const holder = rig.join('holder', rig.door(AMD64));
  await holder.granted;
  const busy = joinTimes(6).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  const held = joinTimes(6).map((joined, index) => rig.join(`${index}`, rig.sharedDoor(ARM64), joined));
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(7);
  await expect.poll(() => balancer.demand(ARM64), WAIT).toBe(6);

  await sleep(2 * HOUR);

  // Not one has been disturbed in all that time, nor has anybody else been let in.
  for (const build of [...busy, ...held]) expect([build.state, build.dials]).toEqual(['waiting', 1]);
  expect(holder.state).toBe('building');
  expect(await balancer.demand(AMD64)).toBe(7);
  expect(await balancer.demand(ARM64)).toBe(6);

  for (const line of [busy, held]) line[1]?.leave();
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(6);
  await expect.poll(() => balancer.demand(ARM64), WAIT).toBe(5);

  const vanishing = [busy[0], busy[3], held[0], held[3]].filter((build) => build !== undefined);
  const rules = vanishing.flatMap(({ localPort }) =>
    (['--sport', '--dport'] as const).map((side) => [
      ...['OUTPUT', '-o', 'lo', '-p', 'tcp', side, `${localPort}`, '-j', 'DROP'],
    ]),
  );
  for (const rule of rules) await run('iptables', ['-I', ...rule]);
  try {
    for (const build of vanishing) build.leave();
    await sleep(1_000);
    expect(await balancer.demand(AMD64)).toBe(6);
    await expect.poll(() => balancer.demand(AMD64), KEEPALIVE_WAIT).toBe(4);
    await expect.poll(() => balancer.demand(ARM64), KEEPALIVE_WAIT).toBe(3);
  } finally {
    for (const rule of rules) await run('iptables', ['-D', ...rule]);
  }

  // The builder goes to those who stayed, in their order, and to no ghost.
  holder.leave();
  for (const name of ['2', '4', '5']) {
    await expect.poll(() => servedOrder(busy).at(-1), WAIT).toBe(name);
    busy[Number(name)]?.leave();
  }
  expect(servedOrder(busy)).toEqual(['2', '4', '5']);
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(0);
  expect(builder?.stays).toHaveLength(4);

  const [late] = await rig.startStandIns(ARM64, [0]);
  rig.announce(ARM64, 0);
  for (const name of ['2', '4', '5']) {
    await expect.poll(() => servedOrder(held).at(-1), WAIT).toBe(name);
    held[Number(name)]?.leave();
  }
  await expect.poll(() => balancer.demand(ARM64), WAIT).toBe(0);
  expect(late?.stays).toHaveLength(3);
});
