/** What becomes of a place when the builder dies as it is given the build: HAProxy queues the build again. */

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { backendName } from '../../src/pool/haproxy.ts';
import { CLASS_TICKS } from '../../src/pool/priority.ts';
import { placeToken } from '../../src/queue/token.ts';
import { greeting, Line, listen, startBalancer } from './line.ts';

test('a build whose builder died stays ahead of the next class', { timeout: 60_000 }, async () => {
  const balancer = await startBalancer(['mortal']);
  const gone = await listen(() => {});
  gone.close();
  try {
    balancer.setBuilder('mortal', true);
    const line = new Line(balancer, 'mortal');
    const blocker = await line.block();
    const server = `${backendName('mortal')}/b0`;
    const now = placeToken(Date.now());
    const first = now - (now % CLASS_TICKS) - 2 * CLASS_TICKS;
    for (const tick of [2, 0, 1, 3, CLASS_TICKS]) line.dial(String(tick), greeting(first + tick));
    await expect.poll(() => balancer.queued('mortal')).toBe(5);
    // The longer the wait, the farther the key moves: HAProxy keeps the offset of the arrival.
    await sleep(2_000);
    await balancer.ask(`set server ${server} addr 127.0.0.1 port ${gone.port}`);
    blocker.leave();
    await sleep(3_000);
    expect(line.served).toEqual([]);
    expect(await balancer.queued('mortal')).toBe(5);
    await balancer.ask(`set server ${server} addr 127.0.0.1 port ${balancer.builderPort}`);
    expect(await line.waitForServed(5, 20_000)).toEqual(['1', '2', '3', '0', String(CLASS_TICKS)]);
  } finally {
    await balancer.stop();
  }
});
