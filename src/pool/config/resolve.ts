/**
 * From what is written to what is meant: sections inherited, defaults filled in, units resolved. Also finds what can't be
 * resolved, such as an instance type whose size nobody tells.
 */
import { DEFAULTS } from './defaults.ts';
import { type Finding, gap, KEYS, keysOf, type Path, refusal } from './finding.ts';
import { instanceFacts } from './instance-types.ts';
import { mountsOf } from './local-disks.ts';
import {
  ARCHITECTURES,
  type Architecture,
  type ArchitectureName,
  type BuilderSize,
  type Builds,
  type Cache,
  type Certificates,
  type Cluster,
  type Exposure,
  type InstanceType,
  type Issuer,
  type Karpenter,
  type NodeReserve,
  type NodeSize,
  type Nodes,
  type Pool,
  type PoolFile,
  type ScaleDown,
  type Tls,
  type Toleration,
} from './model.ts';
import type {
  WrittenArchitecture,
  WrittenDefaults,
  WrittenFile,
  WrittenInstanceType,
  WrittenNodes,
  WrittenPool,
} from './schema.ts';
import { parseCpu, parseDuration, parseSize } from './units.ts';

export interface Resolution {
  readonly file: PoolFile;
  /** With an error among them, `file` holds stand-ins where nothing could be resolved. */
  readonly findings: readonly Finding[];
}

export function resolveFile(written: WrittenFile): Resolution {
  const findings: Finding[] = [];
  const cluster = resolveCluster(written);
  const pools = Object.entries(written.pools).map(([name, pool]) =>
    resolvePool(name, layOver(written.defaults ?? {}, pool), cluster, findings),
  );
  const isWanted = pools.some(({ architectures }) =>
    architectures.some(({ nodes }) => nodes.kind === 'karpenter'),
  );
  if (isWanted && cluster.karpenter === null) {
    findings.push(
      gap(
        ['cluster', 'karpenter'],
        '`karpenter` is missing: nodes are given by instance type, which Karpenter starts',
        'write `cluster.karpenter` with discovery and role',
      ),
    );
  }
  return { file: { cluster, pools }, findings };
}

