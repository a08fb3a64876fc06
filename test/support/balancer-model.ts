/**
 * The load balancer's model as it is derived from a pool.yaml, with other addresses, files and pool names: several
 * lines of one load balancer, each with the settings of the generated one.
 */
import { balancerModel } from '../../src/pool/components/balancer-model.ts';
import {
  type BalancedPool,
  type BalancerModel,
  type Entrance,
  GATHERING_MS,
} from '../../src/pool/haproxy.ts';
import { readPool } from '../../src/pool/read.ts';

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

export const ZONE = 'buildkit.svc.cluster.local';

export function hostOf(pool: string, ordinal: number): string {
  return `default-${pool}-builder-${ordinal}.default-${pool}-builders.${ZONE}`;
}

/** For a certificate that all builders of a pool show. */
export function buildersNameOf(pool: string): string {
  return `*.default-${pool}-builders.${ZONE}`;
}

export function serverNameOf(pool: string): string {
  return `default-${pool}.${ZONE}`;
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

/** From a pool.yaml with the largest ceiling of the shape. */
function generatedModel({ pools, tls }: ModelShape): BalancerModel {
  const ceiling = Math.max(...pools.map((pool) => pool.ceiling));
  const reading = readPool(`
version: 1
pools:
  default:
    namespace: buildkit
    tls: ${tls === null ? 'off' : '{}'}
    ${tls === null ? '' : `priorities: [{ name: release, head-start: 1h, clients: [release-runner, hotfix] }]`}
    architectures:
      amd64: { min: 0, max: ${ceiling}, ceiling: ${ceiling}, builder: { cpu: 1, memory: 2Gi, disk: 20Gi } }
`);
  if (reading.kind === 'refused') throw new Error(reading.problems.map(({ message }) => message).join('\n'));
  const [pool] = reading.sizing.pools;
  if (pool === undefined) throw new Error('no pool');
  return balancerModel(reading.sizing, pool);
}

export function clusterModel(shape: ModelShape): BalancerModel {
  const { address, tls } = shape;
  const ports = portsOf(shape.base);
  const generated = generatedModel(shape);
  const [line] = generated.pools;
  const [door] = generated.entrances;
  if (line === undefined || door === undefined) throw new Error('no line');
  const entrance = (name: string, port: number, rest: Partial<Entrance>): Entrance => ({
    ...door,
    name,
    bind: { address, port },
    tls:
      tls === null
        ? door.tls
        : {
            kind: 'ended',
            certificatePath: `${tls.folder}/balancer/tls.crt`,
            clientCaPath: `${tls.folder}/balancer/ca.crt`,
          },
    routes: [],
    otherwise: null,
    ...rest,
  });
  const pools = shape.pools.map(
    ({ name, ceiling }, index): BalancedPool => ({
      ...line,
      name,
      bind: { address, port: ports.pool(index) },
      headStarts: line.headStarts.map((headStart) => ({
        ...headStart,
        bind: { address, port: ports.headStart(index) },
      })),
      builderTls:
        tls === null
          ? line.builderTls
          : {
              caPath: `${tls.folder}/balancer-client/ca.crt`,
              certificatePath: `${tls.folder}/balancer-client/tls.crt`,
            },
      slotPort: shape.slotPort,
      plug: { address, port: ports.plug(index) },
      servers: line.servers.slice(0, ceiling).map((server) => ({
        ...server,
        host: server.host.replaceAll('amd64', name),
        port: shape.builderPort,
      })),
    }),
  );
  return {
    ...generated,
    adminSocketPath: shape.adminSocketPath,
    metrics: { address, port: ports.metrics },
    placeholder: { address, port: ports.placeholder },
    nameServers: [{ name: 'cluster', ...shape.nameServer }],
    nameGate: { address, port: ports.nameGate },
    // In a cluster Kubernetes takes its time until the old load balancer is gone; here nobody does.
    gatheringMs: GATHERING_MS,
    entrances: [
      ...(tls === null
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
