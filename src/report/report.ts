/** `report.json` of one build, version 1. Stable: documented in docs/reports.md. */
export interface Report {
  readonly schema: 'buildkit-pool/report/v1';
  /** The builder's; with several, the first one's. */
  readonly arch: string;
  /** As asked for with `platforms`; empty: the builder's own. */
  readonly platforms: readonly string[];
  readonly outcome: Outcome;
  /** ISO 8601 with milliseconds, like every time here. */
  readonly joined_at: string;
  /** When the last builder, or set of builders, was ours; null when none ever was. */
  readonly granted_at: string | null;
  readonly released_at: string | null;
  /** Joined to first granted, and for each rerun lost to granted again. */
  readonly queue_ms: number;
  readonly build_ms: number;
  readonly attempts: readonly Attempt[];
  /** One for each architecture, in the order in which their places were taken. */
  readonly nodes: readonly ReportedNode[];
  /** How the builder is known to the person: the endpoint that led to it (several: separated by commas), or `local`. */
  readonly builder: string;
  /** Whether this machine's own engine built, because the pool could not be had. */
  readonly fallback: boolean;
}

/** The wait for the builder of one architecture. */
export interface ReportedNode {
  readonly arch: string;
  readonly endpoint: string;
  /** When its line was joined; null: it came to nothing before. The place is the build's own `joined_at` in every line. */
  readonly joined_at: string | null;
  /** Until the report's own `granted_at` the builder was held while others were waited for. */
  readonly granted_at: string | null;
  readonly queue_ms: number;
}

export const OUTCOMES = [
  'succeeded',
  'failed',
  'cancelled',
  'queue-timeout',
  'unreachable',
  'builder-lost',
] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** One step of a build's way through the pool: when it entered a phase, and why. */
export interface Attempt {
  readonly phase: 'dialling' | 'queued' | 'building' | 'done';
  readonly at: string;
  readonly reason: string;
}
