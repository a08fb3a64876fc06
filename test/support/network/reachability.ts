/**
 * Who must reach whom, and who must not: what a pool's NetworkPolicies are held against. Pure.
 *
 * The rows follow from pool.yaml; the pods come from rendered workloads, so that a policy that selects labels which no pod
 * has does not go unnoticed.
 */
import { BlockList, isIP } from 'node:net';
import type { ArchitectureSizing, PoolSizing, Sizing } from '../../../src/pool/sizing/model.ts';
import {
  type AddressPeer,
  type Cluster,
  type ClusterNamespace,
  judgeFlow,
  type Labels,
  type Peer,
  type PodPeer,
  type Protocol,
} from './evaluate.ts';

/** What makes pods: a Deployment or StatefulSet as rendered. */
export interface Workload {
  readonly namespace: string;
  readonly name: string;
  /** Of its pod template. */
  readonly labels: Labels;
  readonly namedPorts: Readonly<Record<string, number>>;
}

export interface Expectation {
  readonly from: Peer;
  readonly to: Peer;
  readonly port: number;
  readonly protocol: Protocol;
  readonly allowed: boolean;
  /** Why, for the person who reads that it does not hold. */
  readonly because: string;
}

/** A row that does not hold, in words. */
export type Violation = string;

/** Namespaces that are neither a pool's nor named in pool.yaml, as any cluster has them. */
const STRANGER = 'somebody-else';

/** Addresses that stand for their kind; documentation ranges (RFC 5737) for the internet. */
const INTERNET: AddressPeer = { kind: 'address', name: 'a registry on the internet', ip: '203.0.113.10' };
const FORBIDDEN_TO_BUILDS: readonly (AddressPeer & { readonly ports: readonly number[] })[] = [
  { kind: 'address', name: 'the instance metadata service', ip: '169.254.169.254', ports: [80] },
  { kind: 'address', name: 'the instance metadata service (IPv6)', ip: 'fd00:ec2::254', ports: [80] },
  { kind: 'address', name: 'the container credentials service', ip: '169.254.170.2', ports: [80] },
  { kind: 'address', name: "EKS' pod identity agent", ip: '169.254.170.23', ports: [80] },
  { kind: 'address', name: 'the API server by its Service', ip: '10.96.0.1', ports: [443] },
  { kind: 'address', name: 'the API server by its Service, EKS', ip: '172.20.0.1', ports: [443] },
  { kind: 'address', name: 'the API server by its node', ip: '10.0.12.34', ports: [443, 6443] },
  { kind: 'address', name: 'the API server by its node, kind', ip: '172.18.0.2', ports: [6443] },
  { kind: 'address', name: 'a kubelet', ip: '10.0.56.78', ports: [10250, 10255] },
  {
    kind: 'address',
    name: 'a machine of the private network',
    ip: '192.168.10.20',
    ports: [22, 80, 443, 5432],
  },
];

/** Every row of the table. Throws when a workload of the sizing is not among those rendered. */
export function expectations(sizing: Sizing, workloads: readonly Workload[]): readonly Expectation[] {
  return sizing.pools.flatMap((pool) => {
    const own = findPods(pool, workloads);
    const others = sizing.pools.filter((other) => other !== pool).map((other) => findPods(other, workloads));
    return [
      ...clientRows(pool, own),
      ...monitoringRows(sizing, pool, own),
      ...balancerRows(sizing, pool, own),
      ...builderRows(sizing, own),
      ...strangerRows(own),
      ...others.flatMap((other) => poolRows(own, other)),
    ];
  });
}

/** The namespaces that pods of the table live in, beside the rendered ones, which carry their own labels. */
export function namespacesOf(
  sizing: Sizing,
  rendered: readonly ClusterNamespace[],
): readonly ClusterNamespace[] {
  const { dns, kedaNamespace, monitoringNamespace } = sizing.cluster;
  const names = [
    dns.namespace,
    kedaNamespace,
    monitoringNamespace,
    STRANGER,
    ...sizing.pools.flatMap(({ names: { namespace }, pool }) => [
      namespace,
      ...pool.exposure.clients.namespaces,
    ]),
  ];
  const missing = [...new Set(names)].filter((name) => !rendered.some((known) => known.name === name));
  return [...rendered, ...missing.map((name) => ({ name, labels: {} }))];
}

/** Rows that do not hold under every reading of the policies that networks have. Empty: the table holds. */
export function violations(cluster: Cluster, rows: readonly Expectation[]): readonly Violation[] {
  return rows.flatMap((row) => {
    const verdicts = (['addresses-only', 'pods-too'] as const).map((reading) =>
      judgeFlow(cluster, row, reading),
    );
    const wrong = verdicts.find(({ allowed }) => allowed !== row.allowed);
    return wrong === undefined
      ? []
      : [
          `${name(row.from)} ${row.allowed ? 'must' : 'must not'} reach ${name(row.to)} on ${row.protocol} ${row.port} (${row.because}); ${wrong.reason}`,
        ];
  });
}

