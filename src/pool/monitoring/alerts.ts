/**
 * Alerts: few, each with something to do, which docs/operations.md tells under the alert's name.
 * Thresholds come from the sizing; the few that no pool.yaml changes are here.
 */
import type { ArchitectureSizing, CertificateSizing, PoolSizing } from '../sizing/model.ts';
import { limitsOf, recorded, ruleLabels } from './recordings.ts';
import { foreignMetric, metric, podsOf, seriesOf } from './series.ts';

export type Severity = 'critical' | 'warning';

export interface AlertRule {
  alert: string;
  expr: string;
  for: string;
  labels: Record<string, string>;
  annotations: { summary: string; description: string; runbook_url: string };
}

/** Where each alert has a section of its name. */
const RUNBOOK = 'https://github.com/buildkit-pool/buildkit-pool/blob/main/docs/operations.md';

/** A restart of the exporter, or two missed scrapes, are no outage. */
const GONE_AFTER_SECONDS = 120;

/** The load balancer knows a new builder within seconds; this is beyond any replacement of the load balancer. */
const UNSEEN_AFTER_SECONDS = 300;

/**
 * Errors are counted where the autoscaler asks, every 15 s (HPA) and every polling interval (KEDA): two scrapes a minute
 * apart see them.
 */
const ERROR_WINDOW_SECONDS = 120;

/** Long enough that Prometheus sees it at any usual interval of evaluation. */
const KILLED_WINDOW_SECONDS = 600;

/** Alerts of the pool as a whole. */
export function poolAlerts(pool: PoolSizing): AlertRule[] {
  return [
    documentDown(pool),
    ...(pool.certificates === null ? [] : [certificateExpiring(pool, pool.certificates)]),
  ];
}

/** Alerts of one line and its builders. */
export function architectureAlerts(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule[] {
  return [
    balancerDown(pool, architecture),
    lineStuck(pool, architecture),
    lineLong(pool, architecture),
    noBuilder(pool, architecture),
    buildersUnseen(pool, architecture),
    buildersPending(pool, architecture),
    builderKilled(pool, architecture),
    drainLong(pool, architecture),
    ordinalBlocked(pool, architecture),
    ...(architecture.autoscaler === null
      ? []
      : [
          scalerBlind(pool, architecture, architecture.autoscaler.blindAfterSeconds.value),
          scalerLags(pool, architecture, architecture.autoscaler.blindAfterSeconds.value),
        ]),
    ...(pool.certificates === null ? [] : [builderCertificateOld(pool, architecture, pool.certificates)]),
  ];
}

function balancerDown(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolBalancerDown',
    severity: 'critical',
    expr: `absent(${seriesOf(pool, architecture).demand})`,
    forSeconds: GONE_AFTER_SECONDS,
    summary: `Nothing is heard from the load balancer of ${describe(pool, architecture)}`,
    description: `Prometheus has no metrics of ${pool.names.namespace}/${pool.names.balancer}. Builds may be unable to join, and the autoscaler is blind. Builders that are running keep their builds.`,
  });
}

function lineStuck(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolLineStuck',
    severity: 'critical',
    expr: `${recorded('waiting', pool, architecture)} > 0 and ${recorded('idle', pool, architecture)} > 0`,
    forSeconds: seconds(architecture.line.stuckAfterMs.value),
    summary: `Builds of ${describe(pool, architecture)} wait while builders are idle`,
    description:
      '{{ $value }} builds have been waiting although the load balancer has builders without a build. The line is not being served.',
  });
}

function lineLong(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  const [, max] = limitsOf(architecture);
  const waiting = recorded('waiting', pool, architecture);
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolLineLong',
    severity: 'warning',
    expr: `${waiting} > ${recorded('max', pool, architecture)} and ${recorded('wanted', pool, architecture)} >= ${recorded('max', pool, architecture)}`,
    forSeconds: seconds(architecture.line.longAfterMs.value),
    summary: `The line of ${describe(pool, architecture)} is longer than the pool is large`,
    description: `{{ $value }} builds wait and the pool is at its maximum of ${max}. Who joins now waits longer than a typical build takes.`,
  });
}

