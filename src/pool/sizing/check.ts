/** What is impossible or risky about a pool, once its numbers are known. Paths are those of pool.yaml. */
import { BlockList, isIP } from 'node:net';
import { formatDuration } from '../../action/duration.ts';
import { type Finding, KEYS, keysOf, type Path, refusal, warning } from '../config/finding.ts';
import { ALL_MOUNTS, mountsOf } from '../config/local-disks.ts';
import type { Cluster, Exposure, Pool } from '../config/model.ts';
import { formatCpu, formatSize } from '../config/units.ts';
import { INTERNAL_PORTS } from './balancer.ts';
import { GATE_CPU_MILLIS, GATE_MEMORY_BYTES } from './builder.ts';
import { GIB, HOUR_MS, MINUTE_MS } from './derived.ts';
import { leastGraceSeconds } from './drain.ts';
import { clientsOf, LONGEST_EXACT_WAIT_MS, MAX_CEILING, mostBuilders } from './line.ts';
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

/** Which architectures there are, whatever is written of them. */
const WHICH_ARCHITECTURES = `architectures.${KEYS}`;

/** Every finding, in no particular order. */
export function findImpossible(sizing: Sizing): readonly Finding[] {
  return [...sizing.pools.flatMap((pool) => checkPool(pool, sizing.cluster)), ...checkNames(sizing)];
}

function checkPool(sizing: PoolSizing, cluster: Cluster): Finding[] {
  const at: Path = ['pools', sizing.pool.name];
  return [
    ...checkScaleDown(sizing, at),
    ...checkTls(sizing, at),
    ...checkExposure(sizing, at),
    ...checkEgress(sizing.pool, at),
    ...checkPorts(sizing, at),
    ...checkPriorities(sizing.pool, at),
    ...checkCache(sizing, cluster, at),
    ...checkConfigurationSize(sizing, at),
    ...checkClients(sizing, at),
    ...sizing.architectures.flatMap((architecture) =>
      checkArchitecture(sizing, architecture, [...at, 'architectures', architecture.name]),
    ),
  ];
}

