/** What is impossible or risky about a pool, once its numbers are known. Paths are those of pool.yaml. */
import { formatDuration } from '../../action/duration.ts';
import { type Finding, type Path, refusal, warning } from '../config/finding.ts';
import type { Pool } from '../config/model.ts';
import { formatCpu, formatSize } from '../config/units.ts';
import { INTERNAL_PORTS } from './balancer.ts';
import { GATE_CPU_MILLIS, GATE_MEMORY_BYTES } from './builder.ts';
import { GIB, HOUR_MS, MINUTE_MS } from './derived.ts';
import { leastGraceSeconds } from './drain.ts';
import { LONGEST_EXACT_WAIT_MS, mostBuilders } from './line.ts';
import type { ArchitectureSizing, PoolSizing, Sizing } from './model.ts';
import { MAX_LABEL, MAX_STATEFUL_SET } from './names.ts';
import { allocatableOfNode } from './node.ts';

/** What a spot node gives before it goes. */
const SPOT_NOTICE_MS = 2 * MINUTE_MS;
/** Below this BuildKit itself has too little. */
const LEAST_CPU_MILLIS = 250;
const LEAST_MEMORY_BYTES = GIB / 2;
const LEAST_DISK_BYTES = 5 * GIB;
/** More than the share of a node that may stand idle without a word. */
const WASTE = 0.25;

/** Every finding, in no particular order. */
export function findImpossible(sizing: Sizing): readonly Finding[] {
  return [...sizing.pools.flatMap((pool) => checkPool(pool)), ...checkNames(sizing)];
}

function checkPool(sizing: PoolSizing): Finding[] {
  const at: Path = ['pools', sizing.pool.name];
  return [
    ...checkScaleDown(sizing, at),
    ...checkTls(sizing, at),
    ...checkExposure(sizing, at),
    ...checkPorts(sizing, at),
    ...checkPriorities(sizing.pool, at),
    ...checkConfigurationSize(sizing, at),
    ...sizing.architectures.flatMap((architecture) =>
      checkArchitecture(sizing, architecture, [...at, 'architectures', architecture.name]),
    ),
  ];
}

function checkScaleDown({ pool, architectures }: PoolSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { idleMs, periodMs, graceMs } = pool.scaleDown;
  const path = (key: string) => [...at, 'scale-down', key];
  if (pool.autoscaling !== 'off') {
    if (periodMs !== null && periodMs > idleMs) {
      findings.push(
        refusal(
          path('period'),
          `${formatDuration(periodMs)} is longer than the idle time (${formatDuration(idleMs)}): the autoscaler would forget within a period what it counts over one; write ${formatDuration(idleMs)} or less`,
        ),
      );
    }
  }
  for (const { architecture, name } of architectures) {
    const least = leastGraceSeconds(architecture.builds.longestMs);
    if (graceMs !== null && graceMs < least * 1000) {
      findings.push(
        refusal(
          path('grace'),
          `${formatDuration(graceMs)} is too short for ${name}: its longest build of ${formatDuration(architecture.builds.longestMs)} would be killed; with the looks of the drain and the stop it takes ${formatDuration(least * 1000)}: write that or more, or leave it out`,
        ),
      );
      break;
    }
  }
  return findings;
}

/** A ConfigMap's limit is 1 MiB with all that is around it. */
const MOST_CONFIGURATION_BYTES = 950_000;
/** All but the lines of builders. */
const CONFIGURATION_BYTES = 20_000;
/** A server line and, for old versions, a rule; the builder's name is in it once, and once more with TLS. */
const LINE_BYTES = 135;

/** Every builder that the load balancer is to know is a line of its configuration. */
function checkConfigurationSize({ pool, architectures }: PoolSizing, at: Path): Finding[] {
  const bytes = architectures
    .map(
      ({ line, names }) =>
        line.ceiling.value *
        (LINE_BYTES + (pool.tls.kind === 'terminate' ? 2 : 1) * names.builderHost.length),
    )
    .reduce((sum, size) => sum + size, CONFIGURATION_BYTES);
  if (bytes <= MOST_CONFIGURATION_BYTES) return [];
  const lines = architectures.reduce((sum, { line }) => sum + line.ceiling.value, 0);
  return [
    refusal(
      [...at, 'architectures'],
      `the load balancer would know ${lines} builders, a configuration of ${Math.ceil(bytes / 1000)} kB; Kubernetes takes ${MOST_CONFIGURATION_BYTES / 1000} kB: write a lower \`ceiling\` or make two pools`,
    ),
  ];
}