function noBuilder(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  const needed = `(${recorded('demand', pool, architecture)} > 0 or ${recorded('wanted', pool, architecture)} > 0)`;
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolNoBuilder',
    severity: 'critical',
    expr: `(${recorded('up', pool, architecture)} == 0 and ${needed}) ${unlessReplacing(pool)}`,
    forSeconds: seconds(architecture.line.noBuilderAfterMs.value),
    summary: `${describe(pool, architecture)} has no builder`,
    description: `The load balancer can reach no builder of ${architecture.names.statefulSet}, and builders are needed. Builds wait.`,
  });
}

/**
 * While an old load balancer carries on with its last builds, the builders that it has are not usable by the new one, and
 * Prometheus may not read the old one any more.
 */
function unlessReplacing(pool: PoolSizing): string {
  return `unless on () count(${metric('kube_pod_deletion_timestamp', balancerPods(pool))}) > 0`;
}

function balancerPods(pool: PoolSizing): Readonly<Record<string, string>> {
  return { namespace: pool.names.namespace, 'pod=~': `${pool.names.balancer}-[a-z0-9]+-[a-z0-9]+` };
}

/** The first incident of the field: ready builders beyond the load balancer's lines stand idle while builds wait. */
function buildersUnseen(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolBuildersUnseen',
    severity: 'critical',
    expr: `(${recorded('ready', pool, architecture)} - ${recorded('up', pool, architecture)} > 0) ${unlessReplacing(pool)}`,
    forSeconds: UNSEEN_AFTER_SECONDS,
    summary: `The load balancer does not see all builders of ${describe(pool, architecture)}`,
    description: `{{ $value }} builders are ready in Kubernetes, but the load balancer has no usable line for them. It knows ordinals 0 to ${architecture.line.ceiling.value - 1}.`,
  });
}

function buildersPending(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  const pods = podsOf(pool, architecture);
  const late = 2 * seconds(architecture.line.coldStartMs.value);
  const pending = `max by (pod) (${metric('kube_pod_status_phase', { ...pods, phase: 'Pending' })}) == 1`;
  const old = `time() - max by (pod) (${metric('kube_pod_created', pods)}) > ${late}`;
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolBuildersPending',
    severity: 'warning',
    expr: `count((${pending}) and on (pod) (${old})) > 0`,
    forSeconds: 0,
    summary: `Builders of ${describe(pool, architecture)} do not start`,
    description: `{{ $value }} builders have been pending for more than ${late} s, twice the expected cold start. There may be no capacity for their nodes.`,
  });
}

function builderKilled(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  const pods = podsOf(pool, architecture);
  const restarted = `increase(${metric('kube_pod_container_status_restarts_total', pods)}[${KILLED_WINDOW_SECONDS}s]) > 0`;
  const evicted = `${metric('kube_pod_status_reason', { ...pods, reason: 'Evicted' })} > 0`;
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolBuilderKilled',
    severity: 'warning',
    expr: `max by (pod) ((${restarted}) or (${evicted}))`,
    forSeconds: 0,
    summary: `A builder of ${describe(pool, architecture)} was killed`,
    description:
      '{{ $labels.pod }} restarted or was evicted, and with it the build that it had. Out of memory or disk is the usual cause.',
  });
}

/**
 * Kubernetes sets deletionTimestamp to the moment when the grace period ends, so a pod has been terminating since the
 * grace period before it.
 */
