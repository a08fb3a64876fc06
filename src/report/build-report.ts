import type { Plan } from '../build/plan.ts';
import type { SessionResult } from '../build/session.ts';
import type { Report } from './report.ts';

/** The machine-readable report of a session. */
export function makeReport(plan: Plan, result: SessionResult): Report {
  return {
    schema: 'buildkit-pool/report/v1',
    arch: plan.arch,
    platforms: plan.work.platforms,
    outcome: result.outcome,
    joined_at: iso(result.joinedAtMs),
    granted_at: result.grantedAtMs === undefined ? null : iso(result.grantedAtMs),
    released_at: result.releasedAtMs === undefined ? null : iso(result.releasedAtMs),
    queue_ms: result.queueMs,
    build_ms: result.buildMs,
    attempts: result.timeline,
    builder: plan.endpoint.url,
    fallback: false,
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