function checkScaleDown({ pool, architectures }: PoolSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { idleMs, periodMs, graceMs } = pool.scaleDown;
  const key = keysOf(at);
  if (pool.autoscaling !== 'off') {
    if (periodMs !== null && periodMs > idleMs) {
      findings.push(
        refusal(
          key('scale-down.period'),
          `${formatDuration(periodMs)} is longer than the idle time (${formatDuration(idleMs)}): the autoscaler would forget within a period what it counts over one`,
          `write ${formatDuration(idleMs)} or less`,
          [key('scale-down.idle'), key('autoscaling')],
        ),
      );
    }
  }
  for (const { architecture, name } of architectures) {
    const least = leastGraceSeconds(architecture.builds.longestMs);
    if (graceMs !== null && graceMs < least * 1000) {
      findings.push(
        refusal(
          key('scale-down.grace'),
          `${formatDuration(graceMs)} is too short for ${name}: its longest build of ${formatDuration(architecture.builds.longestMs)} would be killed`,
          `write ${formatDuration(least * 1000)} or more, the looks of the drain and the stop included, or leave it out`,
          [key(`architectures.${name}.builds.longest`)],
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
      `the load balancer would know ${lines} builders, a configuration of ${Math.ceil(bytes / 1000)} kB; Kubernetes takes ${MOST_CONFIGURATION_BYTES / 1000} kB`,
      'write a lower `ceiling` or make two pools',
      [
        keysOf(at)(WHICH_ARCHITECTURES),
        keysOf(at)('tls.mode'),
        ...architectures.flatMap(({ name }) =>
          ['ceiling', 'max', 'replicas'].map((key) => [...at, 'architectures', name, key]),
        ),
      ],
    ),
  ];
}

/**
 * Clients that entrances can hand to one line: as many as one loopback address has ports for connections to another, less a
 * few (Linux' net.ipv4.ip_local_port_range, 32768 to 60999).
 */
export const MOST_CLIENTS = 28_000;

function checkClients({ pool, architectures }: PoolSizing, at: Path): Finding[] {
  const taken = ({ line }: ArchitectureSizing): number =>
    pool.exposure.ports === 'shared'
      ? architectures.reduce((sum, other) => sum + clientsOf(other.line), 0)
      : clientsOf(line);
  const crowded = architectures.find((architecture) => taken(architecture) > MOST_CLIENTS);
  if (crowded === undefined) return [];
  const { name, line, architecture } = crowded;
  const { burst } = architecture.builds;
  const key = keysOf(at);
  const own = keysOf([...at, 'architectures', name]);
  const isBurst = burst !== null && burst > 5 * line.ceiling.value;
  return [
    refusal(
      isBurst ? own('builds.burst') : own(architecture.ceiling === null ? 'max' : 'ceiling'),
      `the load balancer would take ${taken(crowded)} clients for ${name} (${line.clients.reason}), and has ports for ${MOST_CLIENTS} in one line`,
      `write a ${isBurst ? 'smaller burst' : 'lower ceiling'}, leave \`exposure.early-settings\` out, or make two pools`,
      [
        key('exposure.ports'),
        key('exposure.early-settings'),
        key(WHICH_ARCHITECTURES),
        ...architectures.flatMap(({ name: each, architecture: { ceiling } }) =>
          ['builds.burst', 'ceiling', ...(ceiling === null ? ['max', 'replicas'] : [])].map((one) =>
            key(`architectures.${each}.${one}`),
          ),
        ),
      ],
    ),
  ];
}

function checkTls({ pool, certificates, architectures }: PoolSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { tls, exposure } = pool;
  const key = keysOf(at);
  if (tls.kind === 'off') {
    const reach = [key('exposure.service'), key('exposure.clients')];
    const limited = exposure.clients.cidrs.length + exposure.clients.namespaces.length > 0;
    if (exposure.service === 'load-balancer' && !limited) {
      findings.push(
        refusal(
          key('tls'),
          'off, together with a load balancer that anybody may reach: whoever connects runs any code as root on a builder',
          'use TLS, or name those who may connect in `exposure.clients`',
          reach,
        ),
      );
    } else {
      findings.push(
        warning(
          key('tls'),
          'off: whoever reaches the pool runs any code on a builder, and secrets of builds travel in the clear',
          'use TLS unless nobody else is in the network',
          reach,
        ),
      );
    }
    if (exposure.ports === 'shared' && architectures.length > 1) {
      findings.push(
        refusal(
          key('exposure.ports'),
          'shared, without TLS: only the server name in a TLS handshake tells architectures apart',
          'write per-architecture, or use TLS',
          [key('tls.mode'), key(WHICH_ARCHITECTURES)],
        ),
      );
    }
    return findings;
  }
  if (tls.kind === 'passthrough') {
    findings.push(
      warning(
        key('tls.mode'),
        'passthrough: the load balancer sees no place in line: builds are served in the order in which they dialled, and one that must dial again goes to the end',
        'write terminate if builds are to keep their places',
        [],
      ),
    );
    for (const { architecture, name } of architectures) {
      if (Math.min(architecture.min, architecture.replicas ?? architecture.min) === 0) {
        findings.push(
          refusal(
            key(`architectures.${name}.min`),
            'no builder at all, with TLS pass-through: nobody answers the handshake until the first builder is there, and clients give up after 20 s',
            'write min: 1, or tls mode terminate',
            [key('tls.mode'), ...(architecture.min === 0 ? [] : [key(`architectures.${name}.replicas`)])],
          ),
        );
      }
    }
    if (exposure.earlySettingsPort !== null) {
      findings.push(
        refusal(
          key('exposure.early-settings'),
          'with TLS pass-through the load balancer cannot say anything to a client',
          'leave it out, or write tls mode terminate',
          [key('tls.mode')],
        ),
      );
    }
  }
  const { lifetimeMs, renewBeforeMs } = tls.certificates;
  const rollMs = certificates?.rollMs.value ?? 0;
  const roll = [
    key('tls.lifetime'),
    key('scale-down.grace'),
    key('scale-down.at-once'),
    key(WHICH_ARCHITECTURES),
    ...architectures.flatMap(({ name }) =>
      ['max', 'replicas', 'builds.longest', 'builds.cold-start'].map((own) =>
        key(`architectures.${name}.${own}`),
      ),
    ),
  ];
  if (renewBeforeMs >= lifetimeMs) {
    findings.push(
      refusal(
        key('tls.renew-before'),
        `${formatDuration(renewBeforeMs)} is not less than the lifetime of ${formatDuration(lifetimeMs)}: a certificate would be renewed for ever`,
        'write about a third of the lifetime',
        [key('tls.lifetime')],
      ),
    );
  } else if (renewBeforeMs <= rollMs) {
    findings.push(
      refusal(
        key('tls.renew-before'),
        `${formatDuration(renewBeforeMs)} is not longer than a roll of all builders (${formatDuration(rollMs)}): buildkitd reads its certificate at start only, and the last builders would still have the old one when it ends`,
        'write a multiple of that, and a longer lifetime',
        roll,
      ),
    );
  } else if (renewBeforeMs < rollMs + 24 * HOUR_MS) {
    findings.push(
      warning(
        key('tls.renew-before'),
        `${formatDuration(renewBeforeMs)} leaves less than a day beyond a roll of all builders (${formatDuration(rollMs)}): if renewal fails in a night, builds fail in the morning`,
        `write ${formatDuration(rollMs + 24 * HOUR_MS)} or more, and a lifetime of about three times that`,
        roll,
      ),
    );
  }
  const days = Math.floor((certificates?.buildersRenewBeforeMs.value ?? 0) / (24 * HOUR_MS));
  // A builder that runs for a year is somebody's decision; one that runs for a month is every third.
  if (pool.monitoring === 'none' && certificates !== null && days < 365) {
    findings.push(
      warning(
        [...at, 'monitoring'],
        `none, with TLS: nobody is told when a certificate is not renewed, or when a builder has run for so long (${days} days) that its own ends, and then no build starts`,
        'write prometheus-operator, or look for both yourself (docs/operations.md, "Rotate certificates")',
        [[...at, 'tls']],
      ),
    );
  }
  return findings;
}

function checkExposure({ pool, architectures }: PoolSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { exposure } = pool;
  const key = keysOf([...at, 'exposure']);
  const which = keysOf(at)(WHICH_ARCHITECTURES);
  const several = architectures.length > 1;
  if (exposure.service === 'load-balancer' && exposure.host === null) {
    findings.push(
      refusal(
        key('host'),
        '`host` is missing: clients outside the cluster need a name for the load balancer',
        'write it, such as {arch}.builders.example.com',
        [key('service')],
      ),
    );
  }
  if (exposure.host !== null) {
    if (exposure.ports === 'shared' && several && !exposure.host.includes('{arch}')) {
      findings.push(
        refusal(
          key('host'),
          `\`${exposure.host}\` is the same for all architectures on one shared port`,
          `put {arch} into it, such as {arch}.${exposure.host}`,
          [key('ports'), which],
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
          key('host'),
          `\`${exposure.host}\` is the same for all architectures, whose Services have the same port`,
          `put {arch} into it, such as {arch}.${exposure.host}`,
          [key('service'), key('ports'), which],
        ),
      );
    }
    if (
      architectures.some(
        ({ line }) => (line.serverName ?? '').length > 253 || hasLongLabel(line.endpoint.value),
      )
    ) {
      findings.push(
        refusal(key('host'), `\`${exposure.host}\` has a part of more than 63 characters`, 'shorten it', [
          which,
        ]),
      );
    }
  }
  findings.push(...checkAnnotations(exposure, key));
  return findings;
}

const AWS = 'service.beta.kubernetes.io/aws-load-balancer';

function checkAnnotations(
  { service, annotations, clients }: Exposure,
  key: ReturnType<typeof keysOf>,
): Finding[] {
  const given = Object.keys(annotations).length > 0;
  const about = [key('service')];
  if (service === 'cluster') {
    return given
      ? [
          warning(
            key('annotations'),
            'annotations are for a load balancer of the cloud; with service: cluster they do nothing there',
            'leave them out, or write service: load-balancer',
            about,
          ),
        ]
      : [];
  }
  if (!given) {
    return [
      warning(
        key('annotations'),
        "there are none, and by a cloud's defaults connections that are silent for minutes may be closed, as those of waiting builds are, and running builds be cut when the pool's load balancer is replaced",
        'write those of your cloud; docs/operations.md has them for AWS',
        about,
      ),
    ];
  }
  const toAddresses =
    annotations[`${AWS}-type`] === 'nlb-ip' || annotations[`${AWS}-nlb-target-type`] === 'ip';
  const attributes = (annotations[`${AWS}-target-group-attributes`] ?? '').replaceAll(/\s/g, '').split(',');
  return toAddresses && clients.cidrs.length > 0 && !attributes.includes('preserve_client_ip.enabled=true')
    ? [
        refusal(
          key('annotations'),
          'with targets by IP address clients lose their own, so nobody of `clients.cidrs` would get through the network policy',
          'write preserve_client_ip.enabled=true into aws-load-balancer-target-group-attributes',
          [...about, key('clients')],
        ),
      ]
    : [];
}

/** Instance metadata and credentials of the node, and what else is link-local. */
const NEVER_FOR_BUILDS = ['169.254.0.0/16', 'fe80::/10', 'fd00:ec2::/32'];
/** Networks of this prefix length, or a shorter one, have more in them than a registry. */
const WHOLE_NETWORK_BITS = { 4: 16, 6: 48 };

function checkEgress({ egressCidrs }: Pool, at: Path): Finding[] {
  return egressCidrs.flatMap((cidr, index) => {
    const path = [...at, 'egress', 'cidrs', index];
    const [address = '', bits = ''] = cidr.split('/');
    const metadata = NEVER_FOR_BUILDS.find((range) => overlap(range, cidr));
    if (metadata !== undefined) {
      return [
        refusal(
          path,
          `${cidr} has ${metadata} in it, by which a build gets the credentials of its node`,
          'write the addresses of what builds need alone',
          [],
        ),
      ];
    }
    return Number(bits) <= WHOLE_NETWORK_BITS[isIP(address) === 4 ? 4 : 6]
      ? [
          warning(
            path,
            `${cidr} opens a whole network to every build, with the clusters and databases in it`,
            'write the addresses of what builds need alone',
            [],
          ),
        ]
      : [];
  });
}

/** Of two ranges that overlap, one holds the other. */
function overlap(one: string, other: string): boolean {
  return holds(one, other) || holds(other, one);
}

function holds(outer: string, inner: string): boolean {
  const [address = '', bits = ''] = outer.split('/');
  const [within = ''] = inner.split('/');
  if (isIP(address) !== isIP(within)) return false;
  const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
  const range = new BlockList();
  range.addSubnet(address, Number(bits), family);
  return range.check(within, family);
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
  const key = keysOf(at);
  const which = key(WHICH_ARCHITECTURES);
  const listening = new Set(architectures.map(({ line }) => line.listenPort.value));
  const inner = [
    { path: key('balancer.metrics-port'), port: balancer.metricsPort },
    ...architectures.flatMap(({ line }) =>
      line.earlySettingsPort === null
        ? []
        : [{ path: key('exposure.early-settings'), port: line.earlySettingsPort.value }],
    ),
  ];
  const taken = new Set<number>(listening);
  for (const { path, port } of inner) {
    if (port < 1024) {
      findings.push(
        refusal(path, `port ${port} needs root in the load balancer's pod`, 'write one from 1024 to 65535', [
          which,
        ]),
      );
    } else if (port > 65_535) {
      findings.push(
        refusal(path, `the ports of all architectures from here reach ${port}`, 'write a smaller one', [
          which,
        ]),
      );
    } else if (taken.has(port) || (port >= INTERNAL_PORTS.from && port <= INTERNAL_PORTS.to)) {
      findings.push(
        refusal(
          path,
          `port ${port} is taken in the load balancer's pod (${[...taken].join(', ')}, ${INTERNAL_PORTS.from} to ${INTERNAL_PORTS.to})`,
          'write another',
          [key('balancer.metrics-port'), key('exposure.early-settings'), key('exposure.ports'), which],
        ),
      );
    }
    taken.add(port);
  }
  const outer = new Set(architectures.map(({ line }) => line.port.value));
  if ([...outer].some((port) => port > 65_535)) {
    findings.push(
      refusal(
        key('exposure.port'),
        'the ports of all architectures from here go beyond 65535',
        'write a smaller one',
        [key('exposure.service'), key('exposure.ports'), which],
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
        key('exposure.early-settings'),
        `the port is a client port already (${[...outer].join(', ')})`,
        `write another, such as ${Math.max(...outer) + 100}`,
        [key('exposure.service'), key('exposure.ports'), key('exposure.port'), which],
      ),
    );
  }
  if (pool.document.port < 1024) {
    findings.push(
      refusal(
        key('document.port'),
        `port ${pool.document.port} needs root`,
        'write one from 1024 to 65535',
        [],
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
        "a class is known by the client's certificate, which the load balancer sees only with tls mode terminate",
        'use that, or leave priorities out',
        [[...at, 'tls', 'mode']],
      ),
    );
  }
  const names = new Map<string, string>();
  for (const [index, priority] of pool.priorities.entries()) {
    if (pool.priorities.findIndex(({ name }) => name === priority.name) < index) {
      findings.push(
        refusal(
          [...at, 'priorities', index, 'name'],
          `\`${priority.name}\` is the name of two classes`,
          'choose another',
          [],
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
            'take it out of one of them',
            [],
          ),
        );
      }
      names.set(client, priority.name);
    }
  }
  return findings;
}

/** Only some folders of a node are on its local disks; the others are on the root volume, which is sized for the system. */
function checkCache({ pool, architectures }: PoolSizing, { karpenter }: Cluster, at: Path): Finding[] {
  const { cache } = pool;
  if (cache.kind !== 'node-local') return [];
  const local = architectures.find(
    ({ architecture: { nodes } }) =>
      nodes.kind === 'karpenter' && nodes.instanceTypes.some(({ disk }) => disk === 'instance-store'),
  );
  const mounts = mountsOf(karpenter?.amiAlias);
  if (local === undefined || isBelow(cache.path, mounts)) return [];
  const key = keysOf(at);
  return [
    refusal(
      key('cache.path'),
      `\`${cache.path}\` is not on the local disks of ${local.name}'s nodes, where only ${mounts.join(' and ')} are: caches would fill the root volume`,
      'write a folder below one of them, or leave it out',
      [
        key('cache.kind'),
        key(WHICH_ARCHITECTURES),
        key(`architectures.${local.name}.nodes.instance-types`),
        // Of some images only.
        ...(isBelow(cache.path, ALL_MOUNTS) ? [['cluster', 'karpenter']] : []),
      ],
    ),
  ];
}

function isBelow(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path.startsWith(`${folder}/`));
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
  const key = keysOf(at);
  if (min > max) {
    findings.push(
      refusal(key('min'), `${min} is more than max (${max})`, 'lower min or raise max', [key('max')]),
    );
  }
  if (replicas !== null && (replicas < min || replicas > max)) {
    findings.push(
      refusal(
        key('replicas'),
        `${replicas} is not between min (${min}) and max (${max})`,
        replicas > max ? 'lower replicas or raise max' : 'raise replicas or lower min',
        [key('min'), key('max')],
      ),
    );
  }
  const roomy = Math.min(2 * max, MAX_CEILING);
  if (line.ceiling.value < Math.max(max, mostBuilders(architecture))) {
    findings.push(
      refusal(
        key('ceiling'),
        `${line.ceiling.value} is less than max (${max}): the load balancer would not know the builders beyond it, which would stand idle`,
        `write ${roomy}, or leave it out`,
        line.ceiling.value < max ? [key('max')] : [key('max'), key('replicas')],
      ),
    );
  } else if (line.ceiling.value === max && architecture.ceiling !== null) {
    findings.push(
      warning(
        key('ceiling'),
        `${line.ceiling.value} is max: raising max will need a new load balancer`,
        `write ${roomy}`,
        [key('max')],
      ),
    );
  }
  if (spare > max) {
    findings.push(
      refusal(key('spare'), `${spare} is more than max (${max})`, 'lower spare or raise max', [key('max')]),
    );
  }
  if (spare > 0 && replicas !== null) {
    findings.push(
      refusal(
        key('spare'),
        'a fixed number of builders has no spare ones',
        'leave it out, or use autoscaling',
        [key('replicas')],
      ),
    );
  } else if (spare > 0 && min === 0) {
    findings.push(
      refusal(
        key('spare'),
        `${spare} spare builders and min: 0: the pool could never be empty`,
        `write min: ${spare}, or leave spare out`,
        [key('min'), key('replicas')],
      ),
    );
  }
  if (fallback !== null && fallback > max) {
    findings.push(
      refusal(
        key('fallback'),
        `${fallback} is more than max (${max})`,
        `write ${max} or less, or raise max`,
        [key('max')],
      ),
    );
  } else if (fallback !== null && fallback < min) {
    findings.push(
      refusal(
        key('fallback'),
        `${fallback} is less than min (${min}): there are never fewer`,
        `write ${min} or more`,
        [key('min'), key('max')],
      ),
    );
  }
  if (fallback !== null && replicas !== null) {
    findings.push(
      refusal(
        key('fallback'),
        'a fixed number of builders needs no fallback',
        'leave it out, or use autoscaling',
        [key('replicas')],
      ),
    );
  }
  return findings;
}

