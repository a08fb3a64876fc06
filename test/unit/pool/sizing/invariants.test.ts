import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HPA_START, HPA_SYNC_MS, type HpaSpec, stepHpa } from '../../../../src/autoscaler/hpa.ts';
import { AUTOSCALER_START, type KedaSpec, stepAutoscaler } from '../../../../src/autoscaler/keda.ts';
import { GATE_RESOURCES } from '../../../../src/pool/builder/pod.ts';
import { balancerModel } from '../../../../src/pool/components/balancer-model.ts';
import { parseCpu, parseSize } from '../../../../src/pool/config/units.ts';
import { explain, explainSizing } from '../../../../src/pool/explain.ts';
import { METRICS_CONNECTIONS } from '../../../../src/pool/haproxy.ts';
import { readPool } from '../../../../src/pool/read.ts';
import type {
  ArchitectureSizing,
  AutoscalerSizing,
  BuilderSizing,
  PoolSizing,
  ProbeSizing,
  Sizing,
} from '../../../../src/pool/sizing/model.ts';
import { accept, writtenFiles } from '../../../support/pool-yaml.ts';

const RUNS = 150;
const DNS_LABEL = /^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** Holds `check` against every accepted file; fails, too, if hardly any is accepted, for then nothing was held. */
function everyAccepted(check: (sizing: Sizing) => void): void {
  let accepted = 0;
  fc.assert(
    fc.property(writtenFiles, (text) => {
      const reading = readPool(text);
      if (reading.kind === 'refused') return;
      accepted++;
      check(reading.sizing);
    }),
    { numRuns: RUNS },
  );
  expect(accepted).toBeGreaterThan(RUNS / 5);
}

const everyPool = (check: (pool: PoolSizing) => void) =>
  everyAccepted(({ pools }) => {
    for (const pool of pools) check(pool);
  });

const everyArchitecture = (check: (architecture: ArchitectureSizing, pool: PoolSizing) => void) =>
  everyPool((pool) => {
    for (const architecture of pool.architectures) check(architecture, pool);
  });

test('the load balancer knows every builder there can be', () => {
  everyArchitecture(({ line, architecture, autoscaler, replicas }) => {
    const ceiling = line.ceiling.value;
    expect(ceiling).toBeGreaterThanOrEqual(architecture.max);
    expect(ceiling).toBeGreaterThanOrEqual(autoscaler?.maxReplicas.value ?? 0);
    expect(ceiling).toBeGreaterThanOrEqual(autoscaler?.fallbackReplicas.value ?? 0);
    expect(ceiling).toBeGreaterThanOrEqual(replicas?.value ?? 0);
    expect(ceiling).toBeLessThanOrEqual(2048);
    if (architecture.ceiling === null)
      expect(ceiling).toBeGreaterThanOrEqual(Math.min(2 * architecture.max, 2048));
  });
});

test('cold start < deadline of the Action < queue timeout of the load balancer', () => {
  everyPool(({ architectures, balancer, action }) => {
    for (const { line } of architectures) {
      expect(line.queueTimeoutMs.value).toBeGreaterThan(line.coldStartMs.value);
      expect(balancer.queueTimeoutMs.value).toBeGreaterThan(line.queueTimeoutMs.value);
      expect(action.queueTimeoutMs.value).toBeGreaterThanOrEqual(line.queueTimeoutMs.value);
      expect(line.queueTimeoutMs.value).toBeGreaterThanOrEqual(line.burstWaitMs?.value ?? 0);
    }
  });
});

