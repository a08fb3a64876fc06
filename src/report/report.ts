/** `report.json` of one build, version 1. Stable: documented in docs/reports.md. */
export interface Report {
  readonly schema: 'buildkit-pool/report/v1';
  readonly arch: string;
  /** As asked for with `platforms`; empty: the builder's own. */
  readonly platforms: readonly string[];
  readonly outcome: Outcome;
  /** ISO 8601 with milliseconds, like every time here. */
  readonly joined_at: string;
  /** The last builder's; null when none was ever ours. */
  readonly granted_at: string | null;
  readonly released_at: string | null;
  /** Joined to first granted, and for each rerun lost to granted again. */
  readonly queue_ms: number;
  readonly build_ms: number;
  readonly attempts: readonly Attempt[];
  /** How the builder is known to the person: the endpoint that led to it. */
  readonly builder: string;
  readonly fallback: boolean;
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
