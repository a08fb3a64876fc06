/**
 * Kubernetes NetworkPolicies as a function: may this connection be opened? Pure.
 *
 * Source: the API reference of networking.k8s.io/v1 and kubernetes.io/docs/concepts/services-networking/network-policies.
 * Policies only ever add up. A pod is closed in a direction from the moment a policy of its namespace selects it for that
 * direction; what any of those policies allows is open. Both ends must agree. Answers to a connection need no rule.
 */
import { BlockList, isIP } from 'node:net';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';

type Spec = NonNullable<INetworkPolicy['spec']>;
type IngressRule = NonNullable<Spec['ingress']>[number];
type EgressRule = NonNullable<Spec['egress']>[number];
type PolicyPeer = NonNullable<IngressRule['from']>[number];
type PolicyPort = NonNullable<IngressRule['ports']>[number];
type Selector = NonNullable<PolicyPeer['podSelector']>;
type IpBlock = NonNullable<PolicyPeer['ipBlock']>;

export type Labels = Readonly<Record<string, string>>;

export interface Cluster {
  /** Every namespace of a pod that is asked about. `kubernetes.io/metadata.name` is set by Kubernetes and need not be given. */
  readonly namespaces: readonly ClusterNamespace[];
  readonly policies: readonly INetworkPolicy[];
}

export interface ClusterNamespace {
  readonly name: string;
  readonly labels: Labels;
}

export interface PodPeer {
  readonly kind: 'pod';
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly ip: string;
  /** What a rule's named port means at this pod. */
  readonly namedPorts: Readonly<Record<string, number>>;
}

/** Anything that is no pod of the pod network: the internet, a node, the API server, the instance metadata service. */
export interface AddressPeer {
  readonly kind: 'address';
  readonly name: string;
  readonly ip: string;
}

export type Peer = PodPeer | AddressPeer;
export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export interface Flow {
  readonly from: Peer;
  readonly to: Peer;
  readonly port: number;
  readonly protocol: Protocol;
}

/**
 * Whether an `ipBlock` also means pods with such an address. Kubernetes leaves it open: Calico says yes, Cilium no.
 * A statement about policies should hold in both readings.
 */
export type IpBlockReading = 'addresses-only' | 'pods-too';

export interface Verdict {
  readonly allowed: boolean;
  /** One line for people: what allows it at both ends, or which end refuses it. */
  readonly reason: string;
}

/** Throws when a pod's namespace is not among the cluster's, or a policy or address cannot be read. */
export function judgeFlow(cluster: Cluster, flow: Flow, reading: IpBlockReading): Verdict {
  const out = judgeEnd(cluster, flow, reading, 'egress');
  return out.allowed ? joinVerdicts(out, judgeEnd(cluster, flow, reading, 'ingress')) : out;
}

function joinVerdicts(out: Verdict, into: Verdict): Verdict {
  return { allowed: into.allowed, reason: into.allowed ? `${out.reason}; ${into.reason}` : into.reason };
}

type Direction = 'egress' | 'ingress';

function judgeEnd(cluster: Cluster, flow: Flow, reading: IpBlockReading, direction: Direction): Verdict {
  const [own, other] = direction === 'egress' ? [flow.from, flow.to] : [flow.to, flow.from];
  if (own.kind === 'address') {
    return { allowed: true, reason: `${direction}: ${own.name} is no pod` };
  }
  requireNamespace(cluster, own);
  const closing = cluster.policies.filter((policy) => isClosedBy(policy, own, direction));
  if (closing.length === 0) {
    return { allowed: true, reason: `${direction}: no policy selects ${describePeer(own)}` };
  }
  const opening = closing.find((policy) =>
    rulesOf(policy, direction).some(
      ({ peers, ports }) =>
        (peers.length === 0 || peers.some((peer) => matchesPeer(cluster, policy, peer, other, reading))) &&
        (ports.length === 0 || ports.some((port) => matchesPort(port, flow))),
    ),
  );
  return opening === undefined
    ? {
        allowed: false,
        reason: `${direction} refused: of ${closing.map(nameOf).join(', ')} none allows ${describeFlow(flow)}`,
      }
    : { allowed: true, reason: `${direction}: ${nameOf(opening)}` };
}

function requireNamespace(cluster: Cluster, pod: PodPeer): ClusterNamespace {
  const found = cluster.namespaces.find(({ name }) => name === pod.namespace);
  if (found === undefined) {
    throw new Error(`Expected the namespace of pod ${pod.name} to be known, got ${pod.namespace}`);
  }
  return found;
}

function isClosedBy(policy: INetworkPolicy, pod: PodPeer, direction: Direction): boolean {
  return (
    namespaceOf(policy) === pod.namespace &&
    directionsOf(specOf(policy)).includes(direction) &&
    selects(specOf(policy).podSelector ?? {}, pod.labels)
  );
}