test('an entrance takes every builder’s build many times over, and the declared burst; the load balancer all of them twice, and the scaler', () => {
  everyAccepted((sizing) => {
    for (const pool of sizing.pools) {
      const model = balancerModel(sizing, pool);
      for (const { routes, otherwise, maxConnections } of model.entrances) {
        const names = [...routes.map((route) => route.pool), otherwise];
        const served = pool.architectures.filter(({ names: own }) => names.includes(own.frontend));
        const ceiling = served.reduce((sum, { line }) => sum + line.ceiling.value, 0);
        const burst = served.reduce((sum, { architecture }) => sum + (architecture.builds.burst ?? 0), 0);
        expect(served.length).toBeGreaterThan(0);
        expect(maxConnections).toBeGreaterThanOrEqual(Math.max(8 * ceiling, 1.5 * burst));
      }
      // Each client is at an entrance and in a line; beside them are metrics, and for each line plug and placeholder.
      const clients = model.entrances.reduce((sum, { maxConnections }) => sum + maxConnections, 0);
      const beside = METRICS_CONNECTIONS + 2 * model.pools.length;
      expect(model.maxConnections).toBeGreaterThanOrEqual(2 * clients + beside + 100);
      for (const { name } of model.pools) {
        const towards = model.entrances.filter(
          ({ routes, otherwise }) => otherwise === name || routes.some((route) => route.pool === name),
        );
        const sum = towards.reduce((all, { maxConnections }) => all + maxConnections, 0);
        // Ports of a loopback address.
        expect(sum).toBeLessThanOrEqual(60_999 - 32_768);
      }
    }
  });
});

test('a burst of more than the builders’ own share makes its entrance larger', () => {
  const clients = (burst: string) => {
    const [pool] = accept(`
version: 1
pools:
  buildkitd:
    builds: {typical: 5m${burst}}
    architectures:
      amd64: {max: 200, ceiling: 200}
`).sizing.pools;
    return pool?.architectures[0]?.line.clients.value;
  };
  expect(clients('')).toBe(1792);
  expect(clients(', burst: 1000')).toBe(1792);
  expect(clients(', burst: 2000')).toBe(3072);
});

test('the load balancer has memory for as many connections as it takes, and for every builder’s build', () => {
  everyPool(({ balancer, architectures }) => {
    const builders = architectures.reduce((sum, { line }) => sum + line.ceiling.value, 0);
    // Measured: 24 KiB a connection, 26 MiB with none. Twice that, and four buffers of 16 KiB for each build.
    const least = 52 * 2 ** 20 + balancer.maxConnections.value * 48 * 1024 + builders * 64 * 1024;
    expect(balancer.memoryBytes.value).toBeGreaterThanOrEqual(least);
  });
});

test('nothing in the load balancer ends a build or a wait before its time', () => {
  everyPool(({ architectures, balancer }) => {
    const longest = Math.max(...architectures.map(({ architecture }) => architecture.builds.longestMs));
    for (const timeout of [balancer.clientTimeoutMs, balancer.serverTimeoutMs]) {
      expect(timeout.value).toBeGreaterThan(longest);
      expect(timeout.value).toBeGreaterThanOrEqual(balancer.queueTimeoutMs.value);
      // HAProxy keeps times in 31 bits of milliseconds.
      expect(timeout.value).toBeLessThan(2 ** 31);
    }
    expect(balancer.hardStopSeconds.value * 1000).toBeGreaterThan(longest);
    expect(balancer.graceSeconds.value).toBeGreaterThan(balancer.hardStopSeconds.value);
    expect(balancer.holdOutageMs.value).toBeGreaterThanOrEqual(3_600_000);
  });
});

test('a drain outlasts the longest build, whenever it came, and leaves buildkitd its time to stop', () => {
  everyArchitecture(({ drain, architecture }) => {
    const last = drain.firstLookSeconds.value + architecture.builds.longestMs / 1000;
    const looks = drain.idleLooks.value * drain.lookIntervalSeconds.value;
    expect(drain.deadlineSeconds.value).toBeGreaterThanOrEqual(last + looks);
    expect(drain.graceSeconds.value).toBeGreaterThanOrEqual(drain.deadlineSeconds.value + 30);
    expect(drain.alertAfterSeconds.value).toBeLessThan(drain.deadlineSeconds.value);
    expect(drain.alertAfterSeconds.value * 1000).toBeGreaterThan(architecture.builds.longestMs);
  });
});

