/** The rules under the real promtool: read without complaint, and each alert firing exactly when it should. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { oldestBuilderSeconds } from '../../../src/pool/monitoring/alerts.ts';
import { ruleGroups } from '../../../src/pool/monitoring/rules.ts';
import type { ArchitectureSizing, CertificateSizing, PoolSizing } from '../../../src/pool/sizing/model.ts';
import { accept } from '../../support/pool-yaml.ts';
import { findPrometheus } from '../../support/promtool.ts';
import {
  balancerSeries,
  COUNTING,
  certificate,
  lineWorld,
  nodeReady,
  podSeries,
  podWorld,
  poolWorld,
  STEP_SECONDS,
  scalerActive,
  scalerErrors,
  series,
  steady,
  step,
  until,
  type World,
} from './world.ts';

const MAX = 4;
const [POOL] = accept(`
version: 1
pools:
  main:
    namespace: buildkit
    builds: { longest: 30m }
    architectures:
      amd64: { min: 0, max: ${MAX} }
      arm64: { min: 1, max: ${MAX} }
`).sizing.pools as readonly [PoolSizing];
const { namespace, balancer, balancerSecret } = POOL.names;
const [AMD64, ARM64] = POOL.architectures as readonly [ArchitectureSizing, ArchitectureSizing];
const CERTIFICATES = POOL.certificates as CertificateSizing;
const { statefulSet, scaledObject } = AMD64.names;
const HEALTHY = poolWorld(POOL, { builders: 2, busy: 1, waiting: 0 });

/** Longer than any threshold but those of drains and certificates. */
const LONG = 2_400;
/** An alert is firing at most so much later than its threshold: one step to see it, one to count from. */
const SLACK = 2 * STEP_SECONDS;

interface Firing {
  readonly alert: string;
  readonly [label: string]: string;
}

/** All alerts that fire, at seconds after the beginning. */
interface Scenario {
  readonly name: string;
  readonly world: World;
  readonly firing: ReadonlyMap<number, readonly Firing[]>;
}

function scenario(
  name: string,
  change: Iterable<readonly [string, string]>,
  firing: Readonly<Record<number, readonly Firing[]>>,
): Scenario {
  return {
    name,
    world: new Map([...HEALTHY, ...change]),
    firing: new Map(Object.entries(firing).map(([at, alerts]) => [Number(at), alerts])),
  };
}

/** The alert from `afterSeconds` on, and no other at any time. */
function fires(alert: Firing, afterSeconds: number): Record<number, readonly Firing[]> {
  return { [Math.floor(afterSeconds) - SLACK]: [], [Math.ceil(afterSeconds) + SLACK]: [alert] };
}

const amd64 = (alert: string, severity: string, labels: Readonly<Record<string, string>> = {}): Firing => ({
  alert,
  severity,
  namespace,
  pool: 'main',
  arch: 'amd64',
  ...labels,
});
const whole = (alert: string, severity: string, labels: Readonly<Record<string, string>> = {}): Firing => ({
  alert,
  severity,
  namespace,
  pool: 'main',
  ...labels,
});

const seconds = (ms: number): number => Math.ceil(ms / 1000);
const line = (builders: number, busy: number, waiting: number) =>
  lineWorld(POOL, AMD64, { builders, busy, waiting });
const pod = (ordinal: number): string => `${statefulSet}-${ordinal}`;
const replicas = series('kube_statefulset_replicas', { namespace, statefulset: statefulSet });
const balancerPod = `${balancer}-5d4f8-x2x9z`;
const { stuckAfterMs, longAfterMs, noBuilderAfterMs, coldStartMs } = AMD64.line;
const blindAfter = AMD64.autoscaler?.blindAfterSeconds.value ?? 0;
const unreachableAfter = AMD64.unreachableAfterSeconds.value;
const PENDING_AFTER = 2 * seconds(coldStartMs.value);
const GONE_AFTER = 120;
const UNSEEN_AFTER = 300;

