/** Clients whose machine is gone: not a byte says so, only TCP keepalive finds out. Root and iptables; half a minute. */

import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { AMD64, joinTimes, Rig } from '../support/server-line.ts';

const WAIT = { timeout: 30_000, interval: 50 };
const run = promisify(execFile);

test('clients that vanish without a word, waiting or building, are found by keepalive and leave no ghost', async () => {
  await using rig = await Rig.open({ pools: [{ name: AMD64, ceiling: 1 }], tls: true });
  const keepalive = { idleSeconds: 3, intervalSeconds: 1, probes: 3 };
  const balancer = await rig.startBalancer(11, { keepalive });
  const [builder] = await rig.startStandIns(AMD64, [0]);
  rig.announce(AMD64, 0);
  await expect.poll(() => balancer.usable(AMD64), WAIT).toBe(1);
  const builds = joinTimes(4).map((joined, index) => rig.join(`${index}`, rig.door(AMD64), joined));
  await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(4);
  await expect.poll(() => builds.filter(({ state }) => state === 'building').length, WAIT).toBe(1);
  const building = builds.find(({ state }) => state === 'building');
  const waiting = builds.filter(({ state }) => state === 'waiting');
  const gone = [building, waiting[0], waiting[2]].filter((build) => build !== undefined);
  const rules = gone.flatMap(({ localPort }) =>
    (['--sport', '--dport'] as const).map((side) => [
      ...['OUTPUT', '-o', 'lo', '-p', 'tcp', side, `${localPort}`, '-j', 'DROP'],
    ]),
  );
  for (const rule of rules) await run('iptables', ['-I', ...rule]);
  try {
    for (const build of gone) build.leave();
    await sleep(1_000);
    expect(await balancer.demand(AMD64)).toBe(4);
    await expect.poll(() => waiting[1]?.state, WAIT).toBe('building');
    await expect.poll(() => balancer.demand(AMD64), WAIT).toBe(1);
    expect(builder?.stays.filter(({ to }) => to === null)).toHaveLength(1);
  } finally {
    for (const rule of rules) await run('iptables', ['-D', ...rule]);
  }
});