test('the autoscaler keeps within what Kubernetes allows', () => {
  everyArchitecture(({ autoscaler }) => {
    if (autoscaler === null) return;
    const { minReplicas, maxReplicas, fallbackReplicas, scaleDown } = autoscaler;
    expect(minReplicas.value).toBeLessThanOrEqual(maxReplicas.value);
    expect(fallbackReplicas.value).toBeGreaterThanOrEqual(Math.max(minReplicas.value, 1));
    expect(fallbackReplicas.value).toBeLessThanOrEqual(maxReplicas.value);
    expect(scaleDown.stabilizationWindowSeconds.value).toBeLessThanOrEqual(3600);
    expect(scaleDown.periodSeconds.value).toBeLessThanOrEqual(1800);
    expect(scaleDown.periodSeconds.value).toBeGreaterThan(0);
    expect(scaleDown.stabilizationWindowSeconds.value).toBeGreaterThanOrEqual(scaleDown.periodSeconds.value);
    // KEDA has no fallback for a formula with any other.
    expect(Number.isInteger(autoscaler.target.value)).toBe(true);
  });
});

test('one build more than builders always brings a builder, and so do the spare ones, by the HPA’s own arithmetic', () => {
  everyArchitecture(({ autoscaler, architecture }) => {
    if (autoscaler === null) return;
    const spec = hpaSpec(autoscaler);
    const least = Math.max(autoscaler.minReplicas.value, 1);
    for (const builders of [least, Math.floor((least + spec.maxReplicas) / 2), spec.maxReplicas - 1]) {
      if (builders < least || builders >= spec.maxReplicas) continue;
      const demand = builders + 1 - architecture.spare;
      if (demand < 0) continue;
      const { replicas } = stepHpa(spec, HPA_START, builders, usage(autoscaler, demand), 0);
      expect(replicas).toBeGreaterThan(builders);
    }
  });
});

test('from max to min takes as long as KEDA and the HPA take, and no step is larger than the policies allow', () => {
  everyArchitecture(({ autoscaler, shrink }) => {
    if (autoscaler === null || shrink === null || autoscaler.maxReplicas.value > 150) return;
    const floor = autoscaler.minReplicas.value;
    // Spare builders stay.
    if (Math.ceil(usage(autoscaler, 0)) > floor) return;
    const spec = hpaSpec(autoscaler);
    const keda: KedaSpec = {
      pollingIntervalMs: autoscaler.pollingIntervalSeconds.value * 1000,
      cooldownMs: autoscaler.cooldownSeconds.value * 1000,
      activationThreshold: 0,
      fallback: null,
    };
    const { builders: atOnce, percent, periodSeconds } = autoscaler.scaleDown;
    let now = 0;
    let { replicas, state } = stepAutoscaler(
      spec,
      keda,
      AUTOSCALER_START,
      spec.maxReplicas,
      usage(autoscaler, spec.maxReplicas),
      now,
    );
    while (replicas > floor) {
      now += HPA_SYNC_MS;
      const before = replicas;
      ({ replicas, state } = stepAutoscaler(spec, keda, state, before, usage(autoscaler, 0), now));
      const allowed = Math.max(atOnce.value, Math.ceil((before * percent.value) / 100));
      expect(before - replicas).toBeLessThanOrEqual(allowed);
    }
    // Each step may be seen one look later than it is due.
    const steps = 2 + shrink.durationMs.value / 1000 / periodSeconds.value;
    expect(now).toBeGreaterThanOrEqual(shrink.durationMs.value);
    expect(now).toBeLessThanOrEqual(shrink.durationMs.value + steps * HPA_SYNC_MS);
  });
});