/** The third builder is there for Kubernetes only. */
const unseen = podWorld(namespace, pod(2), 'node-2');
const unseenReplicas = [replicas, steady(3)] as const;
const noBuilders: readonly (readonly [string, string])[] = [0, 1].flatMap((ordinal) => [
  [
    balancerSeries(POOL, 'haproxy_server_status', {
      proxy: 'builders_amd64',
      server: `b${ordinal}`,
      state: 'UP',
    }),
    steady(0),
  ],
  [podSeries('kube_pod_status_ready', namespace, pod(ordinal), { condition: 'true' }), steady(0)],
]);
const replacing = [
  podSeries('kube_pod_deletion_timestamp', namespace, balancerPod),
  steady(10 * LONG),
] as const;
const demand = (value: string) =>
  [balancerSeries(POOL, 'haproxy_frontend_current_sessions', { proxy: 'amd64' }), value] as const;
const waiting = (value: string) =>
  [balancerSeries(POOL, 'haproxy_backend_current_queue', { proxy: 'builders_amd64' }), value] as const;

const drainEnd = 2_610;
const drainLongAt = drainEnd - AMD64.drain.graceSeconds.value + AMD64.drain.alertAfterSeconds.value;

const SCENARIOS: readonly Scenario[] = [
  scenario('a healthy pool', [], { 600: [], [LONG]: [] }),
  scenario('a full pool that is growing, and a line below its maximum', line(4, 4, 3), {
    600: [],
    [LONG]: [],
  }),
  scenario('a pool at zero without demand', [...line(0, 0, 0), ...noBuilders], { 600: [], [LONG]: [] }),

  scenario(
    'the load balancer is gone',
    [...HEALTHY].filter(([key]) => key.startsWith('haproxy_')).map(([key]) => [key, until(1, 600)] as const),
    {
      [600 + GONE_AFTER - SLACK]: [],
      [600 + GONE_AFTER + SLACK]: [
        amd64('BuildkitPoolBalancerDown', 'critical'),
        { ...amd64('BuildkitPoolBalancerDown', 'critical'), arch: 'arm64' },
      ],
    },
  ),

  scenario(
    'the line is stuck while builders are idle',
    line(2, 1, 1),
    fires(amd64('BuildkitPoolLineStuck', 'critical'), seconds(stuckAfterMs.value)),
  ),
  scenario(
    'builds wait behind busy builders, and others are idle only while nobody waits',
    [...line(4, 4, 0), waiting(step(1, 600, 0)), demand(step(5, 600, 4))],
    { [seconds(stuckAfterMs.value) + SLACK]: [], [LONG]: [] },
  ),

  scenario(
    'the line is long at the maximum',
    line(MAX, MAX, MAX + 1),
    fires(amd64('BuildkitPoolLineLong', 'warning'), seconds(longAfterMs.value)),
  ),
  scenario('the line is as long as the pool is large', line(MAX, MAX, MAX), { [LONG]: [] }),
  scenario(
    'the line was long for a moment',
    [
      ...line(MAX, MAX, MAX),
      waiting(step(MAX + 1, seconds(longAfterMs.value) - 60, 1)),
      demand(step(2 * MAX + 1, seconds(longAfterMs.value) - 60, MAX + 1)),
    ],
    { [seconds(longAfterMs.value) + SLACK]: [], [LONG]: [] },
  ),

  scenario('there is no builder, and builds wait', [...line(2, 0, 2), ...noBuilders], {
    ...fires(amd64('BuildkitPoolNoBuilder', 'critical'), seconds(noBuilderAfterMs.value)),
  }),
  scenario(
    'there is no usable builder because the load balancer is being replaced and the old one has them all',
    [...line(2, 0, 2), ...noBuilders, replacing],
    { [seconds(noBuilderAfterMs.value) + SLACK]: [], [LONG]: [] },
  ),

  scenario(
    'incident 1: builders are ready and the load balancer has no line for them',
    [...unseen, unseenReplicas],
    fires(amd64('BuildkitPoolBuildersUnseen', 'critical'), UNSEEN_AFTER),
  ),
  scenario(
    'a builder that drains is not seen any more, as it should be',
    [...unseen, [podSeries('kube_pod_deletion_timestamp', namespace, pod(2)), steady(10 * LONG)]],
    { [UNSEEN_AFTER + SLACK]: [], [LONG]: [] },
  ),

  scenario(
    'incident 3: builders find no node',
    [
      ...unseen,
      unseenReplicas,
      [podSeries('kube_pod_status_phase', namespace, pod(2), { phase: 'Pending' }), steady(1)],
      [podSeries('kube_pod_status_ready', namespace, pod(2), { condition: 'true' }), steady(0)],
    ],
    fires(amd64('BuildkitPoolBuildersPending', 'warning'), PENDING_AFTER),
  ),

  scenario(
    'a builder restarts',
    [
      [
        podSeries('kube_pod_container_status_restarts_total', namespace, pod(1), { container: 'buildkitd' }),
        step(0, 900, 1),
      ],
    ],
    {
      [900 - SLACK]: [],
      [900 + SLACK]: [amd64('BuildkitPoolBuilderKilled', 'warning', { pod: pod(1) })],
      [900 + 660]: [],
    },
  ),
  scenario(
    'a builder is evicted',
    [[podSeries('kube_pod_status_reason', namespace, pod(1), { reason: 'Evicted' }), step(0, 900, 1)]],
    {
      [900 - SLACK]: [],
      [900 + SLACK]: [amd64('BuildkitPoolBuilderKilled', 'warning', { pod: pod(1) })],
    },
  ),

  scenario(
    'a drain takes too long',
    [[podSeries('kube_pod_deletion_timestamp', namespace, pod(1)), steady(drainEnd)]],
    {
      ...fires(amd64('BuildkitPoolDrainLong', 'warning', { pod: pod(1) }), drainLongAt),
      [drainEnd - SLACK]: [amd64('BuildkitPoolDrainLong', 'warning', { pod: pod(1) })],
      // Killed by then: a pod that is still there is on a node that does nothing.
      [drainEnd + unreachableAfter - SLACK]: [],
      [drainEnd + unreachableAfter + SLACK]: [
        amd64('BuildkitPoolOrdinalBlocked', 'warning', { pod: pod(1) }),
      ],
    },
  ),

  scenario(
    'the node of an ordinal is unreachable',
    [[nodeReady('node-1'), step(1, 600, 0)]],
    // The nodes of both architectures have the same names in this world.
    {
      [600 + unreachableAfter - SLACK]: [],
      [600 + unreachableAfter + SLACK]: [
        amd64('BuildkitPoolOrdinalBlocked', 'warning', { pod: pod(1) }),
        {
          ...amd64('BuildkitPoolOrdinalBlocked', 'warning', { pod: `${ARM64.names.statefulSet}-1` }),
          arch: 'arm64',
        },
      ],
    },
  ),
  scenario('a node without builders is unreachable', [[nodeReady('another'), steady(0)]], { [LONG]: [] }),

  scenario(
    'KEDA cannot read the metric',
    [[scalerErrors(scaledObject, { exported_namespace: namespace, namespace: 'keda' }), COUNTING]],
    fires(amd64('BuildkitPoolScalerBlind', 'critical'), blindAfter + STEP_SECONDS),
  ),
  scenario(
    'KEDA cannot read the metric, and its scrape honours labels',
    [[scalerErrors(scaledObject, { namespace }), COUNTING]],
    fires(amd64('BuildkitPoolScalerBlind', 'critical'), blindAfter + STEP_SECONDS),
  ),
  scenario(
    'KEDA failed once',
    [[scalerErrors(scaledObject, { exported_namespace: namespace, namespace: 'keda' }), step(0, 600, 1)]],
    { [600 + blindAfter - SLACK]: [], [600 + blindAfter + SLACK]: [], [LONG]: [] },
  ),
  scenario(
    "another pool's scaler fails",
    [[scalerErrors(scaledObject, { exported_namespace: 'elsewhere', namespace: 'keda' }), COUNTING]],
    { [LONG]: [] },
  ),
  scenario(
    'the autoscaler says that it is not active',
    [[scalerActive(POOL, AMD64), steady(0)]],
    fires(amd64('BuildkitPoolScalerBlind', 'critical'), blindAfter),
  ),
  scenario(
    'the autoscaler is not active because the pool is at zero',
    [...line(0, 0, 0), ...noBuilders, [scalerActive(POOL, AMD64), steady(0)]],
    { [LONG]: [] },
  ),

  scenario(
    'incident 9: builds wait and nobody asks for more builders',
    line(2, 2, 1),
    fires(amd64('BuildkitPoolScalerLags', 'critical'), blindAfter),
  ),

  scenario(
    'a certificate ends soon',
    [
      [
        certificate(POOL, balancerSecret ?? '', 'exported_namespace'),
        steady(seconds(CERTIFICATES.alertBeforeMs.value) + 600),
      ],
    ],
    fires(
      whole('BuildkitPoolCertificateExpiring', 'critical', { certificate: balancerSecret ?? '' }),
      600 + GONE_AFTER,
    ),
  ),
  scenario(
    "the pool's own authority ends soon",
    [
      [
        certificate(POOL, 'main-builders-ca', 'namespace').replace('namespace="cert-manager",', ''),
        steady(seconds(CERTIFICATES.alertBeforeMs.value) + 600),
      ],
    ],
    fires(
      whole('BuildkitPoolCertificateExpiring', 'critical', { certificate: 'main-builders-ca' }),
      600 + GONE_AFTER,
    ),
  ),
  scenario(
    'a Secret that somebody else fills ends soon',
    [
      [
        series('x509_cert_not_after', { secret_namespace: namespace, secret_name: balancerSecret ?? '' }),
        steady(seconds(CERTIFICATES.alertBeforeMs.value) + 600),
      ],
    ],
    fires(
      whole('BuildkitPoolCertificateExpiring', 'critical', { certificate: balancerSecret ?? '' }),
      600 + GONE_AFTER,
    ),
  ),
  scenario(
    "another namespace's certificate ends soon",
    [
      [
        series('certmanager_certificate_expiration_timestamp_seconds', {
          namespace: 'cert-manager',
          exported_namespace: 'elsewhere',
          name: balancerSecret ?? '',
        }),
        steady(0),
      ],
    ],
    { [LONG]: [] },
  ),
  scenario(
    'a builder has been running with a certificate of long ago',
    [[podSeries('kube_pod_start_time', namespace, pod(0)), steady(600 - oldestBuilderSeconds(CERTIFICATES))]],
    fires(amd64('BuildkitPoolBuilderCertificateOld', 'warning'), 600 + GONE_AFTER),
  ),
  scenario(
    'a builder with a certificate of long ago is draining',
    [
      [podSeries('kube_pod_start_time', namespace, pod(0)), steady(600 - oldestBuilderSeconds(CERTIFICATES))],
      [podSeries('kube_pod_deletion_timestamp', namespace, pod(0)), steady(600 + 4 * 3600)],
    ],
    { [600 + GONE_AFTER + SLACK]: [] },
  ),
  scenario(
    'the pool document is not served',
    [
      [
        series('kube_deployment_status_replicas_available', { namespace, deployment: POOL.names.document }),
        steady(0),
      ],
    ],
    fires(whole('BuildkitPoolDocumentDown', 'warning'), 300),
  ),
];

