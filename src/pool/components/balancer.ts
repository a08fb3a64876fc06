/**
 * The load balancer: one pod, in which all builds of a pool wait. It is replaced by plan only: a new one starts beside it
 * and takes over those who wait, each at its own place, while the old one carries on with the builds that it has until
 * the last of them has ended. Nothing in its pod template depends on min, max, idle time or the pool document.
 */
import type { IDeployment } from 'kubernetes-models/apps/v1/Deployment';
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import type { IConfigMap } from 'kubernetes-models/v1/ConfigMap';
import type { IService } from 'kubernetes-models/v1/Service';
import { EARLY_SETTINGS_LUA } from '../haproxy/early-settings.ts';
import { renderBalancer } from '../haproxy.ts';
import { imagesOf } from '../images.ts';
import type { ArchitectureSizing, PoolSizing, Sizing } from '../sizing/model.ts';
import { BALANCER_PATHS, balancerModel, renderBalancerScript, usesEarlySettings } from './balancer-model.ts';
import {
  byteQuantity,
  componentLabels,
  cpuQuantity,
  type KubernetesObject,
  type ObjectMetadata,
} from './object.ts';
import { placeBesideBuilders } from './placement.ts';
import {
  type Container,
  checksumAnnotation,
  type PodSpec,
  pullSecrets,
  RESTRICTED_CONTAINER,
  RESTRICTED_POD,
  renderProbe,
  serviceAccount,
} from './pod.ts';

/** The name of the port that /metrics and /healthz are on, in the pod and on the Service. */
export const METRICS_PORT = 'metrics';

export function balancer(sizing: Sizing, pool: PoolSizing): readonly KubernetesObject[] {
  const files = {
    'haproxy.cfg': renderBalancer(balancerModel(sizing, pool)),
    'start.sh': renderBalancerScript(sizing, pool),
    ...(usesEarlySettings(pool) ? { 'early-settings.lua': EARLY_SETTINGS_LUA } : {}),
  };
  return [
    serviceAccount(pool, 'haproxy', pool.names.balancer),
    configMap(pool, files),
    deployment(sizing, pool, files),
    metricsService(pool),
    ...clientServices(pool),
    disruptionBudget(pool),
  ];
}

function configMap(pool: PoolSizing, files: Readonly<Record<string, string>>): IConfigMap {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadata(pool, pool.names.balancer),
    data: { ...files },
  };
}

function deployment(sizing: Sizing, pool: PoolSizing, files: Readonly<Record<string, string>>): IDeployment {
  const labels = componentLabels(pool, 'haproxy');
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadata(pool, pool.names.balancer),
    spec: {
      // A second one would be a second line.
      replicas: 1,
      revisionHistoryLimit: 2,
      // The new one first: those who wait have somewhere to go, and the old one may take hours to end.
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: { ...labels } },
      template: {
        metadata: {
          labels: { ...labels },
          annotations: {
            ...checksumAnnotation(files),
            'karpenter.sh/do-not-disrupt': 'true',
            'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
          },
        },
        spec: {
          ...RESTRICTED_POD,
          ...pullSecrets(pool),
          ...placeBesideBuilders(sizing, pool, 'haproxy'),
          serviceAccountName: pool.names.balancer,
          terminationGracePeriodSeconds: pool.balancer.graceSeconds.value,
          containers: [container(pool)],
          volumes: volumes(pool),
        },
      },
    },
  };
}

function container(pool: PoolSizing): Container {
  const { balancer: sizing } = pool;
  const health = { httpGet: { path: '/healthz', port: METRICS_PORT } };
  return {
    name: 'haproxy',
    image: imagesOf(pool.pool).haproxy,
    command: ['/bin/sh', BALANCER_PATHS.script],
    ports: [
      { name: METRICS_PORT, containerPort: sizing.metricsPort },
      ...listenPorts(pool).map((port) => ({ containerPort: port })),
    ],
    readinessProbe: { ...health, ...renderProbe(sizing.readiness) },
    livenessProbe: { ...health, ...renderProbe(sizing.liveness) },
    resources: {
      requests: {
        cpu: cpuQuantity(sizing.cpuMillis.value),
        memory: byteQuantity(sizing.memoryBytes.value),
      },
      limits: { memory: byteQuantity(sizing.memoryBytes.value) },
    },
    securityContext: RESTRICTED_CONTAINER,
    volumeMounts: [
      { name: 'configuration', mountPath: BALANCER_PATHS.folder, readOnly: true },
      { name: 'run', mountPath: BALANCER_PATHS.run },
      ...secretsOf(pool).map(({ name, path }) => ({ name, mountPath: path, readOnly: true })),
    ],
  };
}