test('builders and their caches fit into their nodes', () => {
  everyArchitecture(({ builder, nodePools, architecture }, { pool }) => {
    expect(builder.cacheBytes.value + builder.scratchBytes.value).toBe(builder.diskBytes.value);
    expect(builder.reservedBytes.value).toBeLessThanOrEqual(builder.cacheBytes.value);
    expect(builder.scratchBytes.value).toBeGreaterThan(0);
    for (const [index, node] of (nodePools?.pools ?? []).entries()) {
      const count = node.builders.value;
      expect(count).toBeGreaterThanOrEqual(index === 0 ? architecture.buildersPerNode : 1);
      const pod = podRequests(builder);
      expect(count * pod.cpuMillis).toBeLessThanOrEqual(node.allocatableCpuMillis.value);
      expect(count * pod.memoryBytes).toBeLessThanOrEqual(node.allocatableMemoryBytes.value);
      expect(node.nodes.value * count).toBeGreaterThanOrEqual(architecture.replicas ?? architecture.max);
      expect(node.weight.value).toBeGreaterThanOrEqual(1);
      expect(node.weight.value).toBeLessThanOrEqual(100);
      const type =
        architecture.nodes.kind === 'karpenter' ? architecture.nodes.instanceTypes[index] : undefined;
      expect(node.cpuLimit.value * 1000).toBeGreaterThanOrEqual(
        node.nodes.value * (type?.size.cpuMillis ?? 0),
      );
      expect(node.memoryLimitBytes.value).toBeGreaterThanOrEqual(
        node.nodes.value * (type?.size.memoryBytes ?? Number.NaN),
      );
      if (pool.cache.kind === 'volume') continue;
      const disk = type?.size.diskBytes ?? 0;
      // What the scheduler may at most see of the disk: the kubelet keeps 10 %.
      const scheduled = Math.min(
        Math.floor((type?.size.cpuMillis ?? 0) / pod.cpuMillis),
        Math.floor((disk * 0.9) / (builder.ephemeralBytes?.value ?? Number.NaN)),
      );
      expect(scheduled).toBeGreaterThanOrEqual(count);
      expect(builder.cacheSlots?.value).toBeGreaterThanOrEqual(count);
      // However many it puts there, the kubelet evicts when 15 % of the disk that holds the images is left.
      expect(scheduled * (builder.cacheBytes.value + builder.scratchBytes.value)).toBeLessThan(disk * 0.85);
    }
    if (architecture.nodes.kind === 'selector' && architecture.nodes.size !== null) {
      const { size } = architecture.nodes;
      const count = architecture.buildersPerNode;
      expect(count * builder.cpuMillis.value).toBeLessThan(size.cpuMillis);
      expect(count * builder.memoryBytes.value).toBeLessThan(size.memoryBytes);
      if (pool.cache.kind === 'node-local') {
        expect(count * builder.diskBytes.value).toBeLessThan(size.diskBytes * 0.85);
      }
    }
  });
});

test('who is slow is not restarted for it, and who is dead is found', () => {
  const allowance = ({ periodSeconds, failureThreshold }: ProbeSizing) =>
    periodSeconds.value * failureThreshold.value;
  everyPool(({ balancer, architectures }) => {
    for (const { liveness } of [balancer, ...architectures.map(({ builder }) => builder)]) {
      expect(allowance(liveness)).toBeGreaterThanOrEqual(180);
      expect(liveness.timeoutSeconds.value).toBeLessThanOrEqual(liveness.periodSeconds.value);
    }
    const { keepaliveIdleSeconds, keepaliveIntervalSeconds, keepaliveProbes } = balancer;
    const found = keepaliveIdleSeconds.value + keepaliveIntervalSeconds.value * keepaliveProbes.value;
    expect(found).toBeLessThanOrEqual(120);
    // Clouds forget a connection that has been silent for longer than that.
    expect(keepaliveIdleSeconds.value).toBeLessThan(60);
  });
});

test('a node can always be drained: some builder may go', () => {
  everyArchitecture(({ maxUnavailable }) => {
    expect(maxUnavailable.value).toBeGreaterThanOrEqual(1);
  });
});