function name(peer: Peer): string {
  return peer.kind === 'pod' ? `${peer.namespace}/${peer.name}` : `${peer.name} (${peer.ip})`;
}

interface PoolPods {
  readonly pool: PoolSizing;
  readonly balancer: PodPeer;
  readonly document: PodPeer;
  readonly builders: readonly Builders[];
}

interface Builders {
  readonly architecture: ArchitectureSizing;
  /** Two of the same StatefulSet. */
  readonly pods: readonly [PodPeer, PodPeer];
  /** Where builds and the load balancer's checks go: every port that the pod declares. */
  readonly ports: readonly number[];
}

function findPods(pool: PoolSizing, workloads: readonly Workload[]): PoolPods {
  const find = (wanted: string): Workload => {
    const { namespace } = pool.names;
    const found = workloads.find((workload) => workload.namespace === namespace && workload.name === wanted);
    if (found === undefined) {
      throw new Error(`Expected the workload ${namespace}/${wanted} to be rendered, got none of that name`);
    }
    return found;
  };
  return {
    pool,
    balancer: podOf(find(pool.names.balancer), 0),
    document: podOf(find(pool.names.document), 1),
    builders: pool.architectures.map((architecture, index) => {
      const workload = find(architecture.names.statefulSet);
      return {
        architecture,
        pods: [podOf(workload, 10 + 2 * index), podOf(workload, 11 + 2 * index)],
        ports: [...new Set([architecture.builder.port, ...Object.values(workload.namedPorts)])],
      };
    }),
  };
}

/** Pod addresses are private ones, as nearly everywhere: a rule for the internet must not open them. */
function podOf(workload: Workload, host: number): PodPeer {
  const { namespace, labels, namedPorts } = workload;
  return {
    kind: 'pod',
    name: `${workload.name}-${host}`,
    namespace,
    labels,
    ip: `10.244.1.${host}`,
    namedPorts,
  };
}

function podIn(namespace: string, podName: string, labels: Labels = {}): PodPeer {
  return { kind: 'pod', name: podName, namespace, labels, ip: '10.244.2.7', namedPorts: {} };
}

function row(
  [from, to]: readonly [Peer, Peer],
  port: number,
  allowed: boolean,
  because: string,
  protocol: Protocol = 'TCP',
): Expectation {
  return { from, to, port, protocol, allowed, because };
}

/** Ports of the load balancer that builds dial. */
function linePorts({ pool }: PoolPods): readonly number[] {
  return [
    ...new Set(
      pool.architectures.flatMap(({ line }) => [
        line.listenPort.value,
        ...(line.earlySettingsPort === null ? [] : [line.earlySettingsPort.value]),
      ]),
    ),
  ];
}

/** Runners join the line; those in the cluster also read how long it is, and the pool document. */
function clientRows(pool: PoolSizing, own: PoolPods): readonly Expectation[] {
  const { service, clients } = pool.pool.exposure;
  const { namespaces, cidrs } = clients;
  const open = namespaces.length === 0 && cidrs.length === 0;
  const inside = (open ? [STRANGER] : namespaces).map((namespace) => podIn(namespace, 'runner'));
  const outside = (open && service === 'load-balancer' ? ['198.51.100.7/32'] : cidrs).map(
    (cidr): AddressPeer => ({ kind: 'address', name: 'a runner', ip: cidr.split('/')[0] ?? '' }),
  );
  const others: readonly Peer[] = open ? [] : [podIn(STRANGER, 'runner'), ...unlisted(cidrs)];
  const lines = (peers: readonly Peer[], allowed: boolean, because: string) =>
    peers.flatMap((peer) => linePorts(own).map((port) => row([peer, own.balancer], port, allowed, because)));
  const documents = (peers: readonly Peer[], allowed: boolean, because: string) =>
    peers.map((peer) => row([peer, own.document], pool.document.port, allowed, because));
  return [
    ...lines([...inside, ...outside], true, 'runners join the line'),
    ...documents(inside, true, 'runners read the pool document'),
    ...(service === 'cluster' ? inside : []).map((runner) =>
      row([runner, own.balancer], pool.balancer.metricsPort, true, 'runners tell how long the line is'),
    ),
    ...lines(others, false, 'only listed clients may build'),
    ...documents(others, false, 'only listed clients may build'),
  ];
}

/** Somebody on the internet, where not everybody there is listed. */
function unlisted(cidrs: readonly string[]): readonly AddressPeer[] {
  return cidrs.includes('0.0.0.0/0') ? [] : [{ ...INTERNET, name: 'the internet' }];
}

function monitoringRows(sizing: Sizing, pool: PoolSizing, own: PoolPods): readonly Expectation[] {
  const keda = podIn(sizing.cluster.kedaNamespace, 'keda-operator', { app: 'keda-operator' });
  const prometheus = podIn(sizing.cluster.monitoringNamespace, 'prometheus', {
    'app.kubernetes.io/name': 'prometheus',
  });
  const port = pool.balancer.metricsPort;
  return [
    ...(pool.pool.autoscaling === 'keda'
      ? [row([keda, own.balancer], port, true, 'the scaler reads the demand')]
      : []),
    ...(pool.pool.monitoring === 'prometheus-operator'
      ? [row([prometheus, own.balancer], port, true, 'Prometheus reads the metrics')]
      : []),
    ...own.builders.flatMap(({ pods, architecture }) =>
      [keda, prometheus].map((peer) =>
        row(
          [peer, pods[0]],
          architecture.builder.port,
          false,
          'only the load balancer gives builds to builders',
        ),
      ),
    ),
  ];
}