function volumes(pool: PoolSizing): NonNullable<PodSpec['volumes']> {
  return [
    { name: 'configuration', configMap: { name: pool.names.balancer } },
    { name: 'run', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    ...secretsOf(pool).map(({ name, secret }) => ({
      name,
      secret: { secretName: secret, defaultMode: SECRET_MODE },
    })),
  ];
}

/** 0440: the pod's group is HAProxy's. */
const SECRET_MODE = 0o440;

interface MountedSecret {
  readonly name: string;
  readonly secret: string;
  readonly path: string;
}

function secretsOf({ names }: PoolSizing): readonly MountedSecret[] {
  return [
    ...(names.balancerSecret === null
      ? []
      : [{ name: 'tls', secret: names.balancerSecret, path: BALANCER_PATHS.tls }]),
    ...(names.balancerClientSecret === null
      ? []
      : [{ name: 'tls-client', secret: names.balancerClientSecret, path: BALANCER_PATHS.clientTls }]),
  ];
}

/** Each once, although architectures may share one. */
function listenPorts({ architectures }: PoolSizing): readonly number[] {
  return [
    ...new Set(
      architectures.flatMap(({ line }) => [
        line.listenPort.value,
        ...(line.earlySettingsPort === null ? [] : [line.earlySettingsPort.value]),
      ]),
    ),
  ];
}

function metricsService(pool: PoolSizing): IService {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(pool, pool.names.balancer),
    spec: {
      type: 'ClusterIP',
      selector: { ...componentLabels(pool, 'haproxy') },
      ports: [{ name: METRICS_PORT, port: pool.balancer.metricsPort, targetPort: METRICS_PORT }],
    },
  };
}

/** In the cluster one an architecture; towards the outside one for all, so that one address serves them. */
function clientServices(pool: PoolSizing): readonly IService[] {
  const { exposure } = pool.pool;
  const { clientService } = pool.names;
  if (clientService === null) {
    return pool.architectures.map((arch) => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata(pool, arch.names.clientService, exposure.annotations),
      spec: {
        type: 'ClusterIP',
        selector: { ...componentLabels(pool, 'haproxy') },
        ports: servicePorts([arch]),
      },
    }));
  }
  const { cidrs } = exposure.clients;
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata(pool, clientService, exposure.annotations),
      spec: {
        type: 'LoadBalancer',
        // Clients keep their addresses, by which network policies and source ranges tell them apart.
        externalTrafficPolicy: 'Local',
        ...(cidrs.length === 0 ? {} : { loadBalancerSourceRanges: [...cidrs] }),
        selector: { ...componentLabels(pool, 'haproxy') },
        ports: servicePorts(pool.architectures),
      },
    },
  ];
}

type ServicePort = NonNullable<NonNullable<IService['spec']>['ports']>[number];

/** One for each outer port, named after the first architecture that has it. */
function servicePorts(architectures: readonly ArchitectureSizing[]): ServicePort[] {
  const ports = architectures.flatMap(({ name, line }): ServicePort[] => [
    { name, port: line.port.value, targetPort: line.listenPort.value },
    ...(line.earlySettingsPort === null
      ? []
      : [
          {
            name: `${name}-early`,
            port: line.earlySettingsPort.value,
            targetPort: line.earlySettingsPort.value,
          },
        ]),
  ]);
  return ports.filter(({ port }, index) => ports.findIndex((other) => other.port === port) === index);
}

/** Evictions are refused: moving the load balancer is a planned replacement, `kubectl rollout restart`. */
function disruptionBudget(pool: PoolSizing): IPodDisruptionBudget {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadata(pool, pool.names.balancer),
    spec: { maxUnavailable: 0, selector: { matchLabels: { ...componentLabels(pool, 'haproxy') } } },
  };
}

function metadata(pool: PoolSizing, name: string, annotations: Readonly<Record<string, string>> = {}) {
  return {
    name,
    namespace: pool.names.namespace,
    labels: { ...componentLabels(pool, 'haproxy') },
    ...(Object.keys(annotations).length === 0 ? {} : { annotations: { ...annotations } }),
  } satisfies ObjectMetadata;
}