function checkTls({ pool, certificates, architectures }: PoolSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { tls, exposure } = pool;
  if (tls.kind === 'off') {
    const limited = exposure.clients.cidrs.length + exposure.clients.namespaces.length > 0;
    if (exposure.service === 'load-balancer' && !limited) {
      findings.push(
        refusal(
          [...at, 'tls'],
          'off, together with a load balancer that anybody may reach: whoever connects runs any code as root on a builder; use TLS, or name those who may connect in `exposure.clients`',
        ),
      );
    } else {
      findings.push(
        warning(
          [...at, 'tls'],
          'off: whoever reaches the pool runs any code on a builder, and secrets of builds travel in the clear',
        ),
      );
    }
    if (exposure.ports === 'shared' && architectures.length > 1) {
      findings.push(
        refusal(
          [...at, 'exposure', 'ports'],
          'shared, without TLS: only the server name in a TLS handshake tells architectures apart; write per-architecture, or use TLS',
        ),
      );
    }
    return findings;
  }
  if (tls.kind === 'passthrough') {
    findings.push(
      warning(
        [...at, 'tls', 'mode'],
        'passthrough: the load balancer sees no place in line; a build that must dial again goes to the end, and the order holds only for waits of up to 8 minutes',
      ),
    );
    for (const { architecture, name } of architectures) {
      if (Math.min(architecture.min, architecture.replicas ?? architecture.min) === 0) {
        findings.push(
          refusal(
            [...at, 'architectures', name, 'min'],
            'no builder at all, with TLS pass-through: nobody answers the handshake until the first builder is there, and clients give up after 20 s; write min: 1, or tls mode terminate',
          ),
        );
      }
    }
    if (exposure.earlySettingsPort !== null) {
      findings.push(
        refusal(
          [...at, 'exposure', 'early-settings'],
          'with TLS pass-through the load balancer cannot say anything to a client: leave it out, or write tls mode terminate',
        ),
      );
    }
  }
  const { lifetimeMs, renewBeforeMs } = tls.certificates;
  const rollMs = certificates?.rollMs.value ?? 0;
  if (renewBeforeMs >= lifetimeMs) {
    findings.push(
      refusal(
        [...at, 'tls', 'renew-before'],
        `${formatDuration(renewBeforeMs)} is not less than the lifetime of ${formatDuration(lifetimeMs)}: a certificate would be renewed for ever; write about a third of the lifetime`,
      ),
    );
  } else if (renewBeforeMs <= rollMs) {
    findings.push(
      refusal(
        [...at, 'tls', 'renew-before'],
        `${formatDuration(renewBeforeMs)} is not longer than a roll of all builders (${formatDuration(rollMs)}): buildkitd reads its certificate at start only, and the last builders would still have the old one when it ends; write a multiple of that, and a longer lifetime`,
      ),
    );
  } else if (renewBeforeMs < rollMs + 24 * HOUR_MS) {
    findings.push(
      warning(
        [...at, 'tls', 'renew-before'],
        `${formatDuration(renewBeforeMs)} leaves less than a day beyond a roll of all builders (${formatDuration(rollMs)}): if renewal fails in a night, builds fail in the morning`,
      ),
    );
  }
  if (pool.monitoring === 'none' && certificates !== null) {
    const days = Math.floor(certificates.buildersRenewBeforeMs.value / (24 * HOUR_MS));
    findings.push(
      warning(
        [...at, 'monitoring'],
        `none, with TLS: nobody is told when a certificate is not renewed, or when a builder has run for so long (${days} days) that its own ends, and then no build starts; write prometheus-operator, or look for both yourself (docs/operations.md, "Rotate certificates")`,
      ),
    );
  }
  return findings;
}

