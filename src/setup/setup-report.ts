import { formatDuration } from '../action/duration.ts';
import type { Hold } from './line-order.ts';

/** `report.json` of a set-up step, version 1. Written anew at every change, so that later steps can read it. */
export interface SetupReport {
  readonly schema: 'buildkit-pool/setup-report/v1';
  /** Of buildx. */
  readonly builder: string;
  readonly hold: Hold;
  /** Whether everything has been given back. */
  readonly over: boolean;
  /** All lines together, ms. */
  readonly queue_ms: number;
  readonly builds: BuildTotals;
  readonly lines: readonly LineReport[];
}

export interface LineReport {
  readonly arch: string;
  readonly endpoint: string;
  readonly queue_ms: number;
  readonly builds: BuildTotals;
  /** The last 100 at most. */
  readonly waits: readonly WaitReport[];
}

/** One time in line, and the builder that came of it. Times are ISO 8601 with milliseconds. */
export interface WaitReport {
  readonly joined_at: string;
  /** null when no builder came of it. */
  readonly granted_at: string | null;
  /** null while the builder is ours. */
  readonly released_at: string | null;
  readonly queue_ms: number;
  readonly outcome: WaitOutcome;
  /** For a person; empty when there is nothing to say. */
  readonly reason: string;
  readonly builds: BuildTotals;
}

/**
 * - `waiting`: still in line. `held`: the builder is ours.
 * - `released`: given back when it was no longer needed. `lost`: the builder went away.
 * - `given-up`: the clients left before a builder came. `set-aside`: taken again later, for the sake of the order.
 * - `queue-timeout`, `unreachable`: no builder.
 */
export type WaitOutcome =
  | 'waiting'
  | 'held'
  | 'released'
  | 'lost'
  | 'given-up'
  | 'set-aside'
  | 'queue-timeout'
  | 'unreachable';

/** `lost`: begun, and not answered when the builder went away. */
export interface BuildTotals {
  readonly succeeded: number;
  readonly failed: number;
  readonly lost: number;
}

export const NO_BUILDS: BuildTotals = { succeeded: 0, failed: 0, lost: 0 };

export function addBuilds(all: readonly BuildTotals[]): BuildTotals {
  return all.reduce(
    (sum, one) => ({
      succeeded: sum.succeeded + one.succeeded,
      failed: sum.failed + one.failed,
      lost: sum.lost + one.lost,
    }),
    NO_BUILDS,
  );
}

/** The job summary of a set-up step, in GitHub's Markdown. */
export function renderSetupSummary(report: SetupReport): string {
  const rows = report.lines.map((line) =>
    [
      line.arch,
      formatDuration(line.queue_ms),
      String(line.waits.length),
      describeBuilds(line.builds),
      `\`${line.endpoint}\``,
    ].join(' | '),
  );
  return [
    `### Pool builder \`${report.builder}\``,
    '',
    '| architecture | queued | times in line | builds | pool |',
    '| --- | --- | --- | --- | --- |',
    ...rows.map((row) => `| ${row} |`),
    '',
  ].join('\n');
}

/** For instance `3 succeeded, 1 failed`. */
export function describeBuilds({ succeeded, failed, lost }: BuildTotals): string {
  const parts = [
    ...(succeeded > 0 || failed + lost === 0 ? [`${succeeded} succeeded`] : []),
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(lost > 0 ? [`${lost} lost their builder`] : []),
  ];
  return parts.join(', ');
}
