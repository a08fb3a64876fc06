import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  computeDemandError,
  computeIdealMakespan,
  countGhosts,
  countInversions,
  listHandoffs,
  type MeasuredBuild,
  measureMakespan,
  percentile,
  type ServedConnection,
  summarizeHandoffs,
} from '../../../src/burst/measure.ts';
import { PLACE_TICK_MS, placeToken } from '../../../src/queue/token.ts';

const durationMs = fc.integer({ min: 1, max: 60_000 });

interface Arrival {
  readonly joinedAtMs: number;
  readonly buildMs: number;
}
const arrival: fc.Arbitrary<Arrival> = fc.record({
  joinedAtMs: fc.integer({ min: 1_000_000, max: 1_100_000 }),
  buildMs: durationMs,
});
const readyTimes = fc.array(fc.integer({ min: 990_000, max: 1_050_000 }), { minLength: 1, maxLength: 6 });

/** A load balancer without any fault: first come, first served, by whichever builder is free first, after `handoffMs`. */
function serve(arrivals: readonly Arrival[], readyAtMs: readonly number[], handoffMs = 0) {
  const free = [...readyAtMs];
  return arrivals
    .toSorted((one, other) => one.joinedAtMs - other.joinedAtMs)
    .map(({ joinedAtMs, buildMs }) => {
      const earliest = Math.min(...free);
      const server = free.indexOf(earliest);
      const grantedAtMs = Math.max(earliest + handoffMs, joinedAtMs);
      free[server] = grantedAtMs + buildMs;
      return {
        server: `builder-${server}`,
        joinedAtMs,
        grantedAtMs,
        releasedAtMs: grantedAtMs + buildMs,
        buildMs,
      };
    });
}

const asConnection = (served: ReturnType<typeof serve>[number]): ServedConnection => ({
  server: served.server,
  place: placeToken(served.joinedAtMs),
  acceptedAtMs: served.joinedAtMs,
  assignedAtMs: served.grantedAtMs,
  grantedAtMs: served.grantedAtMs,
  releasedAtMs: served.releasedAtMs,
});

describe('the ideal makespan', () => {
  test('is what a load balancer without any fault reaches', () => {
    fc.assert(
      fc.property(fc.array(arrival, { minLength: 1, maxLength: 40 }), readyTimes, (arrivals, ready) => {
        const builds: readonly MeasuredBuild[] = serve(arrivals, ready);
        expect(computeIdealMakespan(builds, ready)).toBe(measureMakespan(builds));
      }),
    );
  });

  test('is shorter than the makespan when handing on takes time', () => {
    const arrivals = [0, 0, 0, 0].map((joinedAtMs) => ({ joinedAtMs, buildMs: 1000 }));
    const builds = serve(arrivals, [0, 0], 50);
    expect(computeIdealMakespan(builds, [0, 0])).toBe(2000);
    expect(measureMakespan(builds)).toBe(2100);
  });

  test('takes the builds in the order in which they joined, not in that of their length', () => {
    const builds = [
      { joinedAtMs: 0, grantedAtMs: 0, releasedAtMs: 10, buildMs: 10 },
      { joinedAtMs: 1, grantedAtMs: 1, releasedAtMs: 11, buildMs: 10 },
      { joinedAtMs: 2, grantedAtMs: 10, releasedAtMs: 30, buildMs: 20 },
    ];
    expect(computeIdealMakespan(builds, [0, 0])).toBe(30);
  });

  test('counts a builder from the moment it was ready', () => {
    const builds = [{ joinedAtMs: 0, grantedAtMs: 500, releasedAtMs: 600, buildMs: 100 }];
    expect(computeIdealMakespan(builds, [500])).toBe(600);
  });

  test('is 0 without builds', () => {
    expect(computeIdealMakespan([], [1])).toBe(0);
    expect(measureMakespan([])).toBe(0);
  });
});

