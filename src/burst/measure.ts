/** The arithmetic of a burst's results. Pure; docs/reports.md explains each number to people. */
import { placeToken } from '../queue/token.ts';
import type { Report } from '../report/report.ts';

/** A build as it counts here; times in ms since the epoch. */
export interface MeasuredBuild {
  readonly joinedAtMs: number;
  /** Null: it never had a builder. */
  readonly grantedAtMs: number | null;
  readonly releasedAtMs: number;
  /** How long it had its builder. */
  readonly buildMs: number;
}

/** One connection that had a builder, by the load balancer's own log. */
export interface ServedConnection {
  readonly server: string;
  readonly place: number | null;
  readonly acceptedAtMs: number;
  /** When it left the line for its builder. */
  readonly assignedAtMs: number;
  /** When its connection to the builder stood. */
  readonly grantedAtMs: number;
  readonly releasedAtMs: number;
}

export interface DemandSample {
  readonly atMs: number;
  /** Connections the load balancer says it holds. */
  readonly sessions: number;
  /** Processes that could hold one: builds whose Action has not ended. */
  readonly liveClients: number;
}

export interface HandoffTimes {
  readonly p50: number;
  readonly p95: number;
  readonly max: number;
}

/** Null for a build that never ended by itself. Throws on a time that is none. */
export function measureBuild(report: Report): MeasuredBuild | null {
  return report.released_at === null
    ? null
    : {
        joinedAtMs: parseTime(report.joined_at),
        grantedAtMs: report.granted_at === null ? null : parseTime(report.granted_at),
        releasedAtMs: parseTime(report.released_at),
        buildMs: report.build_ms,
      };
}

function parseTime(text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) {
    throw new Error(`Expected a time in ISO 8601, got \`${text}\``);
  }
  return time;
}

/** From the first that joined to the last that was released; 0 without builds. */
export function measureMakespan(builds: readonly MeasuredBuild[]): number {
  return builds.length === 0
    ? 0
    : Math.max(...builds.map(({ releasedAtMs }) => releasedAtMs)) - firstJoined(builds);
}

function firstJoined(builds: readonly MeasuredBuild[]): number {
  return Math.min(...builds.map(({ joinedAtMs }) => joinedAtMs));
}

/**
 * The makespan with no time lost: the same builds in the order in which they joined, each taken by whichever builder is
 * free first, without a gap, for as long as it was really built. A builder is free from the moment it was ready.
 */
export function computeIdealMakespan(
  builds: readonly MeasuredBuild[],
  builderReadyAtMs: readonly number[],
): number {
  if (builds.length === 0 || builderReadyAtMs.length === 0) {
    return 0;
  }
  const free = [...builderReadyAtMs];
  let endMs = Number.NEGATIVE_INFINITY;
  for (const build of builds.toSorted((one, other) => one.joinedAtMs - other.joinedAtMs)) {
    const earliestMs = Math.min(...free);
    const doneMs = Math.max(earliestMs, build.joinedAtMs) + build.buildMs;
    free[free.indexOf(earliestMs)] = doneMs;
    endMs = Math.max(endMs, doneMs);
  }
  return endMs - firstJoined(builds);
}

/** A time in the load balancer's log is a sum of whole milliseconds: two of them so close may be one moment. */
const ROUNDING_MS = 2;

/**
 * Pairs that were served in another order than that of their places. Places are 32-bit counters that may wrap; equal ones
 * are no inversion, nor are builds served at the same moment, as far as the log can tell. Every build has a place: where
 * the load balancer saw none, no order was kept, and each pair of that build's counts.
 */
export function countInversions(connections: readonly ServedConnection[]): number {
  let inversions = 0;
  connections.forEach((one, index) => {
    for (const other of connections.slice(index + 1)) {
      const [onePlace, otherPlace] = [placeThatCounts(one), placeThatCounts(other)];
      if (onePlace === null || otherPlace === null) {
        inversions += 1;
      } else {
        const places = comparePlaces(onePlace, otherPlace);
        const apartMs = one.assignedAtMs - other.assignedAtMs;
        inversions += places * apartMs < 0 && Math.abs(apartMs) > ROUNDING_MS ? 1 : 0;
      }
    }
  });
  return inversions;
}

/**
 * The load balancer takes a place later than the arrival for the arrival (src/pool/priority.ts): a client that was slow
 * to notice that its connection stands may say a tick too much.
 */
function placeThatCounts({ place, acceptedAtMs }: ServedConnection): number | null {
  const arrival = placeToken(acceptedAtMs);
  return place !== null && comparePlaces(place, arrival) > 0 ? arrival : place;
}

/** Negative when `one` joined before `other`: serial number arithmetic of 32 bits, as in RFC 1982. */
export function comparePlaces(one: number, other: number): number {
  return Math.sign((one - other) | 0);
}

/**
 * For each builder that was released while the build it took next was already waiting: the time in between, in ms.
 * Sorted upwards.
 */
export function listHandoffs(connections: readonly ServedConnection[]): readonly number[] {
  const byServer = Map.groupBy(connections, ({ server }) => server);
  return [...byServer.values()]
    .flatMap((served) => {
      const ordered = served.toSorted((one, other) => one.grantedAtMs - other.grantedAtMs);
      return ordered.flatMap((next, index) => {
        const previous = ordered[index - 1];
        const waited = previous !== undefined && next.acceptedAtMs <= previous.releasedAtMs;
        return waited ? [Math.max(next.grantedAtMs - previous.releasedAtMs, 0)] : [];
      });
    })
    .sort((one, other) => one - other);
}

/** Null when nobody ever waited for a builder that another had. */
export function summarizeHandoffs(handoffsMs: readonly number[]): HandoffTimes | null {
  const max = handoffsMs.at(-1);
  return max === undefined ? null : { p50: percentile(handoffsMs, 50), p95: percentile(handoffsMs, 95), max };
}

/** Of values sorted upwards, by nearest rank; NaN of none. */
export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.max(Math.ceil((percent / 100) * sorted.length) - 1, 0)] ?? Number.NaN;
}

/**
 * Mean of |sessions - builds waiting or building| over all samples, as a part of the number of builds: 0 means that the
 * load signal was the demand at every look. 0 without samples.
 */
export function computeDemandError(
  samples: readonly DemandSample[],
  builds: readonly MeasuredBuild[],
): number {
  if (samples.length === 0 || builds.length === 0) {
    return 0;
  }
  const errors = samples.map(({ atMs, sessions }) => {
    const truth = builds.filter(
      ({ joinedAtMs, releasedAtMs }) => joinedAtMs <= atMs && atMs < releasedAtMs,
    ).length;
    return Math.abs(sessions - truth);
  });
  return errors.reduce((sum, error) => sum + error, 0) / samples.length / builds.length;
}

/**
 * The most connections at one time that the load balancer held without a live client. One sample is not enough: a client
 * that ends just then is still counted for a moment. So it is what two samples in a row agree on.
 */
export function countGhosts(samples: readonly DemandSample[]): number {
  const surplus = samples.map(({ sessions, liveClients }) => Math.max(sessions - liveClients, 0));
  return surplus.reduce((ghosts, now, index) => Math.max(ghosts, Math.min(now, surplus[index - 1] ?? 0)), 0);
}