function drainLong(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  const { alertAfterSeconds, graceSeconds } = architecture.drain;
  const end = `max by (pod) (${metric('kube_pod_deletion_timestamp', podsOf(pool, architecture))})`;
  const left = graceSeconds.value - alertAfterSeconds.value;
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolDrainLong',
    severity: 'warning',
    expr: `(${end}) - time() < ${left} and (${end}) - time() > 0`,
    forSeconds: 0,
    summary: `A builder of ${describe(pool, architecture)} has been draining for long`,
    description: `{{ $labels.pod }} has been terminating for more than ${alertAfterSeconds.value} s and still has a build, or cannot see whether it has one. It is killed in {{ $value | humanizeDuration }}.`,
  });
}

function ordinalBlocked(pool: PoolSizing, architecture: ArchitectureSizing): AlertRule {
  const pods = podsOf(pool, architecture);
  const info = `max by (pod, node) (${metric('kube_pod_info', { ...pods, 'node!': '' })})`;
  const silent = `max by (node) (${metric('kube_node_status_condition', { condition: 'Ready', status: 'true' })}) == 0`;
  const end = `max by (pod) (${metric('kube_pod_deletion_timestamp', pods)})`;
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolOrdinalBlocked',
    severity: 'warning',
    expr: `max by (pod) ((${info}) and on (node) (${silent})) or time() - (${end}) > 0`,
    forSeconds: architecture.unreachableAfterSeconds.value,
    summary: `A builder of ${describe(pool, architecture)} is on a node that does not answer`,
    description:
      '{{ $labels.pod }} is on an unreachable node, or should long be gone. A StatefulSet does not start its ordinal anew before somebody acts.',
  });
}

function scalerBlind(
  pool: PoolSizing,
  architecture: ArchitectureSizing,
  blindAfterSeconds: number,
): AlertRule {
  const { scaledObject, statefulSet } = architecture.names;
  const { namespace } = pool.names;
  const errors = foreignMetric(
    'keda_scaler_detail_errors_total',
    pool,
    { scaledObject },
    ERROR_WINDOW_SECONDS,
  );
  const inactive = metric('kube_horizontalpodautoscaler_status_condition', {
    namespace,
    'horizontalpodautoscaler=~': `(keda-hpa-)?${scaledObject}`,
    condition: 'ScalingActive',
    status: 'true',
  });
  // At zero builders the HPA says that it is not active, and is right.
  const running = metric('kube_statefulset_replicas', { namespace, statefulset: statefulSet });
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolScalerBlind',
    severity: 'critical',
    expr: `sum(${errors}) > 0 or (max(${inactive}) == 0 and max(${running}) > 0)`,
    forSeconds: blindAfterSeconds,
    summary: `The autoscaler of ${describe(pool, architecture)} cannot read the demand`,
    description: `KEDA or the HorizontalPodAutoscaler reports errors for ${scaledObject}. The pool does not grow with the demand; it does not shrink either.`,
  });
}

/** Whatever the reason, and whether or not KEDA's own metrics are scraped. */
function scalerLags(
  pool: PoolSizing,
  architecture: ArchitectureSizing,
  blindAfterSeconds: number,
): AlertRule {
  const wanted = recorded('wanted', pool, architecture);
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolScalerLags',
    severity: 'critical',
    expr: `${recorded('demand', pool, architecture)} > ${wanted} and ${wanted} < ${recorded('max', pool, architecture)}`,
    forSeconds: blindAfterSeconds,
    summary: `${describe(pool, architecture)} does not grow with its demand`,
    description:
      '{{ $value }} builds want a builder, fewer builders are asked for, and the maximum is not reached.',
  });
}

