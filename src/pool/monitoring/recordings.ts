/** Recording rules: what the alerts and the dashboard speak of, under this project's own names. */
import type { ArchitectureSizing, PoolSizing } from '../sizing/model.ts';
import { metric, seriesOf } from './series.ts';

/** Recorded series, each with the labels `namespace`, `pool` and `arch`. The unit is builds or builders. */
export const RECORDED = {
  demand: 'buildkit_pool:demand',
  waiting: 'buildkit_pool:waiting',
  busy: 'buildkit_pool:builders_busy',
  up: 'buildkit_pool:builders_up',
  idle: 'buildkit_pool:builders_idle',
  ready: 'buildkit_pool:builders_ready',
  wanted: 'buildkit_pool:builders_wanted',
  min: 'buildkit_pool:builders_min',
  max: 'buildkit_pool:builders_max',
} as const;

export interface RecordingRule {
  record: string;
  expr: string;
  labels: Record<string, string>;
}

/** In the order in which they must be evaluated: a later one may use an earlier one. */
export function recordingRules(pool: PoolSizing, architecture: ArchitectureSizing): RecordingRule[] {
  const series = seriesOf(pool, architecture);
  const labels = ruleLabels(pool, architecture);
  const [min, max] = limitsOf(architecture);
  const rule = (name: keyof typeof RECORDED, expr: string): RecordingRule => ({
    record: RECORDED[name],
    expr,
    labels: { ...labels },
  });
  return [
    rule('demand', series.demand),
    rule('waiting', series.waiting),
    rule('busy', `${recorded('demand', pool, architecture)} - ${recorded('waiting', pool, architecture)}`),
    rule('up', series.up),
    rule('idle', series.idle),
    rule('wanted', series.wanted),
    rule('ready', series.ready),
    rule('min', `vector(${min})`),
    rule('max', `vector(${max})`),
  ];
}

/** Fewest and most builders. A fixed pool has as many as it has. */
export function limitsOf(architecture: ArchitectureSizing): readonly [number, number] {
  const { autoscaler, replicas } = architecture;
  if (autoscaler !== null) {
    return [autoscaler.minReplicas.value, autoscaler.maxReplicas.value];
  }
  const fixed = replicas?.value ?? architecture.architecture.max;
  return [fixed, fixed];
}

export function ruleLabels(pool: PoolSizing, architecture: ArchitectureSizing): Record<string, string> {
  return { namespace: pool.names.namespace, pool: pool.pool.name, arch: architecture.name };
}

/** The recorded series of one architecture. */
export function recorded(
  name: keyof typeof RECORDED,
  pool: PoolSizing,
  architecture: ArchitectureSizing,
): string {
  return metric(RECORDED[name], ruleLabels(pool, architecture));
}