function checkExposure({ pool, architectures }: PoolSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { exposure } = pool;
  const path = (key: string) => [...at, 'exposure', key];
  const several = architectures.length > 1;
  if (exposure.service === 'load-balancer' && exposure.host === null) {
    findings.push(
      refusal(
        path('host'),
        '`host` is missing: clients outside the cluster need a name for the load balancer; write it, such as {arch}.builders.example.com',
      ),
    );
  }
  if (exposure.host !== null) {
    if (exposure.ports === 'shared' && several && !exposure.host.includes('{arch}')) {
      findings.push(
        refusal(
          path('host'),
          `\`${exposure.host}\` is the same for all architectures on one shared port: put {arch} into it, such as {arch}.${exposure.host}`,
        ),
      );
    }
    if (
      exposure.service === 'cluster' &&
      exposure.ports === 'per-architecture' &&
      several &&
      !exposure.host.includes('{arch}')
    ) {
      findings.push(
        refusal(
          path('host'),
          `\`${exposure.host}\` is the same for all architectures, whose Services have the same port: put {arch} into it`,
        ),
      );
    }
    if (
      architectures.some(
        ({ line }) => (line.serverName ?? '').length > 253 || hasLongLabel(line.endpoint.value),
      )
    ) {
      findings.push(
        refusal(path('host'), `\`${exposure.host}\` has a part of more than 63 characters: shorten it`),
      );
    }
  }
  if (exposure.service === 'cluster' && Object.keys(exposure.annotations).length > 0) {
    findings.push(
      warning(
        path('annotations'),
        'annotations are for a load balancer of the cloud; with service: cluster they do nothing there',
      ),
    );
  }
  return findings;
}

