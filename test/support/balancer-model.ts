/** The load balancer of a pool as it runs in a cluster, with loopback ports: both architectures, TLS on both sides. */
import {
  type BalancedPool,
  type BalancerModel,
  type Entrance,
  GATHERING_MS,
} from '../../src/pool/haproxy.ts';

const HOUR_MS = 3_600_000;

export interface PoolShape {
  readonly name: string;
  readonly ceiling: number;
}

/** Ports from `base` on; see `portsOf`. */
export interface ModelShape {
  readonly address: string;
  readonly base: number;
  readonly pools: readonly PoolShape[];
  readonly tls: { readonly folder: string } | null;
  readonly nameServer: { readonly address: string; readonly port: number };
  readonly slotPort: number | null;
  readonly builderPort: number;
  readonly adminSocketPath: string | null;
  readonly earlySettingsPath: string | null;
}

export const ZONE = 'pool.svc.cluster.local';

export function hostOf(pool: string, ordinal: number): string {
  return `pool-${pool}-builder-${ordinal}.pool-${pool}-builders.${ZONE}`;
}

export function serverNameOf(pool: string): string {
  return `pool-${pool}.${ZONE}`;
}

/** Ports of a model of at most 19 pools: the shared one, one a pool with and without early SETTINGS, and those that nobody outside dials. */
export function portsOf(base: number) {
  return {
    shared: base,
    own: (index: number) => base + 1 + index,
    early: (index: number) => base + 20 + index,
    pool: (index: number) => base + 40 + index,
    plug: (index: number) => base + 60 + index,
    headStart: (index: number) => base + 80 + index,
    metrics: base + 100,
    placeholder: base + 101,
    nameGate: base + 102,
  };
}

export function clusterModel(shape: ModelShape): BalancerModel {
  const { address } = shape;
  const ports = portsOf(shape.base);
  const ended =
    shape.tls === null
      ? ({ kind: 'off' } as const)
      : ({
          kind: 'ended',
          certificatePath: `${shape.tls.folder}/balancer/tls.crt`,
          clientCaPath: `${shape.tls.folder}/balancer/ca.crt`,
        } as const);
  const entrance = (name: string, port: number, rest: Partial<Entrance>): Entrance => ({
    name,
    bind: { address, port },
    tls: ended,
    earlySettings: false,
    routes: [],
    otherwise: null,
    ...rest,
  });
  const pools = shape.pools.map(
    ({ name, ceiling }, index): BalancedPool => ({
      name,
      bind: { address, port: ports.pool(index) },
      fedBy: 'entrances',
      places: 'token',
      headStarts:
        shape.tls === null
          ? []
          : [
              {
                name: 'release',
                headStartMs: HOUR_MS,
                clients: ["release's runner", 'hotfix'],
                bind: { address, port: ports.headStart(index) },
              },
            ],
      builderTls:
        shape.tls === null
          ? null
          : {
              caPath: `${shape.tls.folder}/balancer-client/ca.crt`,
              certificatePath: `${shape.tls.folder}/balancer-client/tls.crt`,
            },
      slotPort: shape.slotPort,
      plug: { address, port: ports.plug(index) },
      servers: Array.from({ length: ceiling }, (_, ordinal) => ({
        name: `builder-${ordinal}`,
        host: hostOf(name, ordinal),
        port: shape.builderPort,
      })),
    }),
  );
  return {
    threads: 2,
    maxConnections: 8000,
    hardStopMs: null,
    logTarget: 'stdout format raw local0',
    adminSocketPath: shape.adminSocketPath,
    metrics: { address, port: ports.metrics },
    placeholder: { address, port: ports.placeholder },
    nameServers: [{ name: 'cluster', ...shape.nameServer }],
    nameGate: { address, port: ports.nameGate },
    resolution: { intervalMs: 1_000, holdGoneMs: 2_000, holdOutageMs: 12 * HOUR_MS },
    timeouts: { connectMs: 5_000, queueMs: 24 * HOUR_MS, clientMs: 48 * HOUR_MS, serverMs: 48 * HOUR_MS },
    keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
    checkIntervalMs: 1_000,
    gatheringMs: GATHERING_MS,
    entrances: [
      ...(shape.tls === null
        ? []
        : [
            entrance('shared', ports.shared, {
              routes: shape.pools.map(({ name }) => ({ serverName: serverNameOf(name), pool: name })),
            }),
          ]),
      ...shape.pools.flatMap(({ name }, index) => [
        entrance(`only_${name}`, ports.own(index), { otherwise: name }),
        ...(shape.earlySettingsPath === null
          ? []
          : [entrance(`early_${name}`, ports.early(index), { otherwise: name, earlySettings: true })]),
      ]),
    ],
    earlySettingsPath: shape.earlySettingsPath,
    pools,
  };
}
