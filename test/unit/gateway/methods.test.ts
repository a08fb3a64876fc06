import { describe, expect, it } from 'vitest';
import { MethodTracker, type MethodView } from '../../../src/gateway/methods.ts';
import { PingRelay } from '../../../src/gateway/ping-relay.ts';

const CONTROL = '/moby.buildkit.v1.Control/';
const BRIDGE = '/moby.buildkit.v1.frontend.LLBBridge/';

/** A tracker and what becomes of `solve` after each step: a number opens a stream, and so on. */
function follow() {
  const tracker = new MethodTracker();
  let next = 1;
  const open = (path: string, client = 1) => {
    const id = next;
    next += 2;
    tracker.opened(id, client, path);
    return id;
  };
  const call = (path: string, client = 1) => tracker.ended(open(path, client), 0);
  /** What buildx 0.36.1 sends ahead of a build. */
  const probe = (client = 1) => {
    call(`${CONTROL}ListWorkers`, client);
    open(`${CONTROL}Status`, client);
    open(`${CONTROL}Session`, client);
    const solve = open(`${CONTROL}Solve`, client);
    call(`${BRIDGE}Ping`, client);
    call(`${BRIDGE}Return`, client);
    tracker.ended(solve, 0);
  };
  const build = (client = 1) => {
    const solve = open(`${CONTROL}Solve`, client);
    call(`${BRIDGE}Ping`, client);
    call(`${BRIDGE}Solve`, client);
    return solve;
  };
  return { tracker, open, call, probe, build };
}

describe('the state of the build', () => {
  it('the probe of buildx is not the build', () => {
    const { tracker, probe, build } = follow();
    const seen = new Set<string>();
    tracker.onChange(({ solve }) => seen.add(solve));
    probe();
    tracker.settle();
    expect([tracker.solve, ...seen]).toEqual(['none']);
    const solve = build();
    expect(tracker.solve).toBe('sent');
    tracker.ended(solve, 0);
    expect([tracker.solve, tracker.solveStatus]).toEqual(['answered-ok', 0]);
  });

  it('a Solve after the probe is the build at once', () => {
    const { tracker, probe, open } = follow();
    probe();
    open(`${CONTROL}Solve`);
    expect(tracker.solve).toBe('sent');
  });

  it('buildctl has no probe', () => {
    const { tracker, build } = follow();
    const solve = build();
    expect(tracker.solve).toBe('sent');
    tracker.ended(solve, 2);
    expect([tracker.solve, tracker.solveStatus]).toEqual(['answered-error', 2]);
  });

  it('ready-made LLB has no bridge at all', () => {
    const { tracker, open } = follow();
    const solve = open(`${CONTROL}Solve`);
    expect(tracker.solve).toBe('sent');
    tracker.ended(solve, 0);
    expect(tracker.solve).toBe('answered-ok');
  });

  it('several builds of a bake: open until all are answered, failed if one has', () => {
    const { tracker, probe, build } = follow();
    probe();
    const [first, second, third] = [build(), build(), build()];
    tracker.ended(first, 2);
    expect(tracker.solve).toBe('sent');
    tracker.reset(second, 'client', 8);
    tracker.ended(third, 0);
    expect(tracker.solve).toBe('answered-error');
  });

  it('clients are told apart: the probe of one beside the build of another', () => {
    const { tracker, probe, build } = follow();
    const solve = build(1);
    tracker.ended(solve, 0);
    const running = build(1);
    probe(2);
    expect(tracker.solve).toBe('sent');
    tracker.ended(running, 0);
    expect(tracker.solve).toBe('answered-ok');
  });

  it('a Solve that the builder refused was never sent; a builder without a status has failed', () => {
    const { tracker, probe, build } = follow();
    probe();
    tracker.reset(build(), 'builder', 7);
    expect(tracker.solve).toBe('none');
    tracker.ended(build(), undefined);
    expect(tracker.solve).toBe('answered-error');
  });

  it('tells of changes only, and starts anew with another builder', () => {
    const { tracker, probe, build } = follow();
    const told: string[] = [];
    const stop = tracker.onChange((view: MethodView) =>
      told.push(`${view.solve} ${view.goaway} ${view.openStreams}`),
    );
    probe();
    tracker.settle();
    build();
    tracker.settle();
    tracker.settle();
    tracker.goawayReceived();
    tracker.settle();
    tracker.restart();
    stop();
    build();
    tracker.settle();
    expect(told).toEqual(['sent false 3', 'sent true 3', 'none false 0']);
  });
});

describe('the PINGs of several clients', () => {
  const ping = (client: string) => ({ client, payload: Buffer.alloc(8, client) });

  it('go to the builder one at a time, and only after it has spoken', () => {
    const relay = new PingRelay<string>();
    relay.ask(ping('a'));
    expect(relay.start()).toBe(true);
    relay.ask(ping('b'));
    relay.ask(ping('c'));
    relay.builderSpoke();
    expect(relay.start()).toBe(false);
    expect(relay.answered()).toEqual([ping('a')]);
    expect(relay.start()).toBe(false);
    relay.builderSpoke();
    expect(relay.start()).toBe(true);
    expect(relay.answered()).toEqual([ping('b'), ping('c')]);
  });

  it('are given back when there is nobody to answer them', () => {
    const relay = new PingRelay<string>();
    relay.ask(ping('a'));
    relay.start();
    relay.ask(ping('b'));
    expect(relay.giveUpWaiting()).toEqual([ping('b')]);
    relay.ask(ping('c'));
    expect(relay.giveUpAll()).toEqual([ping('a'), ping('c')]);
  });
});