function hasLongLabel(endpoint: string): boolean {
  return endpoint
    .replace(/^tcp:\/\//, '')
    .replace(/:\d+$/, '')
    .split('.')
    .some((label) => label.length > MAX_LABEL);
}

/** Ports inside the load balancer's pod, and outer ones on one Service. */
function checkPorts({ pool, balancer, architectures }: PoolSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const listening = new Set(architectures.map(({ line }) => line.listenPort.value));
  const inner = [
    { path: [...at, 'balancer', 'metrics-port'], port: balancer.metricsPort },
    ...architectures.flatMap(({ line }) =>
      line.earlySettingsPort === null
        ? []
        : [{ path: [...at, 'exposure', 'early-settings'], port: line.earlySettingsPort.value }],
    ),
  ];
  const taken = new Set<number>(listening);
  for (const { path, port } of inner) {
    if (port < 1024) {
      findings.push(
        refusal(path, `port ${port} needs root in the load balancer's pod: write one from 1024 to 65535`),
      );
    } else if (port > 65_535) {
      findings.push(
        refusal(path, `the ports of all architectures from here reach ${port}: write a smaller one`),
      );
    } else if (taken.has(port) || (port >= INTERNAL_PORTS.from && port <= INTERNAL_PORTS.to)) {
      findings.push(
        refusal(
          path,
          `port ${port} is taken in the load balancer's pod (${[...taken].join(', ')}, ${INTERNAL_PORTS.from} to ${INTERNAL_PORTS.to}): write another`,
        ),
      );
    }
    taken.add(port);
  }
  const outer = new Set(architectures.map(({ line }) => line.port.value));
  if ([...outer].some((port) => port > 65_535)) {
    findings.push(
      refusal(
        [...at, 'exposure', 'port'],
        'the ports of all architectures from here go beyond 65535: write a smaller one',
      ),
    );
  }
  if (
    architectures.some(
      ({ line }) => line.earlySettingsPort !== null && outer.has(line.earlySettingsPort.value),
    )
  ) {
    findings.push(
      refusal(
        [...at, 'exposure', 'early-settings'],
        `the port is a client port already (${[...outer].join(', ')}): write another, such as ${Math.max(...outer) + 100}`,
      ),
    );
  }
  if (pool.document.port < 1024) {
    findings.push(
      refusal(
        [...at, 'document', 'port'],
        `port ${pool.document.port} needs root: write one from 1024 to 65535`,
      ),
    );
  }
  return findings;
}

function checkPriorities(pool: Pool, at: Path): Finding[] {
  const findings: Finding[] = [];
  if (pool.priorities.length > 0 && pool.tls.kind !== 'terminate') {
    findings.push(
      refusal(
        [...at, 'priorities'],
        `a class is known by the client's certificate, which the load balancer sees only with tls mode terminate: use that, or leave priorities out`,
      ),
    );
  }
  const names = new Map<string, string>();
  for (const [index, priority] of pool.priorities.entries()) {
    if (pool.priorities.findIndex(({ name }) => name === priority.name) < index) {
      findings.push(
        refusal(
          [...at, 'priorities', index, 'name'],
          `\`${priority.name}\` is the name of two classes: choose another`,
        ),
      );
    }
    for (const client of priority.clients) {
      const other = names.get(client);
      if (other !== undefined) {
        findings.push(
          refusal(
            [...at, 'priorities', index, 'clients'],
            `\`${client}\` is in ${other} already: a client has one class`,
          ),
        );
      }
      names.set(client, priority.name);
    }
  }
  return findings;
}

function checkArchitecture(sizing: PoolSizing, of: ArchitectureSizing, at: Path): Finding[] {
  return [
    ...checkNumbers(of, at),
    ...checkBuilds(of, at),
    ...checkBuilder(sizing.pool, of, at),
    ...checkNodes(sizing.pool, of, at),
  ];
}

function checkNumbers({ architecture, line }: ArchitectureSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { min, max, replicas, spare, fallback } = architecture;
  if (min > max) {
    findings.push(refusal([...at, 'min'], `${min} is more than max (${max}): lower min or raise max`));
  }
  if (replicas !== null && (replicas < min || replicas > max)) {
    findings.push(refusal([...at, 'replicas'], `${replicas} is not between min (${min}) and max (${max})`));
  }
  if (line.ceiling.value < Math.max(max, mostBuilders(architecture))) {
    findings.push(
      refusal(
        [...at, 'ceiling'],
        `${line.ceiling.value} is less than max (${max}): the load balancer would not know the builders beyond it, which would stand idle; write ${2 * max}, or leave it out`,
      ),
    );
  } else if (line.ceiling.value === max && architecture.ceiling !== null) {
    findings.push(
      warning([...at, 'ceiling'], `${line.ceiling.value} is max: raising max will need a new load balancer`),
    );
  }
  if (spare > max) findings.push(refusal([...at, 'spare'], `${spare} is more than max (${max})`));
  if (spare > 0 && replicas !== null) {
    findings.push(
      refusal(
        [...at, 'spare'],
        'a fixed number of builders has no spare ones: leave it out, or use autoscaling',
      ),
    );
  } else if (spare > 0 && min === 0) {
    findings.push(
      refusal(
        [...at, 'spare'],
        `${spare} spare builders and min: 0: the pool could never be empty; write min: ${spare}, or leave spare out`,
      ),
    );
  }
  if (fallback !== null && fallback > max) {
    findings.push(refusal([...at, 'fallback'], `${fallback} is more than max (${max})`));
  } else if (fallback !== null && fallback < min) {
    findings.push(
      refusal(
        [...at, 'fallback'],
        `${fallback} is less than min (${min}): there are never fewer; write ${min} or more`,
      ),
    );
  }
  if (fallback !== null && replicas !== null) {
    findings.push(
      refusal(
        [...at, 'fallback'],
        'a fixed number of builders needs no fallback: leave it out, or use autoscaling',
      ),
    );
  }
  return findings;
}

function checkBuilds({ architecture, line }: ArchitectureSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { builds } = architecture;
  const path = (key: string) => [...at, 'builds', key];
  const most = mostBuilders(architecture);
  if (builds.typicalMs > builds.longestMs) {
    findings.push(
      refusal(
        path('typical'),
        `${formatDuration(builds.typicalMs)} is longer than the longest (${formatDuration(builds.longestMs)}): raise longest, which nothing may outlast`,
      ),
    );
  }
  const deadlineMs = line.queueTimeoutMs.value;
  if (deadlineMs <= builds.coldStartMs) {
    findings.push(
      refusal(
        path('queue-timeout'),
        `${formatDuration(deadlineMs)} is not longer than a cold start (${formatDuration(builds.coldStartMs)}): builds would give up before their builder is ready; write ${formatDuration(2 * builds.coldStartMs)} or more, or leave it out`,
      ),
    );
  } else if (deadlineMs < 2 * builds.coldStartMs) {
    findings.push(
      warning(
        path('queue-timeout'),
        `${formatDuration(deadlineMs)} is less than two cold starts (${formatDuration(2 * builds.coldStartMs)}): one that is slow, or a node that is not to be had, fails builds`,
      ),
    );
  }
  if (deadlineMs > LONGEST_EXACT_WAIT_MS) {
    findings.push(
      warning(
        path('queue-timeout'),
        `${formatDuration(deadlineMs)}: the order of the line is exact for waits of up to a day`,
      ),
    );
  }
  if (builds.burst !== null && line.burstWaitMs !== null) {
    if (most === 0 || line.burstWaitMs.value > deadlineMs) {
      findings.push(
        refusal(
          path('burst'),
          `the last of ${builds.burst} builds would wait ${formatDuration(line.burstWaitMs.value)} (${line.burstWaitMs.reason}) and give up after ${formatDuration(deadlineMs)}: raise max or queue-timeout`,
        ),
      );
    } else if (most < Math.ceil(builds.burst * 1.1)) {
      findings.push(
        warning(
          [...at, architecture.replicas === null ? 'max' : 'replicas'],
          `${most} leaves no headroom over the declared burst of ${builds.burst}: builders that are still draining or slow to start are missed at once, and the last builds wait ${formatDuration(line.burstWaitMs.value)} or more; ${Math.ceil(builds.burst * 1.1)} would do`,
        ),
      );
    }
  }
  return findings;
}

function checkBuilder(pool: Pool, { architecture, builder }: ArchitectureSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const each = [
    ['cpu', builder.cpuMillis, LEAST_CPU_MILLIS, formatCpu],
    ['memory', builder.memoryBytes, LEAST_MEMORY_BYTES, formatSize],
    ['disk', builder.diskBytes, LEAST_DISK_BYTES, formatSize],
  ] as const;
  for (const [key, size, least, format] of each) {
    if (size.value >= least) continue;
    const given = {
      cpu: architecture.builder.cpuMillis,
      memory: architecture.builder.memoryBytes,
      disk: architecture.builder.diskBytes,
    }[key];
    findings.push(
      refusal(
        given === null ? [...at, 'builders-per-node'] : [...at, 'builder', key],
        `a builder gets ${format(size.value)} of ${key} (${size.reason}), less than the ${format(least)} that it needs: ${given === null ? 'fewer builders a node, or larger nodes' : 'give it more'}`,
      ),
    );
  }
  if (pool.cache.kind === 'volume' && architecture.builder.diskBytes !== null) {
    findings.push(
      refusal(
        [...at, 'builder', 'disk'],
        'with volumes the size is `cache.size`: leave `disk` out, or write cache kind: node-local',
      ),
    );
  }
  return findings;
}

function checkNodes(pool: Pool, of: ArchitectureSizing, at: Path): Finding[] {
  const { architecture, nodePools, builder } = of;
  const { nodes, builds, buildersPerNode } = architecture;
  const findings: Finding[] = [];
  if (nodes.kind !== 'karpenter') {
    if (nodes.kind === 'selector' && nodes.size !== null) findings.push(...checkKnownNode(of, pool, at));
    return findings;
  }
  const path = (key: string) => [...at, 'nodes', key];
  if (nodes.capacity === 'spot' && builds.longestMs > SPOT_NOTICE_MS) {
    const why = `spot nodes give ${formatDuration(SPOT_NOTICE_MS)} of notice and the longest build takes ${formatDuration(builds.longestMs)}: no drain survives that, and builds are killed`;
    findings.push(
      nodes.acceptLostBuilds
        ? warning(path('capacity'), `${why}; accepted by accept-lost-builds`)
        : refusal(path('capacity'), `${why}; use on-demand, or write accept-lost-builds: true`),
    );
  }
  if (nodes.instanceTypes.length === 1) {
    findings.push(
      warning(
        path('instance-types'),
        `${nodes.instanceTypes[0]?.type} is the only type: when the cloud has none left, builds wait until it has; name several`,
      ),
    );
  }
  if (pool.cache.kind === 'volume' && nodes.zones.length !== 1) {
    findings.push(
      warning(
        path('zones'),
        'a volume ties its builder to one zone, and a builder whose zone has no nodes left stays away: name one zone',
      ),
    );
  }
  for (const [index, type] of nodes.instanceTypes.entries()) {
    const fits = nodePools?.pools[index];
    if (fits === undefined) continue;
    const wanted = index === 0 ? buildersPerNode : 1;
    const node = `${formatCpu(fits.allocatableCpuMillis.value)}, ${formatSize(fits.allocatableMemoryBytes.value)} of memory and ${formatSize(fits.allocatableDiskBytes.value)} of disk`;
    const one = `${formatCpu(builder.cpuMillis.value)}, ${formatSize(builder.memoryBytes.value)} and ${formatSize(builder.diskBytes.value)}`;
    if (fits.builders.value < wanted) {
      findings.push(
        refusal(
          [...path('instance-types'), index],
          `a ${type.type} has ${node} for builders, too little for ${wanted} of ${one}: ${index === 0 ? 'smaller or fewer builders a node' : 'leave it out, or make builders smaller'}`,
        ),
      );
    } else if (
      fits.builders.value * builder.cpuMillis.value < fits.allocatableCpuMillis.value * (1 - WASTE) &&
      fits.builders.value * builder.memoryBytes.value < fits.allocatableMemoryBytes.value * (1 - WASTE)
    ) {
      findings.push(
        warning(
          [...path('instance-types'), index],
          `a ${type.type} has ${node} for builders and holds ${fits.builders.value} of ${one}: more than a quarter of it is never used`,
        ),
      );
    }
  }
  const weights = nodePools?.pools.map(({ weight }) => weight.value) ?? [];
  if (new Set(weights).size < weights.length) {
    findings.push(
      warning(
        path('instance-types'),
        `two types have the same weight (${weights.join(', ')}): which one comes first is left to chance`,
      ),
    );
  }
  return findings;
}

/** Nodes that exist already and whose size is told: what is given must fit as often as it is said to. */
function checkKnownNode({ architecture, builder }: ArchitectureSizing, pool: Pool, at: Path): Finding[] {
  const { nodes, buildersPerNode } = architecture;
  if (nodes.kind !== 'selector' || nodes.size === null) return [];
  const findings: Finding[] = [];
  const node = allocatableOfNode(nodes.size, nodes.reserve);
  const sums = [
    ['cpu', builder.cpuMillis.value + GATE_CPU_MILLIS, node.cpuMillis, formatCpu],
    ['memory', builder.memoryBytes.value + GATE_MEMORY_BYTES, node.memoryBytes, formatSize],
    ...(pool.cache.kind === 'volume'
      ? []
      : [['disk', builder.diskBytes.value, node.diskBytes, formatSize] as const]),
  ] as const;
  for (const [key, each, offered, format] of sums) {
    if (each * buildersPerNode > offered) {
      findings.push(
        refusal(
          [...at, 'builder', key],
          `${buildersPerNode} builders of ${format(each)}${key === 'disk' ? '' : ', the gate included,'} need more than the ${format(offered)} that such a node has for them: make builders smaller, or fewer a node`,
        ),
      );
    }
  }
  return findings;
}

/** Names of objects: their length, and that no two are the same. */
function checkNames({ pools, cluster }: Sizing): Finding[] {
  const findings: Finding[] = [];
  const owners = new Map<string, string>();
  for (const { pool, names, architectures } of pools) {
    const at: Path = ['pools', pool.name];
    for (const { names: own, nodePools } of architectures) {
      if (own.statefulSet.length > MAX_STATEFUL_SET) {
        findings.push(
          refusal(
            at,
            `\`${own.statefulSet}\` would be the name of a StatefulSet and has ${own.statefulSet.length} characters, more than the ${MAX_STATEFUL_SET} that Kubernetes can label: shorten the pool's name by ${own.statefulSet.length - MAX_STATEFUL_SET}`,
          ),
        );
        break;
      }
      const long = nodePools?.pools.find(({ name }) => name.length > MAX_LABEL);
      if (long !== undefined) {
        findings.push(
          refusal(
            at,
            `\`${long.name}\` would be the name of a NodePool and has ${long.name.length} characters, more than ${MAX_LABEL}: shorten the pool's name`,
          ),
        );
        break;
      }
    }
    const objects = new Set([
      ...[
        names.balancer,
        names.document,
        names.clientService,
        names.balancerSecret,
        names.balancerClientSecret,
        names.buildersSecret,
        names.clientSecret,
      ]
        .filter((name) => name !== null)
        .map((name) => `${names.namespace}/${name}`),
      ...architectures.flatMap(({ names: own, nodePools }) => [
        ...[own.clientService, own.statefulSet, own.headlessService].map(
          (name) => `${names.namespace}/${name}`,
        ),
        ...[own.nodeClass, ...(nodePools?.pools.map(({ name }) => name) ?? [])].filter(
          (name) => name !== null,
        ),
      ]),
    ]);
    // Secrets that are given may well be shared.
    const given =
      pool.tls.kind !== 'off' && pool.tls.certificates.kind === 'secrets'
        ? Object.values(pool.tls.certificates.secrets)
        : [];
    for (const object of objects) {
      const other = owners.get(object);
      if (other !== undefined && !given.some((name) => object === `${names.namespace}/${name}`)) {
        findings.push(
          refusal(
            at,
            `pools ${other} and ${pool.name} would both have an object \`${object}\`: choose another name or namespace for one of them`,
          ),
        );
        break;
      }
      owners.set(object, pool.name);
    }
    if ([cluster.kedaNamespace, cluster.monitoringNamespace, 'kube-system'].includes(names.namespace)) {
      findings.push(
        refusal(
          [...at, 'namespace'],
          `\`${names.namespace}\` belongs to others, and builders need a namespace with its own policies and pod-security labels: choose another`,
        ),
      );
    }
  }
  return findings;
}