function certificateExpiring(pool: PoolSizing, certificates: CertificateSizing): AlertRule {
  const { balancerSecret, balancerClientSecret, buildersSecret, clientSecret, namedClients } = pool.names;
  const names = [
    ...[balancerSecret, balancerClientSecret, buildersSecret, clientSecret].filter((name) => name !== null),
    ...namedClients.map(({ secret }) => secret),
    // The pool's own authorities, where cert-manager makes them.
    `${pool.pool.name}-(clients|builders)-ca`,
  ].join('|');
  const byCertManager = foreignMetric('certmanager_certificate_expiration_timestamp_seconds', pool, {
    'name=~': names,
  });
  const byExporter = metric('x509_cert_not_after', {
    secret_namespace: pool.names.namespace,
    'secret_name=~': names,
  });
  const ends = `label_replace(${byCertManager}, "certificate", "$1", "name", "(.*)") or label_replace(${byExporter}, "certificate", "$1", "secret_name", "(.*)")`;
  return alert(poolLabels(pool), {
    name: 'BuildkitPoolCertificateExpiring',
    severity: 'critical',
    expr: `min by (certificate) (${ends}) - time() < ${seconds(certificates.alertBeforeMs.value)}`,
    forSeconds: GONE_AFTER_SECONDS,
    summary: `A certificate of the pool ${pool.pool.name} is about to expire`,
    description:
      'Certificate {{ $labels.certificate }} ends in {{ $value | humanizeDuration }}; its renewal is overdue. When it has ended no build can join, or no builder be reached.',
  });
}

/** buildkitd reads its key pair once, at start: what it then had is what it has. */
function builderCertificateOld(
  pool: PoolSizing,
  architecture: ArchitectureSizing,
  certificates: CertificateSizing,
): AlertRule {
  const pods = podsOf(pool, architecture);
  const age = `time() - max by (pod) (${metric('kube_pod_start_time', pods)})`;
  const oldest = oldestBuilderSeconds(certificates);
  return alert(ruleLabels(pool, architecture), {
    name: 'BuildkitPoolBuilderCertificateOld',
    severity: 'warning',
    expr: `count((${age} > ${oldest}) unless on (pod) ${metric('kube_pod_deletion_timestamp', pods)}) > 0`,
    forSeconds: GONE_AFTER_SECONDS,
    summary: `Builders of ${describe(pool, architecture)} hold an old certificate`,
    description: `{{ $value }} pods started more than ${oldest} s ago and read their certificate then. It may end before they have been replaced.`,
  });
}

/**
 * The age in seconds at which a builder must be replaced: a certificate that is renewed in time has `renewBefore` left
 * when a builder reads it, and replacing all builders takes `roll`.
 */
export function oldestBuilderSeconds(certificates: CertificateSizing): number {
  return seconds(certificates.buildersRenewBeforeMs.value) - seconds(certificates.rollMs.value);
}

function documentDown(pool: PoolSizing): AlertRule {
  const available = metric('kube_deployment_status_replicas_available', {
    namespace: pool.names.namespace,
    deployment: pool.names.document,
  });
  return alert(poolLabels(pool), {
    name: 'BuildkitPoolDocumentDown',
    severity: 'warning',
    expr: `max(${available}) == 0`,
    forSeconds: UNSEEN_AFTER_SECONDS,
    summary: `The pool document of ${pool.pool.name} is not served`,
    description: `No pod of ${pool.names.document} is available. Workflows that name the pool by its URL cannot find it; those that name the endpoint can.`,
  });
}

interface Alert {
  readonly name: string;
  readonly severity: Severity;
  readonly expr: string;
  readonly forSeconds: number;
  readonly summary: string;
  readonly description: string;
}

function alert(labels: Record<string, string>, rule: Alert): AlertRule {
  return {
    alert: rule.name,
    expr: rule.expr,
    for: `${rule.forSeconds}s`,
    labels: { ...labels, severity: rule.severity },
    annotations: {
      summary: rule.summary,
      description: rule.description,
      runbook_url: `${RUNBOOK}#${rule.name.toLowerCase()}`,
    },
  };
}

function poolLabels(pool: PoolSizing): Record<string, string> {
  return { namespace: pool.names.namespace, pool: pool.pool.name };
}

function describe(pool: PoolSizing, architecture: ArchitectureSizing): string {
  return `pool ${pool.pool.name}, ${architecture.name}`;
}

function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}
