/** What runs in a builder's pod, as plain data: files, containers, volumes. The StatefulSet around it is elsewhere. */
import type { IContainer, IProbe, ISecurityContext, IVolume } from 'kubernetes-models/v1';
import { HAPROXY_IDENTITY, RESTRICTED_CONTAINER, renderProbe } from '../components/pod.ts';
import { renderGate } from '../haproxy/gate.ts';
import { GATE_CPU_MILLIS, GATE_MEMORY_BYTES } from '../sizing/builder.ts';
import type { ArchitectureSizing, DrainSizing, PoolSizing, ProbeSizing } from '../sizing/model.ts';
import { renderBuildkitd } from './buildkitd.ts';
import { renderDrain } from './drain.ts';
import { ANY_ADDRESS, renderGateScript } from './gate.ts';
import { CGROUP_ENTRYPOINT, renderStart } from './start.ts';

export interface BuilderPodOptions {
  readonly images: { readonly buildkit: string; readonly haproxy: string };
  /** Name of the ConfigMap that holds `files`. */
  readonly configMapName: string;
}

export interface BuilderPod {
  /** Of the ConfigMap: name to content. */
  readonly files: Readonly<Record<string, string>>;
  readonly initContainers: readonly IContainer[];
  readonly containers: readonly IContainer[];
  /**
   * Without the cache where it is a volume an ordinal: that one comes from the StatefulSet's volumeClaimTemplates and
   * must be called CACHE_VOLUME.
   */
  readonly volumes: readonly IVolume[];
  /** Group that may read the TLS files; null: root reads them. */
  readonly fsGroup: number | null;
}

export const CACHE_VOLUME = 'cache';

/** Where the load balancer asks whether the builder is free for it (BalancedPool.slotPort), by the port for builds. */
export function slotPort(port: number): number {
  return port + 1;
}

/** buildkitd's own port, on loopback, by the port for builds. */
export function daemonPort(port: number): number {
  return port + 2;
}

export function builderPod(
  pool: PoolSizing,
  architecture: ArchitectureSizing,
  options: BuilderPodOptions,
): BuilderPod {
  const rootless = pool.pool.profile === 'rootless';
  return {
    files: files(pool, architecture),
    initContainers: rootless && pool.pool.cache.kind === 'node-local' ? [cacheOwner(options)] : [],
    containers: [daemon(pool, architecture, options), gate(architecture, options)],
    volumes: volumes(pool, architecture, options),
    fsGroup: rootless ? ROOTLESS_USER : null,
  };
}

const CONFIGURATION_VOLUME = 'configuration';
const CONFIGURATION_FOLDER = '/etc/buildkit-pool';
const TLS_VOLUME = 'tls';
const TLS_FOLDER = '/etc/buildkit-tls';
const CACHE_FOLDER = '/cache';
const SOCKET_VOLUME = 'socket';
const SOCKET_FOLDER = '/run/buildkit';
const SOCKET = `${SOCKET_FOLDER}/buildkitd.sock`;
/** The user of BuildKit's rootless image. */
const ROOTLESS_USER = 1000;

const HISTORY = { maxAgeSeconds: 48 * 3600, maxEntries: 50 } as const;
/** The gate ends its waiting by the same time as the drain takes its first look; kubelet starts both within seconds. */
const GATE_PATIENCE_SECONDS = 30;
const REPORT_SECONDS = 60;

/** Beyond what a builder gets, and taken off its part of the node. */
export const GATE_RESOURCES = {
  requests: { cpu: `${GATE_CPU_MILLIS}m`, memory: `${GATE_MEMORY_BYTES / 2 ** 20}Mi` },
  limits: { memory: '128Mi' },
} as const;