let promtool = '';
let folder = '';

beforeAll(async () => {
  ({ promtool } = await findPrometheus());
  folder = await mkdtemp(join(tmpdir(), 'rules-'));
  await writeFile(join(folder, 'rules.yaml'), stringify({ groups: ruleGroups(POOL) }, { lineWidth: 0 }));
  // It may have to be fetched.
}, 600_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(...args: string[]): Promise<string> {
  const done = await promisify(execFile)(promtool, args, { cwd: folder }).catch((error: unknown) => {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`promtool ${args.join(' ')}:\n${stdout}${stderr}`);
  });
  return done.stdout;
}

test('promtool reads the rules', async () => {
  expect(await run('check', 'rules', 'rules.yaml')).toMatch(/SUCCESS: \d+ rules found/);
});

test('promtool reads the rules of every example', async () => {
  const files = (await readdir('manifests', { recursive: true })).filter((path) =>
    /\/prometheusrule-[^/]+\.yaml$/.test(path),
  );
  expect(files.length).toBeGreaterThan(0);
  for (const [index, file] of files.entries()) {
    const { spec } = parse(await readFile(join('manifests', file), 'utf8')) as { spec: unknown };
    await writeFile(join(folder, `example-${index}.yaml`), stringify(spec, { lineWidth: 0 }));
    expect(await run('check', 'rules', `example-${index}.yaml`), file).toMatch(/SUCCESS: \d+ rules found/);
  }
});

