/** From max to min: how long it takes once nothing is built, and what stands idle meanwhile. */
import { formatDuration } from '../../action/duration.ts';
import type { Architecture } from '../config/model.ts';
import { derived, HOUR_MS } from './derived.ts';
import type { AutoscalerSizing, NodePoolsSizing, ShrinkSizing } from './model.ts';

export function sizeShrink(
  architecture: Architecture,
  autoscaler: AutoscalerSizing,
  nodePools: NodePoolsSizing | null,
): ShrinkSizing {
  const { minReplicas, maxReplicas, scaleDown, cooldownSeconds } = autoscaler;
  const { stabilizationWindowSeconds, periodSeconds } = scaleDown;
  // The HPA goes down to one; the last one, like the whole pool, goes by KEDA's cooldown.
  const byHpa = shrinkSteps(
    maxReplicas.value,
    Math.max(minReplicas.value, 1),
    scaleDown.builders.value,
    scaleDown.percent.value,
  );
  const steps = minReplicas.value === 0 ? [...byHpa.filter((left) => left > 1), 0] : byHpa;
  const idleMs = stabilizationWindowSeconds.value * 1000;
  const periodMs = periodSeconds.value * 1000;
  const hpaMs = byHpa.length === 0 ? 0 : idleMs + (byHpa.length - 1) * periodMs;
  const durationMs = minReplicas.value === 0 ? Math.max(hpaMs, cooldownSeconds.value * 1000) : hpaMs;
  const floor = minReplicas.value;
  const most = maxReplicas.value;
  // All of them for the idle time, then what each step has left for a period.
  const builderMs = (most - floor) * idleMs + steps.reduce((sum, left) => sum + (left - floor) * periodMs, 0);
  const hours = builderMs / HOUR_MS;
  const price = pricePerBuilderHour(architecture, nodePools);
  return {
    durationMs: derived(
      durationMs,
      steps.length === 0
        ? 'min is max'
        : `${formatDuration(idleMs)} idle, then ${steps.length === 1 ? 'one step' : `${steps.length} steps ${formatDuration(periodMs)} apart`}: ${[most, ...steps].join(', ')}`,
    ),
    idleBuilderHours: derived(
      Number(hours.toFixed(1)),
      'builders beyond min, each for as long as it is kept',
    ),
    cost:
      price === null
        ? null
        : derived(
            Number((hours * price).toFixed(2)),
            `at ${Number(price.toFixed(4))} a builder and hour, as long as nodes become empty with their builders`,
          ),
  };
}

/** Builders after each period, from max down to `floor`, as the HPA lets them go. */
export function shrinkSteps(
  max: number,
  floor: number,
  builders: number,
  percent: number,
): readonly number[] {
  const steps: number[] = [];
  let left = max;
  while (left > floor) {
    // The policy that changes most, its percentage cut off to whole builders left.
    left = Math.max(Math.min(left - builders, Math.trunc(left * (1 - percent / 100))), floor);
    steps.push(left);
  }
  return steps;
}

function pricePerBuilderHour({ nodes }: Architecture, nodePools: NodePoolsSizing | null): number | null {
  const preferred = nodes.kind === 'karpenter' ? nodes.instanceTypes[0] : undefined;
  const perNode = nodePools?.pools[0]?.builders.value ?? 0;
  return preferred === undefined || preferred.pricePerHour === null || perNode < 1
    ? null
    : preferred.pricePerHour / perNode;
}