function files(pool: PoolSizing, architecture: ArchitectureSizing): Readonly<Record<string, string>> {
  const { builder, drain } = architecture;
  const { balancer } = pool;
  const { profile, tls } = pool.pool;
  const daemonAddress = { address: '127.0.0.1', port: daemonPort(builder.port) };
  const program = profile === 'rootless' ? ['rootlesskit', 'buildkitd'] : ['buildkitd'];
  return {
    'buildkitd.toml': renderBuildkitd({
      socketPath: SOCKET,
      ...daemonAddress,
      tls:
        tls.kind === 'off'
          ? null
          : {
              certificatePath: `${TLS_FOLDER}/tls.crt`,
              keyPath: `${TLS_FOLDER}/tls.key`,
              clientCaPath: `${TLS_FOLDER}/ca.crt`,
            },
      profile,
      maxParallelism: builder.maxParallelism.value,
      cache: {
        reservedBytes: builder.reservedBytes.value,
        maxUsedBytes: builder.cacheBytes.value,
        minFreeBytes: builder.minFreeBytes.value,
      },
      history: HISTORY,
      mirrors: pool.pool.mirrors,
    }),
    'start.sh': renderStart({
      cacheFolder: CACHE_FOLDER,
      slots: builder.cacheSlots?.value ?? 1,
      daemon: [...program, '--config', `${CONFIGURATION_FOLDER}/buildkitd.toml`],
      // An unprivileged container has a control group namespace, and its image no such program.
      entrypoint: profile === 'rootless' ? null : CGROUP_ENTRYPOINT,
    }),
    'drain.sh': renderDrain({
      port: builder.port,
      innerPorts: [daemonAddress.port],
      firstLookSeconds: drain.firstLookSeconds.value,
      lookIntervalSeconds: drain.lookIntervalSeconds.value,
      idleLooks: drain.idleLooks.value,
      gatePatienceSeconds: GATE_PATIENCE_SECONDS,
      deadlineSeconds: drain.deadlineSeconds.value,
      reportSeconds: REPORT_SECONDS,
      procFolder: '/proc',
      logPath: '/proc/1/fd/2',
    }),
    'gate.cfg': renderGate({
      builds: { address: ANY_ADDRESS, port: builder.port },
      slot: { address: ANY_ADDRESS, port: slotPort(builder.port) },
      daemon: daemonAddress,
      keepalive: {
        idleSeconds: balancer.keepaliveIdleSeconds.value,
        intervalSeconds: balancer.keepaliveIntervalSeconds.value,
        probes: balancer.keepaliveProbes.value,
      },
      clientMs: balancer.clientTimeoutMs.value,
      serverMs: balancer.serverTimeoutMs.value,
    }),
    'gate.sh': renderGateScript({
      configPath: `${CONFIGURATION_FOLDER}/gate.cfg`,
      haproxy: 'haproxy',
      procFolder: '/proc',
    }),
  };
}

function daemon(
  pool: PoolSizing,
  { builder }: ArchitectureSizing,
  { images }: BuilderPodOptions,
): IContainer {
  const { profile, tls } = pool.pool;
  return {
    name: 'buildkitd',
    image: images.buildkit,
    command: ['/bin/sh', `${CONFIGURATION_FOLDER}/start.sh`],
    lifecycle: { preStop: { exec: { command: ['/bin/sh', `${CONFIGURATION_FOLDER}/drain.sh`] } } },
    startupProbe: probe(builder.startup),
    readinessProbe: probe(builder.readiness),
    livenessProbe: probe(builder.liveness),
    resources: {
      requests: {
        cpu: `${builder.cpuMillis.value}m`,
        memory: `${builder.memoryBytes.value}`,
        ...(builder.ephemeralBytes === null
          ? {}
          : { 'ephemeral-storage': `${builder.ephemeralBytes.value}` }),
      },
      limits: { memory: `${builder.memoryBytes.value}` },
    },
    securityContext: profile === 'rootless' ? ROOTLESS : { privileged: true },
    volumeMounts: [
      { name: CONFIGURATION_VOLUME, mountPath: CONFIGURATION_FOLDER, readOnly: true },
      { name: CACHE_VOLUME, mountPath: CACHE_FOLDER },
      { name: SOCKET_VOLUME, mountPath: SOCKET_FOLDER },
      ...(tls.kind === 'off' ? [] : [{ name: TLS_VOLUME, mountPath: TLS_FOLDER, readOnly: true }]),
    ],
  };
}