describe('inversions', () => {
  test('a line in order has none', () => {
    fc.assert(
      fc.property(fc.array(arrival, { maxLength: 40 }), readyTimes, (arrivals, ready) => {
        expect(countInversions(serve(arrivals, ready).map(asConnection))).toBe(0);
      }),
    );
  });

  const connection = (place: number | null, assignedAtMs: number): ServedConnection => ({
    server: 'builder-0',
    place,
    // Later than all places below.
    acceptedAtMs: 2 ** 20 * PLACE_TICK_MS,
    assignedAtMs,
    grantedAtMs: assignedAtMs,
    releasedAtMs: assignedAtMs + 1,
  });

  test('a line served backwards has all of them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), (count) => {
        const backwards = Array.from({ length: count }, (_, index) => connection(index, 3 * (count - index)));
        expect(countInversions(backwards)).toBe((count * (count - 1)) / 2);
      }),
    );
  });

  test('does not depend on the order of the log', () => {
    const log = fc.array(fc.tuple(fc.nat(50), fc.nat(50)), { maxLength: 20 });
    fc.assert(
      fc.property(log, (pairs) => {
        const connections = pairs.map(([place, granted]) => connection(place, granted));
        expect(countInversions(connections.toReversed())).toBe(countInversions(connections));
      }),
    );
  });

  test('equal places are none; a build of which no place was seen is one with each of the others', () => {
    expect(countInversions([connection(7, 9), connection(7, 1)])).toBe(0);
    // The log's own rounding.
    expect(countInversions([connection(7, 3), connection(8, 1)])).toBe(0);
    expect(countInversions([connection(7, 4), connection(8, 1)])).toBe(1);
    expect(countInversions([connection(7, 2), connection(8, 3), connection(null, 0)])).toBe(2);
  });

  test('a place later than the arrival counts as the arrival, as it does in the line', () => {
    const early = { ...connection(1_000, 900), acceptedAtMs: 1_000 * PLACE_TICK_MS };
    const hasty = { ...connection(1_001, 500), acceptedAtMs: 1_001 * PLACE_TICK_MS - 30 };
    expect(countInversions([early, hasty])).toBe(0);
    expect(countInversions([early, { ...hasty, acceptedAtMs: 1_001 * PLACE_TICK_MS }])).toBe(1);
  });

  test('a place after the counter has wrapped comes after one before', () => {
    expect(countInversions([connection(0xffff_ffff, 1), connection(0, 2)])).toBe(0);
    expect(countInversions([connection(0xffff_ffff, 9), connection(0, 1)])).toBe(1);
  });
});

describe('handoffs', () => {
  test('are exactly the time that each handing on took', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 30 }), fc.integer({ min: 0, max: 500 }), (count, handoffMs) => {
        const arrivals = Array.from({ length: count }, () => ({ joinedAtMs: 1000, buildMs: 5000 }));
        const handoffs = listHandoffs(serve(arrivals, [0], handoffMs).map(asConnection));
        expect(handoffs).toEqual(Array.from({ length: count - 1 }, () => handoffMs));
      }),
    );
  });

  test('a builder that waited for a build is none', () => {
    const arrivals = [0, 10_000].map((joinedAtMs) => ({ joinedAtMs, buildMs: 1000 }));
    const handoffs = listHandoffs(serve(arrivals, [0]).map(asConnection));
    expect(handoffs).toEqual([]);
    expect(summarizeHandoffs(handoffs)).toBeNull();
  });

  test('percentiles are by nearest rank', () => {
    const sorted = Array.from({ length: 20 }, (_, index) => index + 1);
    expect(percentile(sorted, 50)).toBe(10);
    expect(percentile(sorted, 95)).toBe(19);
    expect(summarizeHandoffs([4])).toEqual({ p50: 4, p95: 4, max: 4 });
  });
});

describe('the demand error', () => {
  const build: MeasuredBuild = { joinedAtMs: 0, grantedAtMs: 500, releasedAtMs: 1000, buildMs: 500 };
  const sample = (atMs: number, sessions: number) => ({ atMs, sessions, liveClients: 1 });

  test('is 0 when each sample is the truth', () => {
    fc.assert(
      fc.property(fc.array(arrival, { minLength: 1, maxLength: 20 }), readyTimes, (arrivals, ready) => {
        const builds = serve(arrivals, ready);
        const samples = Array.from({ length: 50 }, (_, index) => {
          const atMs = 1_000_000 + index * 2500;
          const sessions = builds.filter((one) => one.joinedAtMs <= atMs && atMs < one.releasedAtMs).length;
          return { atMs, sessions, liveClients: sessions };
        });
        expect(computeDemandError(samples, builds)).toBe(0);
      }),
    );
  });

  test('is 1 when every build is missed at every look', () => {
    expect(computeDemandError([sample(1, 0), sample(2, 0)], [build])).toBe(1);
  });

  test('counts what is too much like what is too little', () => {
    expect(computeDemandError([sample(1, 2), sample(2, 0)], [build])).toBe(1);
  });
});

describe('ghosts', () => {
  const sample = (sessions: number, liveClients: number) => ({ atMs: 0, sessions, liveClients });

  test('are connections without a client in two samples in a row', () => {
    expect(countGhosts([sample(5, 5), sample(5, 3), sample(4, 3), sample(3, 3)])).toBe(1);
  });

  test('a client that ends just then is none', () => {
    expect(countGhosts([sample(5, 5), sample(5, 4), sample(4, 4), sample(4, 3)])).toBe(0);
  });
});