function balancerRows(sizing: Sizing, pool: PoolSizing, own: PoolPods): readonly Expectation[] {
  return [
    ...dnsRows(sizing, own.balancer, 'the load balancer asks for the names of builders'),
    ...own.builders.flatMap(({ pods, ports }) =>
      ports.map((port) => row([own.balancer, pods[0]], port, true, 'builds go to builders')),
    ),
    ...[own.balancer, own.document].flatMap((pod) => [
      ...[INTERNET, ...given(own)].map((address) =>
        row([pod, address], 443, false, 'it has no business outside'),
      ),
      ...forbidden(pod, 'it needs nothing there'),
    ]),
    row([own.balancer, own.document], pool.document.port, false, 'it needs nothing there'),
  ];
}

/** Builds run whatever a Dockerfile says. */
function builderRows(sizing: Sizing, own: PoolPods): readonly Expectation[] {
  return own.builders.flatMap(({ pods: [builder, neighbour], ports }) => [
    ...dnsRows(sizing, builder, 'builds look names up'),
    row([builder, INTERNET], 443, true, 'builds pull and push images'),
    ...given(own).map((address) => row([builder, address], 443, true, 'pool.yaml opens it for builds')),
    ...forbidden(builder, 'builds may run anything', own.pool.pool.egressCidrs),
    ...ports.map((port) => row([builder, neighbour], port, false, 'a build must not reach another one')),
    ...own.builders
      .filter(({ pods }) => pods[0] !== builder)
      .flatMap(({ pods, ports: others }) =>
        others.map((port) => row([builder, pods[0]], port, false, 'a build must not reach another one')),
      ),
    ...[...linePorts(own), own.pool.balancer.metricsPort].map((port) =>
      row([builder, own.balancer], port, false, 'a build must not join the line or read it'),
    ),
    row([builder, own.document], own.pool.document.port, false, 'a build needs nothing there'),
    row(
      [builder, podIn(STRANGER, 'database')],
      5432,
      false,
      'a build must not reach what else is in the cluster',
    ),
  ]);
}

function dnsRows(sizing: Sizing, pod: PodPeer, because: string): readonly Expectation[] {
  const { namespace, labels, address } = sizing.cluster.dns;
  const servers: readonly Peer[] = [
    podIn(namespace, 'dns', labels),
    // A cache on each node, whose address belongs to no pod.
    ...(address === null
      ? []
      : [{ kind: 'address', name: 'the node\u2019s name server', ip: address } as const]),
  ];
  return servers.flatMap((dns) =>
    (['UDP', 'TCP'] as const).map((protocol) => row([pod, dns], 53, true, because, protocol)),
  );
}

/** `opened`: ranges in which the pod may reach what it otherwise must not. */
function forbidden(pod: PodPeer, because: string, opened: readonly string[] = []): readonly Expectation[] {
  const ranges = new BlockList();
  for (const [address, bits] of opened.map((cidr) => cidr.split('/'))) {
    ranges.addSubnet(address ?? '', Number(bits), isIP(address ?? '') === 4 ? 'ipv4' : 'ipv6');
  }
  return FORBIDDEN_TO_BUILDS.flatMap(({ ports, ...address }) => {
    const open = ranges.check(address.ip, isIP(address.ip) === 4 ? 'ipv4' : 'ipv6');
    return ports.map((port) =>
      row([pod, address], port, open, open ? 'pool.yaml opens it for builds' : because),
    );
  });
}

/** The first address of each range that pool.yaml opens for builds. */
function given({ pool }: PoolPods): readonly AddressPeer[] {
  return pool.pool.egressCidrs.map((cidr) => ({
    kind: 'address',
    name: 'a private registry',
    ip: cidr.split('/')[0] ?? '',
  }));
}

function strangerRows(own: PoolPods): readonly Expectation[] {
  const stranger = podIn(STRANGER, 'pod');
  return own.builders.flatMap(({ pods, ports }) =>
    [stranger, INTERNET].flatMap((from) =>
      ports.map((port) =>
        row([from, pods[0]], port, false, 'only the load balancer gives builds to builders'),
      ),
    ),
  );
}

/** Pools keep apart, in one namespace or in two. */
function poolRows(own: PoolPods, other: PoolPods): readonly Expectation[] {
  return other.builders.flatMap(({ pods, ports }) =>
    ports.flatMap((port) => [
      row([own.balancer, pods[0]], port, false, 'a pool gives builds to its own builders only'),
      ...own.builders.map((builders) =>
        row([builders.pods[0], pods[0]], port, false, 'a build must not reach another pool'),
      ),
    ]),
  );
}
