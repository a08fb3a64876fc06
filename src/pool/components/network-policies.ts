/**
 * Who may reach whom. Each component of a pool is closed in both directions but for what it needs; the rules hold under
 * any CNI that enforces policies, and the scaler's namespace is among them.
 */
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { slotPort } from '../builder/pod.ts';
import type { ClusterDns } from '../config/model.ts';
import type { PoolSizing, Sizing } from '../sizing/model.ts';
import { type Component, componentLabels, type KubernetesObject } from './object.ts';

type Spec = NonNullable<INetworkPolicy['spec']>;
type IngressRule = NonNullable<Spec['ingress']>[number];
type EgressRule = NonNullable<Spec['egress']>[number];
type Peer = NonNullable<IngressRule['from']>[number];
type Port = NonNullable<IngressRule['ports']>[number];

export function networkPolicies({ cluster }: Sizing, pool: PoolSizing): readonly KubernetesObject[] {
  const { autoscaling, monitoring } = pool.pool;
  const scaler = autoscaling === 'keda' ? [inNamespace(cluster.kedaNamespace)] : [];
  const prometheus = monitoring === 'none' ? [] : [inNamespace(cluster.monitoringNamespace)];
  const clients = clientPeers(pool);
  const balancerPorts = [
    ...new Set(
      pool.architectures.flatMap(({ line }) => [
        line.listenPort.value,
        ...(line.earlySettingsPort === null ? [] : [line.earlySettingsPort.value]),
      ]),
    ),
  ];
  const ownPorts = [
    ...new Set(pool.architectures.flatMap(({ builder }) => [builder.port, slotPort(builder.port)])),
  ];
  const readers = clients === 'anybody' ? [] : [...clients, ...scaler, ...prometheus];
  return [
    policy(pool, 'haproxy', pool.names.balancer, {
      ingress: [
        { ...from(clients), ports: tcp(balancerPorts) },
        // Waiting builds read the line's length here, too.
        { ...from(clients === 'anybody' ? clients : readers), ports: tcp([pool.balancer.metricsPort]) },
      ],
      egress: [{ to: [inPool(pool, 'builder')], ports: tcp(ownPorts) }, ...dnsRules(cluster.dns)],
    }),
    policy(pool, 'builder', `${pool.pool.name}-builder`, {
      ingress: [{ from: [inPool(pool, 'haproxy')], ports: tcp(ownPorts) }],
      egress: [
        ...dnsRules(cluster.dns),
        { to: [...outside(), ...pool.pool.egressCidrs.map((cidr): Peer => ({ ipBlock: { cidr } }))] },
      ],
    }),
    policy(pool, 'document', pool.names.document, {
      ingress: [{ ...from(clients), ports: tcp([pool.document.port]) }],
      egress: [],
    }),
  ];
}

function policy(
  pool: PoolSizing,
  component: Component,
  name: string,
  rules: { ingress: IngressRule[]; egress: EgressRule[] },
): INetworkPolicy {
  const labels = componentLabels(pool, component);
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: pool.names.namespace, labels: { ...labels } },
    spec: {
      podSelector: { matchLabels: { ...labels } },
      policyTypes: ['Ingress', 'Egress'],
      ...rules,
    },
  };
}

/** Both lists empty: from anywhere. */
function clientPeers({ pool }: PoolSizing): readonly Peer[] | 'anybody' {
  const { namespaces, cidrs } = pool.exposure.clients;
  if (namespaces.length === 0 && cidrs.length === 0) {
    return 'anybody';
  }
  return [...namespaces.map(inNamespace), ...cidrs.map((cidr): Peer => ({ ipBlock: { cidr } }))];
}

/** A rule without `from` lets anybody in. */
function from(peers: readonly Peer[] | 'anybody'): Pick<IngressRule, 'from'> {
  return peers === 'anybody' ? {} : { from: [...peers] };
}

function inNamespace(name: string): Peer {
  return { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } } };
}

function inPool(pool: PoolSizing, component: Component): Peer {
  return { podSelector: { matchLabels: { ...componentLabels(pool, component) } } };
}

function tcp(ports: readonly number[]): Port[] {
  return ports.map((port) => ({ protocol: 'TCP', port }));
}

const DNS_PORTS: Port[] = [
  { protocol: 'UDP', port: 53 },
  { protocol: 'TCP', port: 53 },
];

/** The name server's pods, and its address where one is given: that of a cache on the node belongs to no pod. */
function dnsRules({ namespace, labels, address }: ClusterDns): EgressRule[] {
  const pods: Peer = { ...inNamespace(namespace), podSelector: { matchLabels: { ...labels } } };
  const single: Peer[] =
    address === null ? [] : [{ ipBlock: { cidr: `${address}/${address.includes(':') ? 128 : 32}` } }];
  return [{ to: [pods, ...single], ports: DNS_PORTS }];
}

/**
 * Registries, sources, package indexes, wherever they are public; nothing of the private network, whose clusters, databases
 * and instance metadata a build has no business with. What builds do need there, such as a registry of one's own, is in
 * `egress.cidrs`.
 */
function outside(): Peer[] {
  return [
    { ipBlock: { cidr: '0.0.0.0/0', except: [...PRIVATE_IPV4] } },
    { ipBlock: { cidr: '::/0', except: [...PRIVATE_IPV6] } },
  ];
}

/** RFC 1918, shared address space (RFC 6598), link-local (RFC 3927), loopback. */
const PRIVATE_IPV4 = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.168.0.0/16',
];

/** Unique local (RFC 4193; AWS serves metadata there), link-local (RFC 4291). */
const PRIVATE_IPV6 = ['fc00::/7', 'fe80::/10'];