function checkBuilds({ architecture, line }: ArchitectureSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const { builds } = architecture;
  const key = keysOf([...at, 'builds']);
  const own = keysOf(at);
  const most = mostBuilders(architecture);
  if (builds.typicalMs > builds.longestMs) {
    findings.push(
      refusal(
        key('typical'),
        `${formatDuration(builds.typicalMs)} is longer than the longest (${formatDuration(builds.longestMs)})`,
        'raise longest, which nothing may outlast',
        [key('longest')],
      ),
    );
  }
  const deadlineMs = line.queueTimeoutMs.value;
  if (deadlineMs <= builds.coldStartMs) {
    findings.push(
      refusal(
        key('queue-timeout'),
        `${formatDuration(deadlineMs)} is not longer than a cold start (${formatDuration(builds.coldStartMs)}): builds would give up before their builder is ready`,
        `write ${formatDuration(2 * builds.coldStartMs)} or more, or leave it out`,
        [key('cold-start')],
      ),
    );
  } else if (deadlineMs < 2 * builds.coldStartMs) {
    findings.push(
      warning(
        key('queue-timeout'),
        `${formatDuration(deadlineMs)} is less than two cold starts (${formatDuration(2 * builds.coldStartMs)}): one that is slow, or a node that is not to be had, fails builds`,
        'write that or more, or leave it out',
        [key('cold-start')],
      ),
    );
  }
  if (deadlineMs > LONGEST_EXACT_WAIT_MS) {
    findings.push(
      warning(
        key('queue-timeout'),
        `${formatDuration(deadlineMs)}: the order of the line is exact for waits of up to a day`,
        builds.queueTimeoutMs === null ? 'make cold starts shorter than half a day' : 'write 24h or less',
        builds.queueTimeoutMs === null ? [key('cold-start')] : [],
      ),
    );
  }
  const wait = [key('cold-start'), key('typical'), own('min'), own('max'), own('replicas'), own('spare')];
  if (builds.burst !== null && line.burstWaitMs !== null) {
    if (most === 0 || line.burstWaitMs.value > deadlineMs) {
      findings.push(
        refusal(
          key('burst'),
          `the last of ${builds.burst} builds would wait ${formatDuration(line.burstWaitMs.value)} (${line.burstWaitMs.reason}) and give up after ${formatDuration(deadlineMs)}`,
          'raise max or queue-timeout',
          [...wait, key('queue-timeout'), key('longest')],
        ),
      );
    } else if (most < Math.ceil(builds.burst * 1.1)) {
      findings.push(
        warning(
          own(architecture.replicas === null ? 'max' : 'replicas'),
          `${most} leaves no headroom over the declared burst of ${builds.burst}: builders that are still draining or slow to start are missed at once, and the last builds wait ${formatDuration(line.burstWaitMs.value)} or more`,
          `write ${Math.ceil(builds.burst * 1.1)} or more`,
          [...wait, key('burst'), key('queue-timeout'), key('longest')],
        ),
      );
    }
  }
  return findings;
}

