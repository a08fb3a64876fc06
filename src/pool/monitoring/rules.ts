/** The content of a pool's PrometheusRule. */
import type { PoolSizing } from '../sizing/model.ts';
import { type AlertRule, architectureAlerts, poolAlerts } from './alerts.ts';
import { type RecordingRule, recordingRules } from './recordings.ts';

export interface RuleGroup {
  name: string;
  rules: (AlertRule | RecordingRule)[];
}

/** `spec.groups`, one group an architecture and one for the pool; the same object is a Prometheus rule file. */
export function ruleGroups(pool: PoolSizing): RuleGroup[] {
  const prefix = `buildkit-pool.${pool.names.namespace}.${pool.pool.name}`;
  return [
    ...pool.architectures.map((architecture) => ({
      name: `${prefix}.${architecture.name}`,
      rules: [...recordingRules(pool, architecture), ...architectureAlerts(pool, architecture)],
    })),
    { name: prefix, rules: poolAlerts(pool) },
  ];
}