/** Without `policyTypes` a policy is about ingress, and about egress if it has a rule for it. */
function directionsOf(spec: Spec): readonly Direction[] {
  if (spec.policyTypes !== undefined && spec.policyTypes.length > 0) {
    return spec.policyTypes.map((type) => {
      if (type !== 'Ingress' && type !== 'Egress') {
        throw new Error(`Expected policyTypes to be Ingress or Egress, got ${type}`);
      }
      return type === 'Ingress' ? 'ingress' : 'egress';
    });
  }
  return spec.egress !== undefined && spec.egress.length > 0 ? ['ingress', 'egress'] : ['ingress'];
}

interface Rule {
  readonly peers: readonly PolicyPeer[];
  readonly ports: readonly PolicyPort[];
}

function rulesOf(policy: INetworkPolicy, direction: Direction): readonly Rule[] {
  const spec = specOf(policy);
  return direction === 'ingress'
    ? (spec.ingress ?? []).map((rule: IngressRule) => ({ peers: rule.from ?? [], ports: rule.ports ?? [] }))
    : (spec.egress ?? []).map((rule: EgressRule) => ({ peers: rule.to ?? [], ports: rule.ports ?? [] }));
}

function matchesPeer(
  cluster: Cluster,
  policy: INetworkPolicy,
  peer: PolicyPeer,
  other: Peer,
  reading: IpBlockReading,
): boolean {
  if (peer.ipBlock !== undefined) {
    return (other.kind === 'address' || reading === 'pods-too') && inBlock(peer.ipBlock, other.ip);
  }
  if (other.kind === 'address') {
    return false;
  }
  const namespace = requireNamespace(cluster, other);
  const inNamespace =
    peer.namespaceSelector === undefined
      ? other.namespace === namespaceOf(policy)
      : selects(peer.namespaceSelector, {
          ...namespace.labels,
          'kubernetes.io/metadata.name': namespace.name,
        });
  return inNamespace && (peer.podSelector === undefined || selects(peer.podSelector, other.labels));
}

function matchesPort(port: PolicyPort, flow: Flow): boolean {
  if ((port.protocol ?? 'TCP') !== flow.protocol) {
    return false;
  }
  if (port.port === undefined) {
    return true;
  }
  if (typeof port.port === 'string') {
    return flow.to.kind === 'pod' && flow.to.namedPorts[port.port] === flow.port;
  }
  return flow.port >= port.port && flow.port <= (port.endPort ?? port.port);
}

/** An empty selector selects everything. */
function selects(selector: Selector, labels: Labels): boolean {
  const wanted: [string, unknown][] = Object.entries(selector.matchLabels ?? {});
  return (
    wanted.every(([key, value]) => labels[key] === value) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
      const value = labels[key];
      switch (operator) {
        case 'In':
          return value !== undefined && (values ?? []).includes(value);
        case 'NotIn':
          return value === undefined || !(values ?? []).includes(value);
        case 'Exists':
          return value !== undefined;
        case 'DoesNotExist':
          return value === undefined;
        default:
          throw new Error(
            `Expected a selector's operator to be In, NotIn, Exists or DoesNotExist, got ${operator}`,
          );
      }
    })
  );
}

function inBlock(block: IpBlock, ip: string): boolean {
  return inCidr(block.cidr, ip) && !(block.except ?? []).some((cidr) => inCidr(cidr, ip));
}

function inCidr(cidr: string, ip: string): boolean {
  const [network = '', prefix] = cidr.split('/');
  const version = isIP(network);
  if (version === 0 || prefix === undefined || !/^\d{1,3}$/.test(prefix)) {
    throw new Error(`Expected a CIDR such as 10.0.0.0/8, got ${cidr}`);
  }
  if (isIP(ip) === 0) {
    throw new Error(`Expected an IP address, got ${ip}`);
  }
  const list = new BlockList();
  list.addSubnet(network, Number(prefix), version === 4 ? 'ipv4' : 'ipv6');
  return isIP(ip) === version && list.check(ip, version === 4 ? 'ipv4' : 'ipv6');
}

function specOf(policy: INetworkPolicy): Spec {
  if (policy.spec === undefined) {
    throw new Error(`Expected NetworkPolicy ${nameOf(policy)} to have a spec`);
  }
  return policy.spec;
}

/** Rendered policies always say theirs; Kubernetes would take the one of the request. */
function namespaceOf(policy: INetworkPolicy): string {
  const namespace = policy.metadata?.namespace;
  if (namespace === undefined) {
    throw new Error(`Expected NetworkPolicy ${nameOf(policy)} to name its namespace`);
  }
  return namespace;
}

function nameOf(policy: INetworkPolicy): string {
  return policy.metadata?.name ?? '(without a name)';
}

function describePeer(peer: Peer): string {
  return peer.kind === 'pod' ? `${peer.namespace}/${peer.name}` : `${peer.name} (${peer.ip})`;
}

function describeFlow({ from, to, port, protocol }: Flow): string {
  return `${describePeer(from)} -> ${describePeer(to)} ${protocol} ${port}`;
}
