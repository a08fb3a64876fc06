/** Nodes by Karpenter: a NodePool an instance type, because only NodePools have weights, and one EC2NodeClass. */
import type { IEC2NodeClass } from '@kubernetes-models/karpenter/karpenter.k8s.aws/v1/EC2NodeClass';
import type { INodePool } from '@kubernetes-models/karpenter/karpenter.sh/v1/NodePool';
import type { InstanceType, Karpenter, Nodes, WorkingHours } from '../config/model.ts';
import type {
  ArchitectureSizing,
  NodePoolSizing,
  NodePoolsSizing,
  PoolSizing,
  Sizing,
} from '../sizing/model.ts';
import { byteQuantity, type KubernetesObject, poolLabels } from './object.ts';
import { BUILDER_NODE } from './placement.ts';

/** None without Karpenter. */
export function nodePools({ cluster }: Sizing, pool: PoolSizing): readonly KubernetesObject[] {
  return pool.architectures.flatMap((arch) => {
    const { nodes } = arch.architecture;
    const { karpenter } = cluster;
    if (nodes.kind !== 'karpenter' || karpenter === null || arch.nodePools === null) {
      return [];
    }
    const { nodePools: sizing } = arch;
    return [
      nodeClass(pool, arch, karpenter, nodes),
      ...sizing.pools.map((one) => nodePool(pool, arch, karpenter, nodes, sizing, one)),
    ];
  });
}

type KarpenterNodes = Extract<Nodes, { kind: 'karpenter' }>;

function nodePool(
  pool: PoolSizing,
  { name: arch, names }: ArchitectureSizing,
  karpenter: Karpenter,
  nodes: KarpenterNodes,
  sizing: NodePoolsSizing,
  one: NodePoolSizing,
): INodePool {
  const className = names.nodeClass ?? '';
  const isOneOf = (key: string, values: readonly string[]) => ({
    key,
    operator: 'In' as const,
    values: [...values],
  });
  return {
    apiVersion: 'karpenter.sh/v1',
    kind: 'NodePool',
    metadata: { name: one.name, labels: { ...poolLabels(pool) } },
    spec: {
      weight: one.weight.value,
      limits: { cpu: String(one.cpuLimit.value), memory: byteQuantity(one.memoryLimitBytes.value) },
      disruption: {
        // A node with a builder on it, a terminating one included, is not empty.
        consolidationPolicy: 'WhenEmpty',
        consolidateAfter: `${sizing.emptyAfterSeconds.value}s`,
        budgets: [
          { nodes: sizing.emptyBudget.value, reasons: ['Empty'] },
          { nodes: sizing.driftBudget.value, reasons: ['Drifted'] },
          // Of several budgets the smallest counts.
          { nodes: '0', reasons: ['Drifted'], ...duringHours(karpenter.workingHours) },
          { nodes: '0', reasons: ['Underutilized'] },
        ],
      },
      template: {
        metadata: { labels: { [BUILDER_NODE]: className } },
        // No terminationGracePeriod: with one, Karpenter also replaces nodes that have builders, and deletes these by the
        // clock. After an outage of its own it gives them what is left, down to a second (terminator/eviction.go).
        spec: {
          nodeClassRef: { group: 'karpenter.k8s.aws', kind: 'EC2NodeClass', name: className },
          // Expiry would ignore every budget.
          expireAfter: 'Never',
          taints: [{ key: BUILDER_NODE, value: className, effect: 'NoSchedule' }],
          requirements: [
            isOneOf('kubernetes.io/os', ['linux']),
            isOneOf('kubernetes.io/arch', [arch]),
            isOneOf('karpenter.sh/capacity-type', [nodes.capacity]),
            isOneOf('node.kubernetes.io/instance-type', [one.instanceType]),
            ...(nodes.zones.length === 0 ? [] : [isOneOf('topology.kubernetes.io/zone', nodes.zones)]),
          ],
        },
      },
    },
  };
}

/** Karpenter takes hours and minutes only. */
function duringHours({ from, lastsMs }: WorkingHours): { schedule: string; duration: string } {
  return { schedule: from, duration: `${Math.round(lastsMs / 60_000)}m` };
}

function nodeClass(
  pool: PoolSizing,
  { names }: ArchitectureSizing,
  karpenter: Karpenter,
  nodes: KarpenterNodes,
): IEC2NodeClass {
  const tags = { 'karpenter.sh/discovery': karpenter.discovery };
  const usesInstanceStore = nodes.instanceTypes.some(({ disk }) => disk === 'instance-store');
  return {
    apiVersion: 'karpenter.k8s.aws/v1',
    kind: 'EC2NodeClass',
    metadata: { name: names.nodeClass ?? '', labels: { ...poolLabels(pool) } },
    spec: {
      amiSelectorTerms: [{ alias: karpenter.amiAlias }],
      role: karpenter.role,
      subnetSelectorTerms: [{ tags }],
      securityGroupSelectorTerms: [{ tags }],
      // The local disks as one, under the kubelet's folder; types without any keep their root volume.
      ...(usesInstanceStore ? { instanceStorePolicy: 'RAID0' } : {}),
      blockDeviceMappings: [rootVolume(karpenter.amiAlias, nodes.instanceTypes)],
      // One hop: pods, and so builds, never reach the credentials of the node.
      metadataOptions: {
        httpEndpoint: 'enabled',
        httpProtocolIPv6: 'disabled',
        httpPutResponseHopLimit: 1,
        httpTokens: 'required',
      },
    },
  };
}

/** With local disks the root volume holds the system only. */
const SYSTEM_VOLUME_BYTES = 100 * 2 ** 30;

function rootVolume(
  amiAlias: string,
  types: readonly InstanceType[],
): NonNullable<NonNullable<IEC2NodeClass['spec']>['blockDeviceMappings']>[number] {
  const bytes = types
    .filter(({ disk }) => disk === 'root-volume')
    .map(({ size }) => size.diskBytes)
    .reduce((most, size) => Math.max(most, size), SYSTEM_VOLUME_BYTES);
  return {
    // Bottlerocket keeps its system apart; the kubelet's folder is on the second volume.
    deviceName: amiAlias.startsWith('bottlerocket') ? '/dev/xvdb' : '/dev/xvda',
    ...(amiAlias.startsWith('bottlerocket') ? {} : { rootVolume: true }),
    ebs: {
      volumeSize: `${Math.ceil(bytes / 2 ** 30)}Gi`,
      volumeType: 'gp3',
      encrypted: true,
      deleteOnTermination: true,
    },
  };
}