/** A pool's sections over the defaults', key by key; what is no map on both sides is replaced. */
function layOver(defaults: WrittenDefaults, pool: WrittenPool): WrittenPool {
  const laid: Record<string, unknown> = { ...defaults };
  for (const [key, value] of Object.entries(pool)) {
    const under = laid[key];
    laid[key] = isMap(under) && isMap(value) ? { ...under, ...value } : value;
  }
  return laid as WrittenPool;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function resolveCluster({ cluster = {} }: WrittenFile): Cluster {
  const byDefault = DEFAULTS.cluster;
  const kubernetes = cluster.kubernetes ?? byDefault.kubernetes;
  return {
    domain: cluster.domain ?? byDefault.domain,
    kubernetesMinor: Number(kubernetes.slice('1.'.length)),
    createNamespaces: cluster['create-namespaces'] ?? byDefault.createNamespaces,
    kedaNamespace: cluster['keda-namespace'] ?? byDefault.kedaNamespace,
    monitoringNamespace: cluster['monitoring-namespace'] ?? byDefault.monitoringNamespace,
    monitoringLabels: cluster['monitoring-labels'] ?? {},
    dns: {
      address: cluster.dns?.address ?? null,
      namespace: cluster.dns?.namespace ?? byDefault.dnsNamespace,
      labels: cluster.dns?.labels ?? byDefault.dnsLabels,
    },
    karpenter: cluster.karpenter === undefined ? null : resolveKarpenter(cluster.karpenter),
  };
}

function resolveKarpenter(written: NonNullable<NonNullable<WrittenFile['cluster']>['karpenter']>): Karpenter {
  const byDefault = DEFAULTS.karpenter;
  const hours = written['working-hours'];
  return {
    discovery: written.discovery,
    role: written.role,
    amiAlias: written.ami ?? byDefault.ami,
    emptyAfterMs: ms(written['empty-after'], byDefault.emptyAfter),
    workingHours: {
      from: hours?.from ?? byDefault.workingHours.from,
      lastsMs: ms(hours?.lasts, byDefault.workingHours.lasts),
    },
  };
}

function resolvePool(name: string, written: WrittenPool, cluster: Cluster, findings: Finding[]): Pool {
  const at: Path = ['pools', name];
  const autoscaling = written.autoscaling ?? DEFAULTS.pool.autoscaling;
  const given = ARCHITECTURES.flatMap((arch) => {
    const own = written.architectures[arch];
    return own === undefined ? [] : [{ arch, own }];
  });
  if (given.length === 0) {
    findings.push(
      refusal(
        [...at, 'architectures'],
        'the pool has no architecture',
        'write amd64 or arm64 with min and max',
        [[...at, 'architectures', KEYS]],
      ),
    );
  }
  const order = Object.keys(written.architectures);
  given.sort((a, b) => order.indexOf(a.arch) - order.indexOf(b.arch));
  const architectures = given.map(({ arch, own }) =>
    resolveArchitecture(
      arch,
      { ...own, builds: { ...written.builds, ...own.builds } },
      { autoscaling, at: [...at, 'architectures', arch], findings },
    ),
  );
  const cache = resolveCache(
    written.cache ?? {},
    defaultCachePath(architectures, cluster),
    [...at, 'cache'],
    findings,
  );
  return {
    name,
    namespace: written.namespace ?? name,
    autoscaling,
    monitoring: written.monitoring ?? DEFAULTS.pool.monitoring,
    profile: written.profile ?? DEFAULTS.pool.profile,
    scaleDown: resolveScaleDown(written['scale-down'] ?? {}),
    tls: resolveTls(written.tls ?? {}, [...at, 'tls'], findings),
    cache,
    exposure: resolveExposure(written.exposure ?? {}),
    egressCidrs: written.egress?.cidrs ?? [],
    balancer: {
      selector: written.balancer?.selector ?? {},
      tolerations: resolveTolerations(written.balancer?.tolerations),
      metricsPort: written.balancer?.['metrics-port'] ?? DEFAULTS.balancer.metricsPort,
    },
    document: { port: written.document?.port ?? DEFAULTS.document.port },
    priorities: (written.priorities ?? []).map((priority) => ({
      name: priority.name,
      headStartMs: parseDuration(priority['head-start']) ?? 0,
      clients: priority.clients,
    })),
    images: {
      buildkit: written.images?.buildkit ?? null,
      haproxy: written.images?.haproxy ?? null,
      document: written.images?.document ?? null,
      pullSecrets: written.images?.['pull-secrets'] ?? [],
    },
    mirrors: written.mirrors ?? {},
    architectures,
  };
}

function resolveScaleDown(written: NonNullable<WrittenPool['scale-down']>): ScaleDown {
  const byDefault = DEFAULTS.scaleDown;
  return {
    idleMs: ms(written.idle, byDefault.idle),
    atOnceBuilders: written['at-once']?.builders ?? byDefault.builders,
    atOncePercent: written['at-once']?.percent ?? byDefault.percent,
    periodMs: written.period === undefined ? null : ms(written.period, ''),
    graceMs: written.grace === undefined ? null : ms(written.grace, ''),
  };
}

function resolveTls(written: NonNullable<WrittenPool['tls']>, at: Path, findings: Finding[]): Tls {
  if (written === 'off') return { kind: 'off' };
  return {
    kind: written.mode ?? DEFAULTS.tls.mode,
    certificates: resolveCertificates(written, at, findings),
  };
}

function resolveCertificates(
  written: Exclude<NonNullable<WrittenPool['tls']>, 'off'>,
  at: Path,
  findings: Finding[],
): Certificates {
  const key = keysOf(at);
  const mode = written.mode ?? DEFAULTS.tls.mode;
  const times = {
    lifetimeMs: ms(written.lifetime, DEFAULTS.tls.lifetime),
    renewBeforeMs: ms(written['renew-before'], DEFAULTS.tls.renewBefore),
  };
  if ((written.certificates ?? DEFAULTS.tls.certificates) === 'cert-manager') {
    if (written.secrets !== undefined) {
      findings.push(
        refusal(
          key('secrets'),
          'cert-manager makes the Secrets itself',
          'leave `secrets` out, or write certificates: secrets',
          [key('certificates')],
        ),
      );
    }
    const issuer: Issuer | null =
      written.issuer === undefined
        ? null
        : { kind: written.issuer.kind ?? 'ClusterIssuer', name: written.issuer.name };
    return { kind: 'cert-manager', issuer, ...times };
  }
  if (written.issuer !== undefined) {
    findings.push(
      refusal(
        key('issuer'),
        'only cert-manager has issuers',
        'leave it out, or write certificates: cert-manager',
        [key('certificates')],
      ),
    );
  }
  const { balancer = '', 'balancer-client': balancerClient = '', builders = '' } = written.secrets ?? {};
  const needed =
    mode === 'terminate' ? { balancer, 'balancer-client': balancerClient, builders } : { builders };
  for (const [which, name] of Object.entries(needed)) {
    if (name === '') {
      findings.push(
        refusal(
          key(`secrets.${which}`),
          `the Secret \`${which}\` is needed with certificates: secrets${which === 'builders' ? '' : ' and mode: terminate'}`,
          'write its name',
          // The builders' own are needed in either mode.
          [key('certificates'), ...(which === 'builders' ? [] : [key('mode')])],
        ),
      );
    }
  }
  return { kind: 'secrets', secrets: { balancer, balancerClient, builders }, ...times };
}

function resolveCache(
  written: NonNullable<WrittenPool['cache']>,
  defaultPath: string,
  at: Path,
  findings: Finding[],
): Cache {
  if ((written.kind ?? DEFAULTS.cache.kind) === 'volume') {
    if (written.path !== undefined) {
      findings.push(
        refusal([...at, 'path'], 'a volume is mounted where BuildKit wants it', 'leave `path` out', [
          [...at, 'kind'],
        ]),
      );
    }
    return {
      kind: 'volume',
      storageClass: written['storage-class'] ?? null,
      sizeBytes: bytes(written.size, DEFAULTS.cache.size),
    };
  }
  for (const key of ['storage-class', 'size'] as const) {
    if (written[key] !== undefined) {
      findings.push(
        refusal(
          [...at, key],
          `only volumes have \`${key}\``,
          "leave it out, or write kind: volume (the size of a node-local cache is an architecture's `builder.disk`)",
          [[...at, 'kind']],
        ),
      );
    }
  }
  return { kind: 'node-local', path: (written.path ?? defaultPath).replace(/(?<=.)\/+$/, '') };
}

/** On the local disks where any nodes have some. Nodes without have the same folder, on their root volume. */
function defaultCachePath(architectures: readonly Architecture[], { karpenter }: Cluster): string {
  const hasLocalDisks = architectures.some(
    ({ nodes }) =>
      nodes.kind === 'karpenter' && nodes.instanceTypes.some(({ disk }) => disk === 'instance-store'),
  );
  return hasLocalDisks ? `${mountsOf(karpenter?.amiAlias)[0]}/buildkit-pool` : DEFAULTS.cache.path;
}

function resolveExposure(written: NonNullable<WrittenPool['exposure']>): Exposure {
  const byDefault = DEFAULTS.exposure;
  return {
    service: written.service ?? byDefault.service,
    annotations: written.annotations ?? {},
    ports: written.ports ?? byDefault.ports,
    port: written.port ?? byDefault.port,
    host: written.host ?? null,
    earlySettingsPort: written['early-settings'] ?? null,
    clients: {
      namespaces: written.clients?.namespaces ?? [],
      cidrs: written.clients?.cidrs ?? [],
    },
  };
}

interface Context {
  readonly autoscaling: Pool['autoscaling'];
  readonly at: Path;
  readonly findings: Finding[];
}

function resolveArchitecture(
  name: ArchitectureName,
  written: WrittenArchitecture,
  { autoscaling, at, findings }: Context,
): Architecture {
  const byDefault = DEFAULTS.architecture;
  const replicas = autoscaling === 'off' ? (written.replicas ?? null) : null;
  if (autoscaling === 'off' && replicas === null) {
    findings.push(
      gap(
        [...at, 'replicas'],
        '`replicas` is missing',
        'write how many builders there are, or use autoscaling',
      ),
    );
  }
  if (autoscaling !== 'off' && written.replicas !== undefined) {
    findings.push(
      refusal(
        [...at, 'replicas'],
        'a fixed number under autoscaling would reset the pool at every apply',
        'leave `replicas` out, or write autoscaling: off',
        [],
      ),
    );
  }
  const max = written.max ?? Math.max(byDefault.max, written.min ?? 0, replicas ?? 0);
  return {
    name,
    min: written.min ?? Math.min(byDefault.min, max, replicas ?? max),
    max,
    replicas,
    spare: written.spare ?? byDefault.spare,
    fallback: written.fallback ?? null,
    ceiling: written.ceiling ?? null,
    builds: resolveBuilds(written.builds ?? {}),
    buildersPerNode: written['builders-per-node'] ?? byDefault.buildersPerNode,
    nodes: resolveNodes(name, written.nodes ?? {}, [...at, 'nodes'], findings),
    builder: resolveBuilder(written.builder),
  };
}

function resolveBuilds(written: NonNullable<WrittenArchitecture['builds']>): Builds {
  const byDefault = DEFAULTS.builds;
  const longestMs = ms(written.longest, byDefault.longest);
  return {
    longestMs,
    typicalMs:
      written.typical === undefined
        ? Math.min(ms(undefined, byDefault.typical), longestMs)
        : ms(written.typical, ''),
    coldStartMs: ms(written['cold-start'], byDefault.coldStart),
    burst: written.burst ?? null,
    queueTimeoutMs: written['queue-timeout'] === undefined ? null : ms(written['queue-timeout'], ''),
  };
}

function resolveBuilder(written: WrittenArchitecture['builder']): BuilderSize {
  return {
    cpuMillis: cpuMillis(written?.cpu),
    memoryBytes: written?.memory === undefined ? null : bytes(written.memory, ''),
    diskBytes: written?.disk === undefined ? null : bytes(written.disk, ''),
  };
}

function resolveNodes(arch: ArchitectureName, written: WrittenNodes, at: Path, findings: Finding[]): Nodes {
  const types = written['instance-types'];
  const reserve: NodeReserve = {
    cpuMillis: cpuMillis(written.reserve?.cpu ?? DEFAULTS.nodes.reserve.cpu) ?? 0,
    memoryBytes: bytes(written.reserve?.memory, DEFAULTS.nodes.reserve.memory),
  };
  const about: readonly Path[] = [
    [...at, 'instance-types'],
    [...at, 'selector'],
  ];
  const refuse = (keys: readonly (keyof WrittenNodes)[], unless: string) => {
    for (const key of keys) {
      if (written[key] !== undefined) {
        findings.push(
          refusal([...at, key], `\`${key}\` goes with ${unless}`, 'leave it out, or add that', about),
        );
      }
    }
  };
  if (types !== undefined) {
    refuse(['selector', 'tolerations', 'size'], 'nodes that exist already, not with `instance-types`');
    const instanceTypes = types.map((type, index) =>
      resolveInstanceType(arch, type, [...at, 'instance-types', index], findings),
    );
    for (const [index, { type }] of instanceTypes.entries()) {
      if (instanceTypes.findIndex((other) => other.type === type) < index) {
        findings.push(
          refusal([...at, 'instance-types', index], `\`${type}\` is named twice`, 'leave one out', []),
        );
      }
    }
    return {
      kind: 'karpenter',
      capacity: written.capacity ?? DEFAULTS.nodes.capacity,
      acceptLostBuilds: written['accept-lost-builds'] ?? false,
      instanceTypes,
      zones: written.zones ?? [],
      reserve,
    };
  }
  refuse(['capacity', 'accept-lost-builds', 'zones'], '`instance-types`');
  if (written.selector === undefined) {
    refuse(['tolerations', 'size', 'reserve'], 'a `selector`');
    return { kind: 'any' };
  }
  const selector = written.selector;
  return {
    kind: 'selector',
    selector,
    tolerations: resolveTolerations(written.tolerations),
    size: resolveNodeSize(written.size, [...at, 'size'], findings),
    reserve,
  };
}

function resolveNodeSize(written: WrittenNodes['size'], at: Path, findings: Finding[]): NodeSize | null {
  if (written === undefined) return null;
  for (const key of ['cpu', 'memory', 'disk'] as const) {
    if (written[key] === undefined) {
      findings.push(
        gap(
          [...at, key],
          `\`${key}\` is missing: a node's size has cpu, memory and disk`,
          'write all three or none',
        ),
      );
    }
  }
  return {
    cpuMillis: cpuMillis(written.cpu) ?? STAND_IN.cpuMillis,
    memoryBytes: bytes(written.memory, '64Gi'),
    diskBytes: bytes(written.disk, '500Gi'),
  };
}

/** Used only beside a refusal, so that the rest of the file can still be checked. */
const STAND_IN: NodeSize = { cpuMillis: 1_024_000, memoryBytes: 64 * 2 ** 40, diskBytes: 64 * 2 ** 40 };
/** Of the largest types, which reserve most. */
const MAX_PODS = 737;

function resolveInstanceType(
  arch: ArchitectureName,
  item: WrittenInstanceType,
  at: Path,
  findings: Finding[],
): InstanceType {
  const written = typeof item === 'string' ? { type: item } : item;
  const facts = instanceFacts(written.type);
  if (facts !== undefined && facts.architecture !== arch) {
    findings.push(
      gap(
        at,
        `\`${written.type}\` is ${facts.architecture}, not ${arch}`,
        'choose a type of this architecture',
      ),
    );
  }
  const nvmeBytes = facts === undefined || facts.nvmeGb === 0 ? null : facts.nvmeGb * 1e9;
  const ownDisk = written.disk === undefined ? nvmeBytes : bytes(written.disk, '');
  const rootVolume = written['root-volume'] === undefined ? null : bytes(written['root-volume'], '');
  const missing =
    facts === undefined ? (['cpu', 'memory'] as const).filter((key) => written[key] === undefined) : [];
  if (missing.length > 0) {
    findings.push(
      gap(
        at,
        `the size of \`${written.type}\` is not known here`,
        `write {type: ${written.type}, cpu: …, memory: …, disk: …} (disk: its local disks; or root-volume)`,
      ),
    );
  } else if (ownDisk === null && rootVolume === null) {
    findings.push(
      gap(
        at,
        `\`${written.type}\` has no local disk that is known here`,
        `write {type: ${written.type}, root-volume: 500Gi}, or choose a type with local disks`,
      ),
    );
  } else if (ownDisk !== null && rootVolume !== null) {
    findings.push(
      refusal(
        [...at, 'root-volume'],
        `\`${written.type}\` has local disks, which the kubelet's folder and the caches are put on`,
        'leave `root-volume` out',
        [],
      ),
    );
  }
  return {
    type: written.type,
    weight: written.weight ?? null,
    size: {
      cpuMillis: cpuMillis(written.cpu) ?? (facts === undefined ? STAND_IN.cpuMillis : facts.vcpus * 1000),
      memoryBytes:
        written.memory !== undefined
          ? bytes(written.memory, '')
          : facts === undefined
            ? STAND_IN.memoryBytes
            : facts.memoryGib * 2 ** 30,
      diskBytes: rootVolume ?? ownDisk ?? STAND_IN.diskBytes,
    },
    disk: rootVolume === null ? 'instance-store' : 'root-volume',
    maxPods: written['max-pods'] ?? facts?.maxPods ?? MAX_PODS,
    pricePerHour: written.price ?? null,
  };
}

function resolveTolerations(written: WrittenNodes['tolerations']): readonly Toleration[] {
  return (written ?? []).map(({ key, value, effect }) => ({
    key,
    value: value ?? null,
    effect: effect ?? null,
  }));
}

/** The schema has checked what is written; a default has a test of its own. */
function ms(written: string | undefined, byDefault: string): number {
  return parseDuration(written ?? byDefault) ?? 0;
}

function bytes(written: string | undefined, byDefault: string): number {
  return parseSize(written ?? byDefault) ?? 0;
}

function cpuMillis(written: number | string | undefined): number | null {
  if (written === undefined) return null;
  return typeof written === 'number' ? Math.round(written * 1000) : (parseCpu(written) ?? 0);
}