test('a certificate outlives a roll of all builders that begins when the alert fires', () => {
  everyPool(({ certificates }) => {
    if (certificates === null) return;
    expect(certificates.rollMs.value).toBeLessThan(certificates.alertBeforeMs.value);
    expect(certificates.alertBeforeMs.value).toBeLessThan(certificates.renewBeforeMs.value);
    expect(certificates.renewBeforeMs.value).toBeLessThan(certificates.lifetimeMs.value);
    expect(certificates.buildersRenewBeforeMs.value).toBeGreaterThanOrEqual(certificates.renewBeforeMs.value);
    expect(certificates.buildersRenewBeforeMs.value).toBeLessThan(certificates.buildersLifetimeMs.value);
  });
});

test('with a CA of its own a pool leaves a builder that starts a year at least, and no certificate outlives its CA', () => {
  everyPool(({ pool, certificates }) => {
    if (certificates === null || pool.tls.kind === 'off') return;
    const { authority, lifetimeMs, buildersLifetimeMs, buildersRenewBeforeMs } = certificates;
    const own = pool.tls.certificates.kind === 'cert-manager' && pool.tls.certificates.issuer === null;
    expect(authority !== null).toBe(own);
    if (authority === null) {
      expect(buildersLifetimeMs.value).toBe(lifetimeMs.value);
      return;
    }
    expect(buildersRenewBeforeMs.value).toBeGreaterThanOrEqual(365 * 24 * 3_600_000);
    // What the CA has left when it is renewed at the latest; what is signed then ends before it.
    expect(Math.max(lifetimeMs.value, buildersLifetimeMs.value)).toBeLessThanOrEqual(
      authority.renewBeforeMs.value,
    );
    expect(authority.renewBeforeMs.value).toBeLessThan(authority.lifetimeMs.value);
  });
});

test('ports of the load balancer’s pod are free, and names are names', () => {
  everyAccepted(({ pools }) => {
    const everything: string[] = [];
    for (const { pool, names, balancer, architectures } of pools) {
      const shared = pool.exposure.ports === 'shared';
      const listening = architectures.map(({ line }) => line.listenPort.value);
      const ports = [
        ...(shared ? listening.slice(0, 1) : listening),
        ...architectures.flatMap(({ line }) => line.earlySettingsPort?.value ?? []),
        balancer.metricsPort,
      ];
      expect(new Set(ports).size).toBe(ports.length);
      for (const port of ports) {
        expect(port).toBeGreaterThanOrEqual(1024);
        expect(port).toBeLessThanOrEqual(65_535);
        expect(port < balancer.internalPorts.from || port > balancer.internalPorts.to).toBe(true);
      }
      for (const { line } of architectures) expect(line.port.value).toBeLessThanOrEqual(65_535);
      everything.push(
        ...[names.balancer, names.document, names.clientService]
          .concat(
            architectures.flatMap(({ names: own }) => [
              own.clientService,
              own.statefulSet,
              own.headlessService,
            ]),
          )
          .filter((name) => name !== null)
          .map((name) => `${names.namespace}/${name}`),
        ...architectures.flatMap(({ nodePools }) => nodePools?.pools.map(({ name }) => name) ?? []),
      );
      for (const { names: own, nodePools } of architectures) {
        expect(own.statefulSet.length).toBeLessThanOrEqual(52);
        for (const name of [own.statefulSet, own.headlessService, own.clientService])
          expect(name).toMatch(DNS_LABEL);
        for (const { name } of nodePools?.pools ?? []) expect(name).toMatch(DNS_LABEL);
      }
    }
    expect(new Set(everything).size).toBe(everything.length);
  });
});

