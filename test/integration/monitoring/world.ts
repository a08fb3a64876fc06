/** What Prometheus holds about a pool, as input series of `promtool test rules`: a healthy pool, and changes to it. */
import type { ArchitectureSizing, PoolSizing } from '../../../src/pool/sizing/model.ts';

/** Series by name and labels; a later one replaces an earlier one. Values in promtool's notation. */
export type World = ReadonlyMap<string, string>;

/** Seconds between two samples. */
export const STEP_SECONDS = 15;
/** So many samples has every series of a healthy pool: an hour. */
const SAMPLES = 240;

/** The same value, at every step. */
export function steady(value: number): string {
  return `${value}+0x${SAMPLES}`;
}

/** One value until so many seconds have passed, then another. */
export function step(before: number, atSeconds: number, after: number): string {
  const samples = Math.ceil(atSeconds / STEP_SECONDS);
  return `${before}+0x${samples - 1} ${after}+0x${SAMPLES - samples}`;
}

/** Gone after so many seconds. */
export function until(value: number, atSeconds: number): string {
  return `${value}+0x${Math.ceil(atSeconds / STEP_SECONDS) - 1} stale`;
}

/** Grows by one with every sample. */
export const COUNTING = `0+1x${SAMPLES}`;

export function series(name: string, labels: Readonly<Record<string, string>>): string {
  const text = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return `${name}{${text.join(',')}}`;
}

export interface Builders {
  /** Ordinals 0 to this - 1. */
  readonly builders: number;
  /** The lowest ordinals. */
  readonly busy: number;
  readonly waiting: number;
}

/** A pool with the same number of builders for each architecture, all as they should be. */
export function poolWorld(pool: PoolSizing, shape: Builders): World {
  const { namespace, document } = pool.names;
  return new Map([
    [series('kube_deployment_status_replicas_available', { namespace, deployment: document }), steady(2)],
    ...pool.architectures.flatMap((architecture) => [...lineWorld(pool, architecture, shape)]),
    ...certificateNames(pool).map(
      (name) => [certificate(pool, name, 'exported_namespace'), steady(1e9)] as const,
    ),
    ...podWorld(namespace, `${pool.names.balancer}-5d4f8-x2x9z`, 'node-lb'),
  ]);
}

export function certificateNames({ names }: PoolSizing): readonly string[] {
  return [
    ...[names.balancerSecret, names.balancerClientSecret, names.buildersSecret, names.clientSecret].filter(
      (name) => name !== null,
    ),
    ...names.namedClients.map(({ secret }) => secret),
  ];
}

export function certificate(
  pool: PoolSizing,
  name: string,
  namespaceLabel: 'exported_namespace' | 'namespace',
): string {
  return series('certmanager_certificate_expiration_timestamp_seconds', {
    // The scrape of cert-manager's own pod gives the other one, unless it honours labels.
    namespace: 'cert-manager',
    name,
    [namespaceLabel]: pool.names.namespace,
  });
}

/** What the load balancer, the autoscaler and Kubernetes say of one architecture. */
export function lineWorld(
  pool: PoolSizing,
  architecture: ArchitectureSizing,
  { builders, busy, waiting }: Builders,
): World {
  const { namespace } = pool.names;
  const { statefulSet, scaledObject, frontend } = architecture.names;
  const ordinals = Array.from({ length: builders }, (_, ordinal) => ordinal);
  return new Map([
    [balancerSeries(pool, 'haproxy_frontend_current_sessions', { proxy: frontend }), steady(busy + waiting)],
    [balancerSeries(pool, 'haproxy_frontend_current_sessions', { proxy: `plug_${frontend}` }), steady(1)],
    [
      balancerSeries(pool, 'haproxy_backend_current_queue', { proxy: `builders_${frontend}` }),
      steady(waiting),
    ],
    ...serverWorld(pool, architecture, 'placeholder', true),
    ...ordinals.flatMap((ordinal) => [
      ...serverWorld(pool, architecture, `b${ordinal}`, ordinal < busy),
      ...podWorld(namespace, `${statefulSet}-${ordinal}`, `node-${ordinal}`),
    ]),
    [series('kube_statefulset_replicas', { namespace, statefulset: statefulSet }), steady(builders)],
    [scalerActive(pool, architecture), steady(1)],
    [scalerErrors(scaledObject, { exported_namespace: namespace, namespace: 'keda' }), steady(0)],
  ]);
}

export function balancerSeries(
  pool: PoolSizing,
  name: string,
  labels: Readonly<Record<string, string>>,
  pod = 'lb-0',
): string {
  return series(name, { namespace: pool.names.namespace, service: pool.names.balancer, pod, ...labels });
}

function serverWorld(
  pool: PoolSizing,
  architecture: ArchitectureSizing,
  server: string,
  busy: boolean,
): readonly (readonly [string, string])[] {
  const labels = { proxy: `builders_${architecture.names.frontend}`, server };
  return [
    [balancerSeries(pool, 'haproxy_server_current_sessions', labels), steady(busy ? 1 : 0)],
    ...(['DOWN', 'UP', 'MAINT'] as const).map(
      (state) =>
        [
          balancerSeries(pool, 'haproxy_server_status', { ...labels, state }),
          steady(state === 'UP' ? 1 : 0),
        ] as const,
    ),
  ];
}

export function scalerActive(pool: PoolSizing, architecture: ArchitectureSizing): string {
  return series('kube_horizontalpodautoscaler_status_condition', {
    namespace: pool.names.namespace,
    horizontalpodautoscaler: `keda-hpa-${architecture.names.scaledObject}`,
    condition: 'ScalingActive',
    status: 'true',
  });
}

export function scalerErrors(scaledObject: string, labels: Readonly<Record<string, string>>): string {
  return series('keda_scaler_detail_errors_total', {
    ...labels,
    scaledObject,
    scaler: 'metricsAPIScaler',
    metric: 's0-metric-api-haproxy',
    triggerIndex: '0',
    type: 'scaledobject',
  });
}

/** A pod that has run since the beginning, and its node. */
export function podWorld(
  namespace: string,
  pod: string,
  node: string,
): readonly (readonly [string, string])[] {
  return [
    [podSeries('kube_pod_info', namespace, pod, { node }), steady(1)],
    [podSeries('kube_pod_created', namespace, pod), steady(0)],
    [podSeries('kube_pod_start_time', namespace, pod), steady(0)],
    [podSeries('kube_pod_status_phase', namespace, pod, { phase: 'Running' }), steady(1)],
    [podSeries('kube_pod_status_phase', namespace, pod, { phase: 'Pending' }), steady(0)],
    [podSeries('kube_pod_status_ready', namespace, pod, { condition: 'true' }), steady(1)],
    [
      podSeries('kube_pod_container_status_restarts_total', namespace, pod, { container: 'buildkitd' }),
      steady(0),
    ],
    [podSeries('kube_pod_status_reason', namespace, pod, { reason: 'Evicted' }), steady(0)],
    [nodeReady(node), steady(1)],
  ];
}

export function podSeries(
  name: string,
  namespace: string,
  pod: string,
  labels: Readonly<Record<string, string>> = {},
): string {
  return series(name, { namespace, pod, uid: `uid-${pod}`, ...labels });
}

export function nodeReady(node: string): string {
  return series('kube_node_status_condition', { node, condition: 'Ready', status: 'true' });
}
