/** What prometheus-operator and Grafana read: the content is made in `../monitoring`. */
import type { IPrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import type { IServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import type { IConfigMap } from 'kubernetes-models/v1/ConfigMap';
import { dashboard } from '../monitoring/dashboard.ts';
import { ruleGroups } from '../monitoring/rules.ts';
import { balancerEndpoint } from '../monitoring/scrape.ts';
import type { PoolSizing, Sizing } from '../sizing/model.ts';
import { METRICS_PORT } from './balancer.ts';
import { componentLabels, type KubernetesObject, poolLabels } from './object.ts';

/** Of one pool; none with `monitoring: none`. */
export function monitoring({ cluster }: Sizing, pool: PoolSizing): readonly KubernetesObject[] {
  if (pool.pool.monitoring === 'none') {
    return [];
  }
  const { namespace, balancer } = pool.names;
  const labels = { ...poolLabels(pool), ...cluster.monitoringLabels };
  const serviceMonitor: IServiceMonitor = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'ServiceMonitor',
    metadata: { name: balancer, namespace, labels },
    spec: {
      selector: { matchLabels: { ...componentLabels(pool, 'haproxy') } },
      endpoints: [balancerEndpoint(METRICS_PORT)],
    },
  };
  const rule: IPrometheusRule = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: pool.pool.name, namespace, labels },
    spec: { groups: ruleGroups(pool) },
  };
  return [serviceMonitor, rule];
}

/** Grafana's sidecar looks for this label. */
const DASHBOARD_LABELS = { grafana_dashboard: '1' };

/** One for all pools: it knows them by their labels in Prometheus. */
export function dashboards({ cluster, pools }: Sizing): readonly KubernetesObject[] {
  const monitored = pools.find(({ pool }) => pool.monitoring !== 'none');
  if (monitored === undefined) {
    return [];
  }
  const configMap: IConfigMap = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: 'buildkit-pool-dashboard',
      namespace: monitored.names.namespace,
      labels: {
        'app.kubernetes.io/name': 'buildkit-pool',
        ...DASHBOARD_LABELS,
        ...cluster.monitoringLabels,
      },
    },
    data: { 'buildkit-pool.json': `${JSON.stringify(dashboard(), null, 2)}\n` },
  };
  return [configMap];
}
