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
  const steps = shrinkSteps(autoscaler);
  const { stabilizationWindowSeconds, periodSeconds } = autoscaler.scaleDown;
  const idleMs = stabilizationWindowSeconds.value * 1000;
  const periodMs = periodSeconds.value * 1000;
  const durationMs = steps.length === 0 ? 0 : idleMs + (steps.length - 1) * periodMs;
  const floor = autoscaler.minReplicas.value;
  const most = autoscaler.maxReplicas.value;
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

/** Builders after each period, from max down to min. */
function shrinkSteps({ minReplicas, maxReplicas, scaleDown }: AutoscalerSizing): readonly number[] {
  const steps: number[] = [];
  let builders = maxReplicas.value;
  while (builders > minReplicas.value) {
    // As the HPA does it: the policy that changes most, its percentage cut off to whole builders left.
    const left = Math.min(
      builders - scaleDown.builders.value,
      Math.trunc(builders * (1 - scaleDown.percent.value / 100)),
    );
    builders = Math.max(left, minReplicas.value);
    steps.push(builders);
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
