/** A Grafana dashboard for all pools that a Prometheus knows, as data. The same for every pool.yaml. */
import { RECORDED } from './recordings.ts';

/** The dashboard's own name in Grafana: what links to it rely on. */
export const DASHBOARD_UID = 'buildkit-pool';

const SELECTED = 'namespace=~"$namespace",pool=~"$pool",arch=~"$arch"';
const BALANCER = 'namespace=~"$namespace",service=~"($pool)-haproxy"';
const SCALER = '{scaledObject=~"($pool)-($arch)"}';
const BUILDERS = 'namespace=~"$namespace",pod=~"($pool)-($arch)-builder-[0-9]+"';

interface Query {
  readonly expr: string;
  readonly legend: string;
}

interface Panel {
  readonly title: string;
  readonly description: string;
  readonly type: 'timeseries' | 'stat';
  /** Grafana's name of it; `short` is a plain number. */
  readonly unit: 'short' | 's' | 'percentunit';
  /** Of the 24 columns. */
  readonly width: number;
  readonly height: number;
  readonly queries: readonly Query[];
}

const sum = (name: keyof typeof RECORDED): string => `sum(${RECORDED[name]}{${SELECTED}})`;
const each = (name: keyof typeof RECORDED, legend: string): Query => ({
  expr: `${RECORDED[name]}{${SELECTED}}`,
  legend: `{{arch}} ${legend}`,
});

const STAT = { type: 'stat', width: 4, height: 4 } as const;
const GRAPH = { type: 'timeseries', width: 12, height: 8 } as const;

const PANELS: readonly Panel[] = [
  {
    ...STAT,
    title: 'Waiting',
    description: 'Builds in line now.',
    unit: 'short',
    queries: [{ expr: sum('waiting'), legend: '' }],
  },
  {
    ...STAT,
    title: 'Building',
    description: 'Builds that have a builder now.',
    unit: 'short',
    queries: [{ expr: sum('busy'), legend: '' }],
  },
  {
    ...STAT,
    title: 'Idle builders',
    description: 'Builders that the load balancer can use and that have no build.',
    unit: 'short',
    queries: [{ expr: sum('idle'), legend: '' }],
  },
  {
    ...STAT,
    title: 'Builders starting',
    description: 'Asked for and not yet usable by the load balancer.',
    unit: 'short',
    queries: [{ expr: `clamp_min(${sum('wanted')} - ${sum('up')}, 0)`, legend: '' }],
  },
  {
    ...STAT,
    title: 'Room to the maximum',
    description: 'Builders that the autoscaler could still ask for.',
    unit: 'short',
    queries: [{ expr: `${sum('max')} - ${sum('wanted')}`, legend: '' }],
  },
  {
    ...STAT,
    title: 'Mean wait',
    description: 'Of the last 1024 builds that got a builder, the longest over the architectures (HAProxy).',
    unit: 's',
    queries: [
      {
        expr: `max(haproxy_backend_queue_time_average_seconds{${BALANCER},proxy=~"builders_($arch)"})`,
        legend: '',
      },
    ],
  },
  {
    ...GRAPH,
    title: 'Demand and builders',
    description: 'Demand is builds waiting and building: what the pool scales by.',
    unit: 'short',
    queries: [
      each('demand', 'demand'),
      each('wanted', 'wanted'),
      each('up', 'usable'),
      each('min', 'min'),
      each('max', 'max'),
    ],
  },
  {
    ...GRAPH,
    title: 'Line',
    description: 'Builds waiting, and builders idle at the same time: both above zero for long is an error.',
    unit: 'short',
    queries: [each('waiting', 'waiting'), each('idle', 'idle builders')],
  },
  {
    ...GRAPH,
    title: 'Wait',
    description:
      'Mean of the last 1024 builds that got a builder, and the longest since the load balancer started.',
    unit: 's',
    queries: [
      {
        expr: `haproxy_backend_queue_time_average_seconds{${BALANCER},proxy=~"builders_($arch)"}`,
        legend: '{{proxy}} mean',
      },
      {
        expr: `haproxy_backend_max_queue_time_seconds{${BALANCER},proxy=~"builders_($arch)"}`,
        legend: '{{proxy}} longest',
      },
    ],
  },
  {
    ...GRAPH,
    title: 'Use of builders',
    description: 'Part of the usable builders that have a build.',
    unit: 'percentunit',
    queries: [
      {
        expr: `${RECORDED.busy}{${SELECTED}} / (${RECORDED.up}{${SELECTED}} > 0)`,
        legend: '{{arch}}',
      },
    ],
  },
  {
    ...GRAPH,
    title: 'Pool connections an hour',
    description: 'One for each build, and one more for each time a build had to dial again.',
    unit: 'short',
    queries: [
      {
        expr: `increase(haproxy_backend_sessions_total{${BALANCER},proxy=~"builders_($arch)"}[1h])`,
        legend: '{{proxy}}',
      },
    ],
  },
  {
    ...GRAPH,
    title: 'Session length',
    description: 'Waiting and building together, mean of the last 1024 connections.',
    unit: 's',
    queries: [
      {
        expr: `haproxy_backend_total_time_average_seconds{${BALANCER},proxy=~"builders_($arch)"}`,
        legend: '{{proxy}}',
      },
    ],
  },
  {
    ...GRAPH,
    title: 'Builders in Kubernetes',
    description: 'Ready, pending and terminating pods. Terminating ones still have a build.',
    unit: 'short',
    queries: [
      each('ready', 'ready'),
      { expr: `sum(kube_pod_status_phase{${BUILDERS},phase="Pending"})`, legend: 'pending' },
      { expr: `count(kube_pod_deletion_timestamp{${BUILDERS}}) or vector(0)`, legend: 'terminating' },
    ],
  },
  {
    ...GRAPH,
    title: 'Time left to draining builders',
    description: 'Until the grace period of each terminating builder ends and it is killed.',
    unit: 's',
    queries: [{ expr: `kube_pod_deletion_timestamp{${BUILDERS}} - time()`, legend: '{{pod}}' }],
  },
  {
    ...GRAPH,
    title: 'What the autoscaler reads',
    description:
      "KEDA's own value of the demand, and its errors a minute. Needs KEDA's metrics in this Prometheus.",
    unit: 'short',
    queries: [
      { expr: `keda_scaler_metrics_value${SCALER}`, legend: '{{scaledObject}} {{scaler}}' },
      { expr: `60 * rate(keda_scaler_detail_errors_total${SCALER}[5m])`, legend: '{{scaledObject}} errors' },
    ],
  },
  {
    ...GRAPH,
    title: 'Load balancer',
    description:
      'Age of its process: a new one begins at zero. Redispatches are builds put back in line by a dead builder.',
    unit: 's',
    queries: [
      { expr: `haproxy_process_uptime_seconds{${BALANCER}}`, legend: '{{pod}} age' },
      {
        expr: `increase(haproxy_backend_redispatch_warnings_total{${BALANCER},proxy=~"builders_($arch)"}[1h])`,
        legend: '{{proxy}} redispatches an hour',
      },
    ],
  },
];

