/** KEDA's ScaledObject and the HPA it makes: up at once to the demand, down only by what nobody needed. */
import { formatDuration } from '../../action/duration.ts';
import type { Architecture, Cluster, ScaleDown } from '../config/model.ts';
import { derived } from './derived.ts';
import type { AutoscalerSizing, Derived } from './model.ts';
import { shrinkSteps } from './shrink.ts';

/**
 * Kubernetes' limit of a policy's period, which schema validators do not know: MaxPeriodSeconds in
 * pkg/apis/autoscaling/validation of 1.36.
 */
export const MAX_PERIOD_SECONDS = 1800;
/**
 * From this minor version on an HPA may say its own tolerance without a feature gate (HPAConfigurableTolerance). KEDA hands
 * it on since 2.18.
 */
export const TOLERANCE_SINCE_MINOR = 35;
/** The HPA does nothing within 10 % of its target; 1/0.9 is 11 % above it, so one more build always counts. */
export const TARGET_WITHIN_TOLERANCE = 0.9;
/** The HPA asks every 15 s (`--horizontal-pod-autoscaler-sync-period`). */
const SYNC_SECONDS = 15;
const FALLBACK_FAILURES = 3;
/** The triggers' names in the formula: builds of the load balancer that is read, and builders that builds of another take. */
export const DEMAND = 'demand';
export const ELSEWHERE = 'elsewhere';

export function sizeAutoscaler(
  scaleDown: ScaleDown,
  architecture: Architecture,
  cluster: Cluster,
): AutoscalerSizing {
  const { min, max, spare } = architecture;
  const tolerates = cluster.kubernetesMinor >= TOLERANCE_SINCE_MINOR;
  const windowSeconds = Math.ceil(scaleDown.idleMs / 1000);
  const fallback = architecture.fallback ?? Math.min(Math.max(min, spare, 1), max);
  return {
    minReplicas: derived(min, '`min`'),
    maxReplicas: derived(max, '`max`'),
    formula: formula(spare, tolerates),
    target: derived(
      1,
      'one build a builder; whole, because KEDA has no fallback for a formula with any other',
    ),
    tolerance: tolerates
      ? derived(
          0,
          `one build more than builders counts at any size (own tolerance since Kubernetes 1.${TOLERANCE_SINCE_MINOR})`,
        )
      : null,
    scaleUp: {
      stabilizationWindowSeconds: derived(0, 'a build that waits needs a builder now'),
      builders: derived(Math.max(max, 1), 'all that are missing at once'),
      percent: derived(100, 'the larger of the two counts'),
      periodSeconds: derived(SYNC_SECONDS, 'one look of the HPA'),
    },
    scaleDown: {
      stabilizationWindowSeconds: derived(
        windowSeconds,
        `\`scale-down.idle\`: a builder goes when it was not needed at any moment of ${formatDuration(scaleDown.idleMs)}`,
      ),
      builders: derived(scaleDown.atOnceBuilders, '`scale-down.at-once.builders`, in one period'),
      percent: derived(
        scaleDown.atOncePercent,
        '`scale-down.at-once.percent`, in one period; the larger of the two counts',
      ),
      periodSeconds: periodSeconds(scaleDown, windowSeconds),
    },
    pollingIntervalSeconds: derived(5, 'decides only how fast the pool leaves zero'),
    cooldownSeconds: cooldownSeconds(scaleDown, architecture),
    fallbackReplicas: derived(
      fallback,
      architecture.fallback === null
        ? 'min (with spare), at least one: kept or raised to, never lowered to, while the line cannot be read'
        : '`fallback`: kept or raised to, never lowered to, while the line cannot be read',
    ),
    fallbackFailures: derived(
      FALLBACK_FAILURES,
      `reads that fail in a row; KEDA acts on the one after, within ${formatDuration((FALLBACK_FAILURES + 1) * SYNC_SECONDS * 1000)}`,
    ),
    blindAfterSeconds: derived(
      3 * (FALLBACK_FAILURES + 1) * SYNC_SECONDS,
      'three times what it takes to fall back: a restart of the load balancer is over by then',
    ),
  };
}

function formula(spare: number, tolerates: boolean): Derived<string> {
  const builds = `${DEMAND} + ${ELSEWHERE}`;
  const [wanted, what] =
    spare === 0
      ? [builds, 'builds here, and at a load balancer that is being replaced']
      : [
          `${builds} + ${spare}`,
          `builds here, and at a load balancer that is being replaced, and \`spare\` builders more`,
        ];
  return tolerates
    ? derived(wanted, what)
    : derived(
        `(${wanted}) / ${TARGET_WITHIN_TOLERANCE}`,
        `${what}; divided by ${TARGET_WITHIN_TOLERANCE} because the HPA ignores differences of 10 %: 36 builds would wait for ever beside 360 builders`,
      );
}

function periodSeconds(scaleDown: ScaleDown, windowSeconds: number): Derived {
  return scaleDown.periodMs === null
    ? derived(
        Math.min(windowSeconds, MAX_PERIOD_SECONDS),
        `the idle time; Kubernetes allows at most ${formatDuration(MAX_PERIOD_SECONDS * 1000)}`,
      )
    : derived(Math.ceil(scaleDown.periodMs / 1000), '`scale-down.period`');
}

/**
 * When its cooldown is over KEDA takes away all builders that there are, whatever the policies say: with min 0 it must be
 * as long as the HPA needs to get down to one by the policies.
 */
function cooldownSeconds(scaleDown: ScaleDown, { min, max }: Architecture): Derived {
  const windowSeconds = Math.ceil(scaleDown.idleMs / 1000);
  if (min > 0) return derived(windowSeconds, 'matters only with min 0');
  const steps = shrinkSteps(max, 1, scaleDown.atOnceBuilders, scaleDown.atOncePercent).length;
  const period = periodSeconds(scaleDown, windowSeconds).value;
  return derived(
    windowSeconds + Math.max(steps - 1, 0) * period,
    'KEDA takes away all builders at once then: not before the HPA has gone down to one by its policies',
  );
}
