import { setTimeout as sleep } from 'node:timers/promises';
import type { Arch } from '../build/architecture.ts';
import type { Plan } from '../build/plan.ts';
import { describeLine, LinePosition } from '../pool-document/line-view.ts';
import { loadPoolClient } from '../pool-document/load-client.ts';

/** Until the load balancer counts us: it reads the place first, and behind TLS the handshake comes before that. */
const JOINING_MS = 1_000;
/** Signs of life that are due every 15 s come a little early or late. */
const SLACK_MS = 500;

/** Looks at the lines of a plan for people who wait in them; undefined where the pool does not show them. */
export function watchLines(
  plan: Plan,
  signal: AbortSignal,
): ((arch: Arch) => Promise<string | undefined>) | undefined {
  const { metrics } = plan;
  if (metrics === undefined) return undefined;
  const positions = new Map<Arch, LinePosition>();
  const lookedAtMs = new Map<Arch, number>();
  return async (arch) => {
    const node = plan.nodes.find((planned) => planned.arch === arch);
    const sinceMs = Date.now() - (lookedAtMs.get(arch) ?? 0);
    if (node?.proxies === undefined || sinceMs < metrics.interval_s * 1000 - SLACK_MS) return undefined;
    lookedAtMs.set(arch, Date.now());
    const position = positions.get(arch) ?? new LinePosition();
    try {
      // Counted before we are, we would be one of those who came after us.
      if (!positions.has(arch)) await sleep(JOINING_MS, undefined, { signal });
      positions.set(arch, position);
      const { fetchLine } = await loadPoolClient();
      const sample = await fetchLine(metrics.url, node.tls?.ca, node.proxies, signal);
      return sample === undefined ? undefined : describeLine(sample, position.see(sample), node.maxBuilders);
    } catch {
      // The wait goes on whether or not it can be watched.
      return undefined;
    }
  };
}
