/** What a waiting build's person is told about its line, from the load balancer's own counters. */
import type { PoolProxies } from './document.ts';
import { parseMetrics } from './metrics.ts';

/** One line at one moment. */
export interface LineSample {
  /** Builds that wait. */
  readonly queued: number;
  /** Builds that wait or are being built. */
  readonly demand: number;
  /** Builders that build. */
  readonly busy: number;
  /** Builders that the load balancer uses. */
  readonly ready: number;
  /** Builds that have ever come, since the load balancer started. */
  readonly arrivals: number;
}

/** One server line and one session of every backend are the load balancer's own (see the placeholder in haproxy.ts). */
const OWN = 1;

/** Undefined when the page does not tell of this line. */
export function readLine(page: string, { frontend, backend }: PoolProxies): LineSample | undefined {
  const values = new Map<string, number>();
  for (const { name, labels, value } of parseMetrics(page)) {
    const proxy = labels.get('proxy');
    if (labels.size === 1 && (proxy === frontend || proxy === backend)) values.set(`${name} ${proxy}`, value);
  }
  const queued = values.get(`haproxy_backend_current_queue ${backend}`);
  const sessions = values.get(`haproxy_backend_current_sessions ${backend}`);
  const servers = values.get(`haproxy_backend_active_servers ${backend}`);
  const demand = values.get(`haproxy_frontend_current_sessions ${frontend}`);
  const arrivals = values.get(`haproxy_frontend_sessions_total ${frontend}`);
  const all = [queued, sessions, servers, demand, arrivals];
  if (
    queued === undefined ||
    sessions === undefined ||
    servers === undefined ||
    demand === undefined ||
    arrivals === undefined ||
    !all.every(Number.isFinite)
  ) {
    return undefined;
  }
  return {
    queued,
    demand,
    busy: Math.max(sessions - queued - OWN, 0),
    ready: Math.max(servers - OWN, 0),
    arrivals,
  };
}

/**
 * The place of a build that looks at its line again and again, first when it has just joined. The line is served in the
 * order of joining: of those who wait, all who came later are behind it, so it stands at the number of waiting builds
 * less the number of arrivals since. "About", because some of those may have gone again, or have come back to a place
 * ahead.
 */
export class LinePosition {
  #last: { readonly position: number; readonly arrivals: number; readonly base: number } | undefined;

  /** 1 is next. */
  see({ queued, arrivals }: LineSample): number {
    const last = this.#last;
    // A load balancer that was replaced counts from the beginning.
    const base = last === undefined || arrivals < last.arrivals ? arrivals : last.base;
    const most = last === undefined ? queued : Math.min(queued, last.position);
    const position = Math.max(Math.min(queued - (arrivals - base), most), 1);
    this.#last = { position, arrivals, base };
    return position;
  }
}

/** `about 4th in line · 8 of 8 builders busy, 2 more starting`. `maxBuilders` undefined: unknown. */
export function describeLine(sample: LineSample, position: number, maxBuilders: number | undefined): string {
  const starting = Math.max(Math.min(maxBuilders ?? sample.ready, sample.demand) - sample.ready, 0);
  const builders = sample.ready === 0 ? 'no builder yet' : `${sample.busy} of ${sample.ready} builders busy`;
  return `about ${ordinal(position)} in line · ${builders}${starting > 0 ? `, ${starting} more starting` : ''}`;
}

function ordinal(number: number): string {
  const tens = number % 100;
  const suffix = tens >= 11 && tens <= 13 ? 'th' : (['th', 'st', 'nd', 'rd'][number % 10] ?? 'th');
  return `${number}${suffix}`;
}