test('what changes with min, max, spare, idle time and deadlines never touches the load balancer or a builder', () => {
  const base = (numbers: string, pool = '') => `
version: 1
cluster: {karpenter: {discovery: ci, role: nodes}}
pools:
  buildkitd:
    ${pool}
    architectures:
      amd64:
        builders-per-node: 2
        nodes: {instance-types: [m6id.24xlarge, m5d.24xlarge]}
        ${numbers}`;
  const lasting = (text: string) => {
    const [pool] = accept(text).sizing.pools;
    const [amd64] = pool?.architectures ?? [];
    return {
      balancer: pool?.balancer,
      ceiling: amd64?.line.ceiling.value,
      builder: amd64?.builder,
      drain: amd64?.drain,
    };
  };
  const before = lasting(base('min: 2\n        max: 8'));
  const changes = [
    base('min: 2\n        max: 16'),
    base('min: 0\n        max: 1'),
    base('min: 8\n        max: 8'),
    base('min: 2\n        max: 8\n        spare: 2\n        fallback: 4'),
    base('min: 2\n        max: 8', 'scale-down: {idle: 40m, at-once: {builders: 1, percent: 5}}'),
    base('min: 2\n        max: 8', 'builds: {cold-start: 12m, typical: 1m, burst: 30, queue-timeout: 6h}'),
    base('min: 2\n        max: 8', 'document: {port: 9000}\n    exposure: {port: 2345}'),
  ];
  for (const change of changes) expect(lasting(change)).toEqual(before);
  // And one that must: the longest build is in every timeout.
  expect(lasting(base('min: 2\n        max: 8', 'builds: {longest: 30h}'))).not.toEqual(before);
});

test('every derived number is explained, by name, with its reason', () => {
  everyAccepted((sizing) => {
    const rows = explainSizing(sizing).flatMap(({ rows }) => rows);
    expect(rows.length).toBe(countReasons(sizing));
    const table = explain(sizing).replaceAll(/\s+/g, ' ');
    const faulty = rows.filter(
      ({ name, value, reason }) =>
        !/^[a-z][a-z ,]+$/.test(name) ||
        /NaN|Infinity|undefined|null/.test(`${value} ${reason}`) ||
        reason.length < 4 ||
        !table.includes(reason),
    );
    expect(faulty).toEqual([]);
  });
});

/** What the scheduler adds up: buildkitd and the gate beside it. */
function podRequests(builder: BuilderSizing): { readonly cpuMillis: number; readonly memoryBytes: number } {
  const { cpu, memory } = GATE_RESOURCES.requests;
  return {
    cpuMillis: builder.cpuMillis.value + (parseCpu(cpu) ?? Number.NaN),
    memoryBytes: builder.memoryBytes.value + (parseSize(memory) ?? Number.NaN),
  };
}

function countReasons(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  if ('reason' in value) return 1;
  return Object.values(value).reduce((sum: number, inner) => sum + countReasons(inner), 0);
}

/** What the HPA would see, as KEDA hands it on. */
function usage({ formula, target }: AutoscalerSizing, demand: number): number {
  expect(target.value).toBe(1);
  const [whole, spare, divisor] =
    /^\(?demand \+ elsewhere(?: \+ (\d+))?\)?(?: \/ ([\d.]+))?$/.exec(formula.value) ?? [];
  expect(whole).toBe(formula.value);
  return (demand + Number(spare ?? 0)) / Number(divisor ?? 1);
}

function hpaSpec(autoscaler: AutoscalerSizing): HpaSpec {
  const tolerance = autoscaler.tolerance?.value ?? 0.1;
  const rules = ({
    stabilizationWindowSeconds,
    builders,
    percent,
    periodSeconds,
  }: AutoscalerSizing['scaleUp']) => ({
    stabilizationWindowSeconds: stabilizationWindowSeconds.value,
    selectPolicy: 'Max' as const,
    policies: [
      { type: 'Pods' as const, value: builders.value, periodSeconds: periodSeconds.value },
      { type: 'Percent' as const, value: percent.value, periodSeconds: periodSeconds.value },
    ],
    tolerance,
  });
  return {
    minReplicas: autoscaler.minReplicas.value,
    maxReplicas: autoscaler.maxReplicas.value,
    targetAverage: autoscaler.target.value,
    scaleUp: rules(autoscaler.scaleUp),
    scaleDown: rules(autoscaler.scaleDown),
  };
}
