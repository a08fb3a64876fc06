import type { ConnectionRecord } from '../local/connection-record.ts';
import type { PoolBuilder } from '../local/pool.ts';
import type { Report } from '../report/report.ts';
import {
  computeDemandError,
  computeIdealMakespan,
  countGhosts,
  countInversions,
  type DemandSample,
  type HandoffTimes,
  listHandoffs,
  measureBuild,
  measureMakespan,
  type ServedConnection,
  summarizeHandoffs,
} from './measure.ts';

/** `burst.json`, version 1. Stable: documented in docs/reports.md. */
export interface BurstResult {
  readonly schema: 'buildkit-pool/burst/v1';
  readonly builds: readonly BurstBuild[];
  readonly builders: readonly BurstBuilder[];
  /** First joined to last released. */
  readonly makespan_ms: number;
  readonly ideal_ms: number;
  readonly order_inversions: number;
  /** Null when nobody ever waited for a builder that another had. */
  readonly handoff_ms: HandoffTimes | null;
  readonly demand_error: number;
  readonly ghosts: number;
  readonly failed: number;
  /** The load balancer's own count of connections: one a build. */
  readonly connections: number;
}

export interface BurstBuild extends Report {
  readonly id: string;
}

export interface BurstBuilder {
  readonly name: string;
  /** ISO 8601; the first time, for a builder that came more than once. */
  readonly ready_at: string;
  /** How many it served, by the load balancer's log. */
  readonly builds: number;
}

/** What was seen while the builds ran. */
export interface BurstObservations {
  readonly builds: readonly BurstBuild[];
  /** In the order in which they became ready. */
  readonly builders: readonly PoolBuilder[];
  readonly records: readonly ConnectionRecord[];
  readonly samples: readonly DemandSample[];
  readonly connections: number;
}

export function makeBurstResult(seen: BurstObservations): BurstResult {
  const builds = seen.builds.flatMap((build) => measureBuild(build) ?? []);
  const served = seen.records.flatMap((record) => describeServed(record) ?? []);
  const firsts = [...Map.groupBy(seen.builders, ({ name }) => name).values()].flatMap((lives) =>
    lives.slice(0, 1),
  );
  return {
    schema: 'buildkit-pool/burst/v1',
    builds: seen.builds,
    builders: firsts.map(({ name, atMs }) => ({
      name,
      ready_at: new Date(atMs).toISOString(),
      builds: served.filter(({ server }) => server === name).length,
    })),
    makespan_ms: measureMakespan(builds),
    ideal_ms: computeIdealMakespan(
      builds,
      firsts.map(({ atMs }) => atMs),
    ),
    order_inversions: countInversions(served),
    handoff_ms: summarizeHandoffs(listHandoffs(served)),
    demand_error: computeDemandError(seen.samples, builds),
    ghosts: countGhosts(seen.samples),
    failed: seen.builds.filter(({ outcome }) => outcome !== 'succeeded').length,
    connections: seen.connections,
  };
}

function describeServed(record: ConnectionRecord): ServedConnection | null {
  const { server, assignedAtMs, grantedAtMs } = record;
  return server === null || assignedAtMs === null || grantedAtMs === null
    ? null
    : { ...record, server, assignedAtMs, grantedAtMs };
}