test('every alert fires in a scenario', () => {
  const alerts = ruleGroups(POOL).flatMap(({ rules }) =>
    rules.flatMap((rule) => ('alert' in rule ? [rule.alert] : [])),
  );
  const fired = SCENARIOS.flatMap(({ firing }) => [...firing.values()].flat().map(({ alert }) => alert));
  expect([...new Set(fired)].sort()).toEqual([...new Set(alerts)].sort());
});

test('every alert has a section in the operations guide', async () => {
  const guide = await readFile('docs/operations.md', 'utf8');
  const headings = [...guide.matchAll(/^#+ (BuildkitPool\w+)$/gm)].map(([, name]) => name);
  const alerts = ruleGroups(POOL).flatMap(({ rules }) =>
    rules.flatMap((rule) => ('alert' in rule ? [rule.alert] : [])),
  );
  expect([...new Set(headings)].sort()).toEqual([...new Set(alerts)].sort());
});

function unitTest({ name, world, firing }: Scenario) {
  return {
    name,
    interval: `${STEP_SECONDS}s`,
    input_series: [...world].map(([key, values]) => ({ series: key, values })),
    promql_expr_test: [...firing].map(([at, alerts]) => ({
      expr: 'ALERTS{alertstate="firing"}',
      eval_time: `${Math.round(at)}s`,
      exp_samples: alerts.map(({ alert, ...labels }) => ({
        labels: series('ALERTS', { alertname: alert, alertstate: 'firing', ...labels }),
        value: 1,
      })),
    })),
  };
}

describe('exactly these alerts fire when', () => {
  test.each(SCENARIOS.map((one) => [one.name, one] as const))('%s', async (_, one) => {
    const file = `test-${SCENARIOS.indexOf(one)}.yaml`;
    await writeFile(
      join(folder, file),
      stringify({
        rule_files: ['rules.yaml'],
        evaluation_interval: `${STEP_SECONDS}s`,
        tests: [unitTest(one)],
      }),
    );
    expect(await run('test', 'rules', file)).toContain('SUCCESS');
  });
});

test('what a person reads', async () => {
  const tests = [
    {
      interval: `${STEP_SECONDS}s`,
      input_series: [
        ...new Map([
          ...HEALTHY,
          ...line(2, 1, 1),
          [podSeries('kube_pod_deletion_timestamp', namespace, pod(1)), steady(drainEnd)],
        ] as Iterable<[string, string]>),
      ].map(([key, values]) => ({ series: key, values })),
      alert_rule_test: [
        {
          eval_time: '600s',
          alertname: 'BuildkitPoolLineStuck',
          exp_alerts: [
            {
              exp_labels: { severity: 'critical', namespace, pool: 'main', arch: 'amd64' },
              exp_annotations: {
                summary: 'Builds of pool main, amd64 wait while builders are idle',
                description:
                  '1 builds have been waiting although the load balancer has builders without a build. The line is not being served.',
                runbook_url:
                  'https://github.com/buildkit-pool/buildkit-pool/blob/main/docs/operations.md#buildkitpoollinestuck',
              },
            },
          ],
        },
        {
          eval_time: `${drainEnd - 60}s`,
          alertname: 'BuildkitPoolDrainLong',
          exp_alerts: [
            {
              exp_labels: { severity: 'warning', namespace, pool: 'main', arch: 'amd64', pod: pod(1) },
              exp_annotations: {
                summary: 'A builder of pool main, amd64 has been draining for long',
                description: `${pod(1)} has been terminating for more than ${AMD64.drain.alertAfterSeconds.value} s and still has a build, or cannot see whether it has one. It is killed in 1m 0s.`,
                runbook_url:
                  'https://github.com/buildkit-pool/buildkit-pool/blob/main/docs/operations.md#buildkitpooldrainlong',
              },
            },
          ],
        },
      ],
    },
  ];
  await writeFile(
    join(folder, 'texts.yaml'),
    stringify(
      { rule_files: ['rules.yaml'], evaluation_interval: `${STEP_SECONDS}s`, tests },
      { lineWidth: 0 },
    ),
  );
  expect(await run('test', 'rules', 'texts.yaml')).toContain('SUCCESS');
});
