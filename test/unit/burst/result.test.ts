import { expect, test } from 'vitest';
import { type BurstBuild, makeBurstResult } from '../../../src/burst/result.ts';
import type { ConnectionRecord } from '../../../src/local/connection-record.ts';

const START_MS = Date.parse('2026-01-01T00:00:00.000Z');
const iso = (ms: number) => new Date(START_MS + ms).toISOString();

function build(id: string, joined: number, granted: number, released: number): BurstBuild {
  return {
    id,
    schema: 'buildkit-pool/report/v1',
    arch: 'amd64',
    platforms: [],
    outcome: 'succeeded',
    joined_at: iso(joined),
    granted_at: iso(granted),
    released_at: iso(released),
    queue_ms: granted - joined,
    build_ms: released - granted,
    attempts: [],
    nodes: [],
    builder: 'tcp://127.0.0.1:1234',
    fallback: false,
  };
}

function record(
  server: string | null,
  place: number,
  times: readonly [number, number, number],
): ConnectionRecord {
  const [accepted, granted, released] = times;
  return {
    frontend: 'amd64',
    server,
    place,
    acceptedAtMs: START_MS + accepted,
    assignedAtMs: server === null ? null : START_MS + granted,
    grantedAtMs: server === null ? null : START_MS + granted,
    releasedAtMs: START_MS + released,
    termination: '--',
    receivedBytes: 0,
    sentBytes: 0,
  };
}

test('a burst of three builds on two builders', () => {
  const result = makeBurstResult({
    builds: [build('1', 0, 100, 1100), build('2', 10, 120, 1120), build('3', 20, 1110, 2110)],
    builders: [
      { arch: 'amd64', name: 'builder-0', ordinal: 0, address: '127.77.0.0:1234', atMs: START_MS },
      { arch: 'amd64', name: 'builder-1', ordinal: 1, address: '127.77.0.1:1234', atMs: START_MS },
      { arch: 'amd64', name: 'builder-1', ordinal: 1, address: '127.77.0.1:1234', atMs: START_MS + 5000 },
    ],
    records: [
      record('builder-0', 1, [0, 100, 1100]),
      record('builder-1', 2, [10, 120, 1120]),
      record('builder-0', 3, [20, 1104, 2110]),
      record(null, 4, [30, 0, 40]),
    ],
    samples: [
      { atMs: START_MS + 500, sessions: 3, liveClients: 3 },
      { atMs: START_MS + 1500, sessions: 1, liveClients: 1 },
    ],
    connections: 4,
  });
  expect(result).toMatchObject({
    schema: 'buildkit-pool/burst/v1',
    builders: [
      { name: 'builder-0', ready_at: iso(0), builds: 2 },
      { name: 'builder-1', ready_at: iso(0), builds: 1 },
    ],
    makespan_ms: 2110,
    ideal_ms: 2000,
    order_inversions: 0,
    handoff_ms: { p50: 4, p95: 4, max: 4 },
    demand_error: 0,
    ghosts: 0,
    failed: 0,
    connections: 4,
  });
});

test('a build that was not built has failed, and without a release it is in no time', () => {
  const lost = { ...build('1', 0, 0, 0), outcome: 'cancelled', granted_at: null, released_at: null } as const;
  const result = makeBurstResult({ builds: [lost], builders: [], records: [], samples: [], connections: 1 });
  expect(result).toMatchObject({ failed: 1, makespan_ms: 0, ideal_ms: 0, handoff_ms: null });
});
