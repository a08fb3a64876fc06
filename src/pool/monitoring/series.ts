/**
 * Where every number of the monitoring comes from: PromQL expressions over other programs' metrics, each without labels.
 *
 * Names and labels, as measured or documented:
 * - HAProxy 2.6.12 and 3.4.0, its own exporter (test/integration/monitoring holds them against the real program);
 * - KEDA 2.20, pkg/metricscollector/prommetrics.go;
 * - kube-state-metrics 2, docs/metrics/workload;
 * - cert-manager 1, pkg/metrics; x509-certificate-exporter 3 for certificates that cert-manager does not make.
 */
import { backendName, PLACEHOLDER_SERVER } from '../haproxy.ts';
import type { ArchitectureSizing, PoolSizing } from '../sizing/model.ts';

/** One architecture's line and builders in Prometheus. */
export interface Series {
  /** Builds waiting and building. */
  readonly demand: string;
  /** Builds waiting. */
  readonly waiting: string;
  /** Builders that the load balancer would give a build to, busy or not. */
  readonly up: string;
  /** Those of them without a build. */
  readonly idle: string;
  /** Builders that the autoscaler, or the manifest, asks for. */
  readonly wanted: string;
  /** Builders that are ready and not terminating, as Kubernetes sees them. */
  readonly ready: string;
}

/**
 * During a planned replacement two load balancers are scraped, the old one with its last builds: sessions add up, and a
 * builder is up if either says so.
 */
export function seriesOf(pool: PoolSizing, architecture: ArchitectureSizing): Series {
  const { frontend, statefulSet } = architecture.names;
  const backend = backendName(frontend);
  const demand = `sum(${balancerMetric('haproxy_frontend_current_sessions', pool, { proxy: frontend })})`;
  const builders = { proxy: backend, 'server!': PLACEHOLDER_SERVER };
  const upServers = `max by (server) (${balancerMetric('haproxy_server_status', pool, { ...builders, state: 'UP' })}) == 1`;
  const takenServers = `sum by (server) (${balancerMetric('haproxy_server_current_sessions', pool, builders)}) > 0`;
  const set = { namespace: pool.names.namespace, statefulset: statefulSet };
  const wanted = `max(${metric('kube_statefulset_replicas', set)})`;
  const ready = metric('kube_pod_status_ready', { ...podsOf(pool, architecture), condition: 'true' });
  const terminating = metric('kube_pod_deletion_timestamp', podsOf(pool, architecture));
  return {
    demand,
    waiting: `sum(${balancerMetric('haproxy_backend_current_queue', pool, { proxy: backend })})`,
    up: orZero(`count(${upServers})`, demand),
    idle: orZero(`count((${upServers}) unless on (server) (${takenServers}))`, demand),
    wanted,
    ready: orZero(`count((${ready} == 1) unless on (pod) ${terminating})`, wanted),
  };
}

/** Counting nothing gives nothing in PromQL; zero is meant, as long as the exporter itself is there. */
function orZero(count: string, present: string): string {
  return `${count} or 0 * ${present}`;
}

/** The load balancer's target in Prometheus: prometheus-operator labels it with namespace and Service. */
export function balancerMetric(
  name: string,
  pool: PoolSizing,
  labels: Readonly<Record<string, string>>,
): string {
  return metric(name, { namespace: pool.names.namespace, service: pool.names.balancer, ...labels });
}

/** Matchers of the pods of one StatefulSet. Names are DNS labels: nothing in them means anything to a regular expression. */
export function podsOf(pool: PoolSizing, architecture: ArchitectureSizing): Readonly<Record<string, string>> {
  return {
    namespace: pool.names.namespace,
    'pod=~': `${architecture.names.statefulSet}-[0-9]+`,
  };
}

/**
 * A metric about objects of the pool's namespace that is scraped elsewhere (KEDA, cert-manager). Without `honorLabels`
 * in that scrape, which is the default, Prometheus calls the object's namespace `exported_namespace`.
 * `windowSeconds` makes it the increase over so many seconds.
 */
export function foreignMetric(
  name: string,
  pool: PoolSizing,
  labels: Readonly<Record<string, string>>,
  windowSeconds?: number,
): string {
  const { namespace } = pool.names;
  const either = [{ exported_namespace: namespace }, { namespace }].map((own) => {
    const selected = metric(name, { ...own, ...labels });
    return windowSeconds === undefined ? selected : `increase(${selected}[${windowSeconds}s])`;
  });
  return `(${either.join(' or ')})`;
}

/** `name{key="value"}`; a key may end in `!` or `=~` to say how it is compared. */
export function metric(name: string, labels: Readonly<Record<string, string>>): string {
  const matchers = Object.entries(labels).map(([key, value]) => {
    const operator = key.endsWith('=~') ? '' : '=';
    return `${key}${operator}${JSON.stringify(value)}`;
  });
  return `${name}{${matchers.join(',')}}`;
}
