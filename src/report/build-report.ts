import type { SessionPlan } from '../build/plan.ts';
import type { SessionResult } from '../build/story.ts';
import type { Report } from './report.ts';

/** The machine-readable report of a session. */
export function makeReport(plan: Pick<SessionPlan, 'nodes' | 'work'>, result: SessionResult): Report {
  return {
    schema: 'buildkit-pool/report/v1',
    arch: plan.nodes[0]?.arch ?? '',
    platforms: plan.work.platforms,
    outcome: result.outcome,
    joined_at: iso(result.joinedAtMs),
    granted_at: result.grantedAtMs === undefined ? null : iso(result.grantedAtMs),
    released_at: result.releasedAtMs === undefined ? null : iso(result.releasedAtMs),
    queue_ms: result.queueMs,
    build_ms: result.buildMs,
    attempts: result.timeline,
    nodes: result.nodes.map(({ arch, url, joinedAtMs, grantedAtMs, queueMs }) => ({
      arch,
      endpoint: url,
      joined_at: joinedAtMs === undefined ? null : iso(joinedAtMs),
      granted_at: grantedAtMs === undefined ? null : iso(grantedAtMs),
      queue_ms: queueMs,
    })),
    builder: result.local ? 'local' : plan.nodes.map(({ endpoint }) => endpoint.url).join(', '),
    fallback: result.local,
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