/** rootlesskit needs newuidmap, which is set-uid, and mounts that the default profiles forbid. */
const ROOTLESS: ISecurityContext = {
  runAsNonRoot: true,
  runAsUser: ROOTLESS_USER,
  runAsGroup: ROOTLESS_USER,
  seccompProfile: { type: 'Unconfined' },
  appArmorProfile: { type: 'Unconfined' },
};

/** Over the unix socket, past the gate: a probe must neither take the place of a build nor wait behind one. */
function probe(sizing: ProbeSizing): IProbe {
  return {
    exec: { command: ['buildctl', '--addr', `unix://${SOCKET}`, 'debug', 'workers'] },
    ...renderProbe(sizing),
  };
}

/** Without a probe: it answers the load balancer's own checks or it does not, and kubelet sees whether it runs. */
function gate({ builder, drain }: ArchitectureSizing, { images }: BuilderPodOptions): IContainer {
  return {
    name: 'gate',
    image: images.haproxy,
    command: ['/bin/sh', `${CONFIGURATION_FOLDER}/gate.sh`],
    ports: [
      { name: 'builds', containerPort: builder.port },
      { name: 'slot', containerPort: slotPort(builder.port) },
    ],
    lifecycle: { preStop: { exec: { command: stayOpen(drain) } } },
    resources: GATE_RESOURCES,
    securityContext: { ...HAPROXY_IDENTITY, ...RESTRICTED_CONTAINER },
    volumeMounts: [{ name: CONFIGURATION_VOLUME, mountPath: CONFIGURATION_FOLDER, readOnly: true }],
  };
}

/** Takes builds until nobody's DNS answer leads here any more; should it end early, later builds go back to the line. */
function stayOpen({ firstLookSeconds }: DrainSizing): string[] {
  return ['sleep', String(firstLookSeconds.value)];
}

/** A folder that kubelet made on the node belongs to root. */
function cacheOwner({ images }: BuilderPodOptions): IContainer {
  return {
    name: 'cache-owner',
    image: images.buildkit,
    command: ['chown', `${ROOTLESS_USER}:${ROOTLESS_USER}`, CACHE_FOLDER],
    securityContext: {
      runAsUser: 0,
      runAsGroup: 0,
      runAsNonRoot: false,
      ...RESTRICTED_CONTAINER,
      capabilities: { drop: ['ALL'], add: ['CHOWN'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [{ name: CACHE_VOLUME, mountPath: CACHE_FOLDER }],
  };
}

function volumes(
  { pool, names }: PoolSizing,
  architecture: ArchitectureSizing,
  { configMapName }: BuilderPodOptions,
): readonly IVolume[] {
  const { cache, tls, profile } = pool;
  return [
    { name: CONFIGURATION_VOLUME, configMap: { name: configMapName } },
    // A folder for each pool and architecture: no pool ever reads what another has built.
    ...(cache.kind === 'node-local'
      ? [
          {
            name: CACHE_VOLUME,
            hostPath: {
              path: `${cache.path}/${names.namespace}.${architecture.names.statefulSet}`,
              type: 'DirectoryOrCreate' as const,
            },
          },
        ]
      : []),
    { name: SOCKET_VOLUME, emptyDir: { medium: 'Memory' as const, sizeLimit: '1Mi' } },
    ...(tls.kind === 'off' || names.buildersSecret === null
      ? []
      : [
          {
            name: TLS_VOLUME,
            secret: { secretName: names.buildersSecret, defaultMode: profile === 'rootless' ? 0o440 : 0o400 },
          },
        ]),
  ];
}