function checkBuilder(pool: Pool, { architecture, builder }: ArchitectureSizing, at: Path): Finding[] {
  const findings: Finding[] = [];
  const own = keysOf(at);
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
        own(given === null ? 'builders-per-node' : `builder.${key}`),
        `a builder gets ${format(size.value)} of ${key} (${size.reason}), less than the ${format(least)} that it needs`,
        given === null ? 'write fewer builders a node, or larger nodes' : 'give it more',
        given === null
          ? [own('nodes'), own(`builder.${key}`), ...(key === 'disk' ? [[...poolOf(at), 'cache']] : [])]
          : [],
      ),
    );
  }
  if (pool.cache.kind === 'volume' && architecture.builder.diskBytes !== null) {
    findings.push(
      refusal(
        own('builder.disk'),
        'with volumes the size is `cache.size`',
        'leave `disk` out, or write cache kind: node-local',
        [[...poolOf(at), 'cache', 'kind']],
      ),
    );
  }
  return findings;
}

/** The pool that an architecture's path lies in. */
function poolOf(at: Path): Path {
  return at.slice(0, 2);
}

function checkNodes(pool: Pool, of: ArchitectureSizing, at: Path): Finding[] {
  const { architecture, nodePools, builder } = of;
  const { nodes, builds, buildersPerNode } = architecture;
  const findings: Finding[] = [];
  if (nodes.kind !== 'karpenter') {
    if (nodes.kind === 'selector' && nodes.size !== null) findings.push(...checkKnownNode(of, pool, at));
    return findings;
  }
  const key = keysOf([...at, 'nodes']);
  const own = keysOf(at);
  const cacheKind = [...poolOf(at), 'cache', 'kind'];
  if (nodes.capacity === 'spot' && builds.longestMs > SPOT_NOTICE_MS) {
    const about = [key('accept-lost-builds'), own('builds.longest')];
    const why = `spot nodes give ${formatDuration(SPOT_NOTICE_MS)} of notice and the longest build takes ${formatDuration(builds.longestMs)}: no drain survives that, and builds are killed`;
    findings.push(
      nodes.acceptLostBuilds
        ? warning(
            key('capacity'),
            `${why}; accepted by accept-lost-builds`,
            'use on-demand if they matter',
            about,
          )
        : refusal(key('capacity'), why, 'use on-demand, or write accept-lost-builds: true', about),
    );
  }
  if (nodes.instanceTypes.length === 1) {
    findings.push(
      warning(
        key('instance-types'),
        `${nodes.instanceTypes[0]?.type} is the only type: when the cloud has none left, builds wait until it has`,
        'name several',
        [],
      ),
    );
  }
  if (pool.cache.kind === 'volume' && nodes.zones.length !== 1) {
    findings.push(
      warning(
        key('zones'),
        'a volume ties its builder to one zone, and a builder whose zone has no nodes left stays away',
        'name one zone',
        [cacheKind, key('instance-types')],
      ),
    );
  }
  const fit = [key('instance-types'), key('reserve'), own('builder'), own('builders-per-node'), cacheKind];
  for (const [index, type] of nodes.instanceTypes.entries()) {
    const fits = nodePools?.pools[index];
    if (fits === undefined) continue;
    const wanted = index === 0 ? buildersPerNode : 1;
    const node = `${formatCpu(fits.allocatableCpuMillis.value)}, ${formatSize(fits.allocatableMemoryBytes.value)} of memory and ${formatSize(fits.allocatableDiskBytes.value)} of disk`;
    const one = `${formatCpu(builder.cpuMillis.value)}, ${formatSize(builder.memoryBytes.value)} and ${formatSize(builder.diskBytes.value)}`;
    if (fits.builders.value < wanted) {
      findings.push(
        refusal(
          [...key('instance-types'), index],
          `a ${type.type} has ${node} for builders, too little for ${wanted} of ${one}`,
          index === 0 ? 'write smaller or fewer builders a node' : 'leave it out, or make builders smaller',
          fit,
        ),
      );
    } else if (
      fits.builders.value * builder.cpuMillis.value < fits.allocatableCpuMillis.value * (1 - WASTE) &&
      fits.builders.value * builder.memoryBytes.value < fits.allocatableMemoryBytes.value * (1 - WASTE)
    ) {
      findings.push(
        warning(
          [...key('instance-types'), index],
          `a ${type.type} has ${node} for builders and holds ${fits.builders.value} of ${one}: more than a quarter of it is never used`,
          'write another size of builder, or a smaller type',
          fit,
        ),
      );
    }
  }
  const weights = nodePools?.pools.map(({ weight }) => weight.value) ?? [];
  if (new Set(weights).size < weights.length) {
    findings.push(
      warning(
        key('instance-types'),
        `two types have the same weight (${weights.join(', ')}): which one comes first is left to chance`,
        'give each a weight of its own, or none any',
        [],
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
          `${buildersPerNode} builders of ${format(each)}${key === 'disk' ? '' : ', the gate included,'} need more than the ${format(offered)} that such a node has for them`,
          'make builders smaller, or fewer a node',
          [
            [...at, 'nodes'],
            [...at, 'builders-per-node'],
            ...(key === 'disk' ? [[...poolOf(at), 'cache']] : []),
          ],
        ),
      );
    }
  }
  return findings;
}

