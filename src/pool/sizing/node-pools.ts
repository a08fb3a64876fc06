/** Karpenter: one NodePool an instance type, because only NodePools have weights. */
import { formatDuration } from '../../action/duration.ts';
import type { Architecture, Cluster, InstanceType, NodeReserve, Pool } from '../config/model.ts';
import { buildersOnType } from './builder.ts';
import { derived, GIB, roundUp } from './derived.ts';
import { mostBuilders } from './line.ts';
import type { BuilderSizing, Derived, NodePoolSizing, NodePoolsSizing } from './model.ts';
import { nodePoolName } from './names.ts';
import { allocatableOfType } from './node.ts';

/** Of a NodePool (karpenter.sh/v1). */
export const MAX_WEIGHT = 100;

export function sizeNodePools(
  pool: Pool,
  architecture: Architecture,
  builder: BuilderSizing,
  cluster: Cluster,
): NodePoolsSizing | null {
  const { nodes } = architecture;
  if (nodes.kind !== 'karpenter') return null;
  const emptyAfterMs = cluster.karpenter?.emptyAfterMs ?? 0;
  return {
    emptyAfterSeconds: derived(
      Math.ceil(emptyAfterMs / 1000),
      `an empty node goes after ${formatDuration(emptyAfterMs)}: builders were kept for the idle time already`,
    ),
    emptyBudget: derived('100%', 'empty nodes hurt nobody: the autoscaler decides how fast builders go'),
    driftBudget: derived('10%', 'outside working hours only, and only nodes without builders'),
    pools: nodes.instanceTypes.map((type, index) =>
      sizeNodePool(
        pool,
        architecture,
        builder,
        type,
        { index, count: nodes.instanceTypes.length },
        nodes.reserve,
      ),
    ),
  };
}

function sizeNodePool(
  pool: Pool,
  architecture: Architecture,
  builder: BuilderSizing,
  type: InstanceType,
  place: { readonly index: number; readonly count: number },
  reserve: NodeReserve,
): NodePoolSizing {
  const node = allocatableOfType(type, architecture.name, reserve);
  const builders = buildersOnType(architecture, type, builder);
  const most = mostBuilders(architecture);
  const needed = Math.ceil(most / Math.max(builders, 1));
  const nodes = needed + Math.max(1, Math.ceil(needed / 10));
  const cores = Math.ceil(type.size.cpuMillis / 1000);
  return {
    name: nodePoolName(pool, architecture, type.type),
    instanceType: type.type,
    weight: weight(type, place),
    builders: derived(builders, `what fits into a ${type.type} by cores, memory and disk`),
    nodes: derived(
      nodes,
      `${most} builders, ${builders} a node, are ${needed}; a tenth more, at least one, while an old node ends`,
    ),
    cpuLimit: derived(nodes * cores, `${nodes} nodes of ${cores} cores`),
    memoryLimitBytes: derived(
      roundUp(nodes * type.size.memoryBytes, GIB),
      `${nodes} nodes; this type alone can serve the whole pool when no other is to be had`,
    ),
    allocatableCpuMillis: derived(node.cpuMillis, 'after the kubelet and DaemonSets'),
    allocatableMemoryBytes: derived(node.memoryBytes, "after Karpenter's 7.5 %, the kubelet and DaemonSets"),
    allocatableDiskBytes: derived(node.diskBytes, "below the kubelet's thresholds, beside the images"),
  };
}

function weight(type: InstanceType, { index, count }: { index: number; count: number }): Derived {
  return type.weight === null
    ? derived(
        Math.max(Math.floor((MAX_WEIGHT * (count - index)) / count), 1),
        'by the order of the list: Karpenter tries the highest first',
      )
    : derived(type.weight, '`weight`');
}
