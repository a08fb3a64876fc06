/**
 * The one moment at which the order is not exact, met on purpose: HAProxy starts to read a class in its middle for
 * about a second (two minutes before HAProxy 3.1), 1044 s after the class began and every 1049 s from then on. Proves
 * that the arithmetic of the unit tests is HAProxy's own. Up to five minutes, most of it waiting for the right moment;
 * HAPROXY chooses the program.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { CLASS_TICKS, KEY_MARGIN_MS } from '../../src/pool/priority.ts';
import { PLACE_TICK_MS } from '../../src/queue/token.ts';
import { greeting, Line, shuffled, startBalancer } from './line.ts';

const CLASS_MS = CLASS_TICKS * PLACE_TICK_MS;
const TURN_MS = 2 ** 20;
const LINES = ['before', 'early', 'middle', 'late', 'after'];

test('a class is read from its middle for a bounded time only', { timeout: 8 * 60_000 }, async () => {
  const balancer = await startBalancer(LINES);
  try {
    const passageMs = CLASS_TICKS * (await balancer.keyStepMs());
    for (const line of LINES) balancer.setBuilder(line, true);
    const lines = LINES.map((name) => new Line(balancer, name));
    const blockers = await Promise.all(lines.map((line) => line.block()));
    // The class that is passed next: its passage begins a turn after its beginning, less the margin.
    const soon = Date.now() + 10_000 + KEY_MARGIN_MS;
    const passage = soon - (soon % CLASS_MS) + CLASS_MS - KEY_MARGIN_MS;
    const firstToken = ((passage + KEY_MARGIN_MS - TURN_MS) / PLACE_TICK_MS) % 2 ** 32;
    const ticks = Array.from({ length: 16 }, (_, index) => index * 32);
    for (const [index, line] of lines.entries()) {
      for (const tick of shuffled(ticks, index)) line.dial(String(tick), greeting(firstToken + tick));
    }
    const releases = [-500, passageMs * 0.3, passageMs * 0.5, passageMs * 0.7, passageMs + 100];
    for (const [index, release] of releases.entries()) {
      await sleep(Math.max(0, passage + release - Date.now()));
      blockers[index]?.leave();
    }
    const first = [];
    for (const line of lines) first.push(Number((await line.waitForServed(ticks.length, 10_000))[0]));
    const [before, early, middle, late, after] = first;
    expect([before, after]).toEqual([0, 0]);
    expect(lines.at(-1)?.served).toEqual(ticks.map(String));
    // The tick whose key is reached at the release, up to the few milliseconds that the release takes.
    for (const [found, share] of [
      [early, 0.3],
      [middle, 0.5],
      [late, 0.7],
    ] as const) {
      expect(found).toBeGreaterThan(CLASS_TICKS * share - 1);
      expect(found).toBeLessThan(CLASS_TICKS * (share + 0.1) + 32);
    }
    console.log(`first served before, during and after the passage: ${first.join(', ')} of 0 to 480`);
  } finally {
    await balancer.stop();
  }
});