const POOL_NAMES: Path = ['pools', KEYS];

/** Names of objects: their length, and that no two are the same. */
function checkNames({ pools, cluster }: Sizing): Finding[] {
  const findings: Finding[] = [];
  const owners = new Map<string, string>();
  for (const { pool, names, architectures } of pools) {
    const at: Path = ['pools', pool.name];
    const objectsOf = (owner: string): readonly Path[] =>
      ['namespace', 'exposure', 'tls', 'architectures'].map((key) => ['pools', owner, key]);
    for (const { name: arch, names: own, nodePools } of architectures) {
      if (own.statefulSet.length > MAX_STATEFUL_SET) {
        findings.push(
          refusal(
            at,
            `\`${own.statefulSet}\` would be the name of a StatefulSet and has ${own.statefulSet.length} characters, more than the ${MAX_STATEFUL_SET} that Kubernetes can label`,
            `shorten the pool's name by ${own.statefulSet.length - MAX_STATEFUL_SET}`,
            [POOL_NAMES],
          ),
        );
        break;
      }
      const long = nodePools?.pools.find(({ name }) => name.length > MAX_LABEL);
      if (long !== undefined) {
        findings.push(
          refusal(
            at,
            `\`${long.name}\` would be the name of a NodePool and has ${long.name.length} characters, more than ${MAX_LABEL}`,
            `shorten the pool's name by ${long.name.length - MAX_LABEL}`,
            [POOL_NAMES, [...at, 'architectures', arch, 'nodes', 'instance-types']],
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
        ...names.namedClients.map(({ secret }) => secret),
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
            `pools ${other} and ${pool.name} would both have an object \`${object}\``,
            'choose another name or namespace for one of them',
            [POOL_NAMES, ...objectsOf(other), ...objectsOf(pool.name)],
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
          `\`${names.namespace}\` belongs to others, and builders need a namespace with its own policies and pod-security labels`,
          'choose another',
          [POOL_NAMES, ['cluster', 'keda-namespace'], ['cluster', 'monitoring-namespace']],
        ),
      );
    }
  }
  return findings;
}