/** Grafana's dashboard model, to be stored as JSON. */
export function dashboard() {
  const datasource = { type: 'prometheus', uid: '$datasource' };
  return {
    uid: DASHBOARD_UID,
    title: 'BuildKit pool',
    tags: ['buildkit-pool'],
    timezone: 'browser',
    schemaVersion: 39,
    editable: true,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
        variable('namespace', `label_values(${RECORDED.demand}, namespace)`),
        variable('pool', `label_values(${RECORDED.demand}{namespace=~"$namespace"}, pool)`),
        variable('arch', `label_values(${RECORDED.demand}{namespace=~"$namespace",pool=~"$pool"}, arch)`),
      ],
    },
    annotations: { list: [] },
    links: [],
    panels: place(PANELS).map(({ panel, x, y }, index) => ({
      id: index + 1,
      type: panel.type,
      title: panel.title,
      description: panel.description,
      datasource,
      gridPos: { x, y, w: panel.width, h: panel.height },
      fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
      options:
        panel.type === 'stat'
          ? { reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false }, graphMode: 'area' }
          : {
              legend: { displayMode: 'list', placement: 'bottom' },
              tooltip: { mode: 'multi', sort: 'desc' },
            },
      targets: panel.queries.map(({ expr, legend }, query) => ({
        refId: String.fromCharCode('A'.charCodeAt(0) + query),
        datasource,
        expr,
        legendFormat: legend,
      })),
    })),
  };
}

function variable(name: string, query: string) {
  return {
    name,
    type: 'query',
    datasource: { type: 'prometheus', uid: '$datasource' },
    query: { query, refId: name },
    refresh: 2,
    includeAll: true,
    multi: true,
    current: { text: 'All', value: '$__all' },
  };
}

const COLUMNS = 24;

interface Placed {
  readonly panel: Panel;
  readonly x: number;
  readonly y: number;
}

/** Left to right, row by row; a row is as high as its first panel. */
function place(panels: readonly Panel[]): readonly Placed[] {
  const placed: Placed[] = [];
  let [x, y, height] = [0, 0, 0];
  for (const panel of panels) {
    if (x + panel.width > COLUMNS) {
      [x, y, height] = [0, y + height, 0];
    }
    placed.push({ panel, x, y });
    x += panel.width;
    height = Math.max(height, panel.height);
  }
  return placed;
}
