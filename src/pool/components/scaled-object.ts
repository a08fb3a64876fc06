/** The autoscaler: KEDA reads the length of the line from the load balancer itself. */
import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';
import { backendName, TAKEN_ELSEWHERE } from '../haproxy.ts';
import { DEMAND, ELSEWHERE } from '../sizing/autoscaler.ts';
import type {
  ArchitectureSizing,
  AutoscalerSizing,
  PoolSizing,
  ScalingRulesSizing,
} from '../sizing/model.ts';
import { builderLabels, type KubernetesObject } from './object.ts';

/** One an architecture; none with `autoscaling: off`. */
export function scaledObjects(pool: PoolSizing): readonly KubernetesObject[] {
  return pool.architectures.flatMap((arch) =>
    arch.autoscaler === null ? [] : [scaledObject(pool, arch, arch.autoscaler)],
  );
}

function scaledObject(pool: PoolSizing, arch: ArchitectureSizing, sizing: AutoscalerSizing): IScaledObject {
  const { names } = arch;
  const target = String(sizing.target.value);
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: {
      name: names.scaledObject,
      namespace: pool.names.namespace,
      labels: { ...builderLabels(pool, arch) },
    },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'StatefulSet', name: names.statefulSet },
      minReplicaCount: sizing.minReplicas.value,
      maxReplicaCount: sizing.maxReplicas.value,
      pollingInterval: sizing.pollingIntervalSeconds.value,
      cooldownPeriod: sizing.cooldownSeconds.value,
      // Only ever more builders while the load balancer cannot be read: a busy pool is never shrunk blindly.
      fallback: {
        failureThreshold: sizing.fallbackFailures.value,
        replicas: sizing.fallbackReplicas.value,
        behavior: 'currentReplicasIfHigher',
      },
      advanced: {
        restoreToOriginalReplicaCount: false,
        scalingModifiers: {
          formula: sizing.formula.value,
          target,
          activationTarget: '0',
          metricType: 'AverageValue',
        },
        horizontalPodAutoscalerConfig: {
          behavior: {
            scaleUp: renderRules(sizing.scaleUp, sizing.tolerance?.value ?? null),
            scaleDown: renderRules(sizing.scaleDown, sizing.tolerance?.value ?? null),
          },
        },
      },
      triggers: [
        // What the frontend holds is what waits and what builds.
        trigger(DEMAND, 'frontend', `haproxy_frontend_current_sessions{proxy="${names.frontend}"}`),
        // Builders that another load balancer, one that is being replaced, has builds on.
        trigger(
          ELSEWHERE,
          'backend',
          `haproxy_backend_agg_check_status{proxy="${backendName(names.frontend)}",state="${TAKEN_ELSEWHERE}"}`,
        ),
      ],
    },
  };

  /** The whole page would be fifty times as long. */
  function trigger(name: string, scope: 'frontend' | 'backend', valueLocation: string) {
    return {
      type: 'metrics-api',
      name,
      metricType: 'AverageValue' as const,
      metadata: {
        url: `${pool.names.balancerUrl}/metrics?scope=${scope}`,
        format: 'prometheus',
        valueLocation,
        targetValue: target,
        activationTargetValue: '0',
      },
    };
  }
}

type Behavior = NonNullable<
  NonNullable<
    NonNullable<NonNullable<IScaledObject['spec']>['advanced']>['horizontalPodAutoscalerConfig']
  >['behavior']
>;

function renderRules(rules: ScalingRulesSizing, tolerance: number | null): NonNullable<Behavior['scaleUp']> {
  const periodSeconds = rules.periodSeconds.value;
  return {
    stabilizationWindowSeconds: rules.stabilizationWindowSeconds.value,
    selectPolicy: 'Max',
    policies: [
      { type: 'Pods', value: rules.builders.value, periodSeconds },
      { type: 'Percent', value: rules.percent.value, periodSeconds },
    ],
    ...(tolerance === null ? {} : { tolerance: String(tolerance) }),
  };
}
