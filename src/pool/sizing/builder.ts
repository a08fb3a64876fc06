/** One builder: its part of a node, its cache, its probes. */
import type { Architecture, Cache, InstanceType, NodeReserve } from '../config/model.ts';
import { formatCpu, formatSize } from '../config/units.ts';
import { derived, GIB, MIB, roundDown, roundUp } from './derived.ts';
import type { BuilderSizing, Derived, ProbeSizing } from './model.ts';
import { type Allocatable, allocatableOfNode, allocatableOfType, DISK_EVICTION } from './node.ts';

/** Port of buildkitd (or of the gate before it) in its pod. */
export const BUILDER_PORT = 1234;
/** What is left for the running build when garbage collection has done its work. */
const CACHE_SHARE = 0.7;
/** Of the cache; the base images that every build starts from survive a disk full of something else. */
const RESERVED_SHARE = 0.2;
type Part = Pick<Allocatable, 'cpuMillis' | 'memoryBytes' | 'diskBytes'>;

/** A builder where nothing is known of its node: a small one, for a laptop's cluster. */
const SMALL_BUILDER: Part = { cpuMillis: 2000, memoryBytes: 4 * GIB, diskBytes: 20 * GIB };
/** What the gate's container asks for beside buildkitd; it carries one connection. */
export const GATE_CPU_MILLIS = 100;
export const GATE_MEMORY_BYTES = 64 * MIB;
const CPU_STEP_MILLIS = 100;
const MEMORY_STEP_BYTES = 128 * MIB;

export function sizeBuilder(architecture: Architecture, cache: Cache): BuilderSizing {
  const share = shareOfNode(architecture);
  const { builder } = architecture;
  const cpuMillis =
    builder.cpuMillis === null
      ? derived(roundDown(share.cpuMillis, CPU_STEP_MILLIS), share.reason('cores'))
      : derived(builder.cpuMillis, '`builder.cpu`');
  const memoryBytes =
    builder.memoryBytes === null
      ? derived(roundDown(share.memoryBytes, MEMORY_STEP_BYTES), share.reason('memory'))
      : derived(builder.memoryBytes, '`builder.memory`');
  const diskBytes = builderDisk(architecture, cache, share);
  const cacheBytes = roundDown(diskBytes.value * CACHE_SHARE, MIB);
  return {
    port: BUILDER_PORT,
    cpuMillis,
    memoryBytes,
    diskBytes,
    cacheBytes: derived(
      cacheBytes,
      `${CACHE_SHARE * 100} % of the builder's disk: garbage collection keeps the cache below it`,
    ),
    scratchBytes: derived(
      diskBytes.value - cacheBytes,
      'the rest of its disk, for the build that is running',
    ),
    reservedBytes: derived(
      roundDown(cacheBytes * RESERVED_SHARE, MIB),
      `${RESERVED_SHARE * 100} % of the cache is never collected: the base images of the next build`,
    ),
    minFreeBytes: minFree(architecture, cache, diskBytes.value),
    cacheSlots: cache.kind === 'volume' ? null : cacheSlots(architecture, cpuMillis.value, memoryBytes.value),
    ephemeralBytes: ephemeralBytes(architecture, cache, diskBytes.value),
    maxParallelism: derived(
      Math.max(4, Math.ceil(cpuMillis.value / 1000)),
      'one step a core at once, at least 4: steps also wait for the network',
    ),
    startup: {
      periodSeconds: derived(2, 'buildkitd starts within seconds'),
      timeoutSeconds: derived(2, 'one look'),
      failureThreshold: derived(300, 'ten minutes: a large cache is opened and checked first'),
    },
    readiness: {
      periodSeconds: derived(5, 'a builder that is ready is in DNS within seconds'),
      timeoutSeconds: derived(5, 'a builder is slow to answer while it builds'),
      failureThreshold: derived(3, 'one slow answer is nothing'),
    },
    liveness: PATIENT,
  };
}

/** Ends only what has been dead for ten minutes: a builder with all its cores at work must not be taken for dead. */
const PATIENT: ProbeSizing = {
  periodSeconds: derived(60, 'a restart kills a build: there is no hurry'),
  timeoutSeconds: derived(30, 'a builder with all its cores at work is slow, not dead'),
  failureThreshold: derived(10, 'ten minutes without any answer'),
};

/** How many builders of this size the scheduler puts on one node of a type. */
export function buildersOnType(
  architecture: Architecture,
  type: InstanceType,
  builder: BuilderSizing,
): number {
  const node = allocatableOfType(type, architecture.name, reserveOf(architecture));
  return Math.floor(
    Math.min(
      node.cpuMillis / (builder.cpuMillis.value + GATE_CPU_MILLIS),
      node.memoryBytes / (builder.memoryBytes.value + GATE_MEMORY_BYTES),
      builder.ephemeralBytes === null
        ? Number.POSITIVE_INFINITY
        : node.ephemeralBytes / builder.ephemeralBytes.value,
    ),
  );
}

function reserveOf({ nodes }: Architecture): NodeReserve {
  return nodes.kind === 'any' ? { cpuMillis: 0, memoryBytes: 0 } : nodes.reserve;
}

interface Share extends Part {
  readonly reason: (of: string) => string;
}

/** A builder's part of the node. Where several types are as large as the preferred one, of the smallest of them. */
function shareOfNode(architecture: Architecture): Share {
  const { nodes, buildersPerNode } = architecture;
  const divide = (node: Part, what: string): Share => ({
    cpuMillis: Math.max(Math.floor(node.cpuMillis / buildersPerNode) - GATE_CPU_MILLIS, 0),
    memoryBytes: Math.max(Math.floor(node.memoryBytes / buildersPerNode) - GATE_MEMORY_BYTES, 0),
    diskBytes: Math.floor(node.diskBytes / buildersPerNode),
    reason: (of) =>
      of === 'disk'
        ? `${what}: ${formatSize(node.diskBytes)} below the kubelet's thresholds (${DISK_EVICTION * 100} % free) and beside the images, for ${builders(buildersPerNode)}`
        : `${what}: ${of === 'cores' ? formatCpu(node.cpuMillis) : formatSize(node.memoryBytes)} after what system and DaemonSets reserve, for ${builders(buildersPerNode)} and ${buildersPerNode === 1 ? 'its gate' : 'their gates'}`,
  });
  switch (nodes.kind) {
    case 'any':
      return {
        ...SMALL_BUILDER,
        reason: () => 'nothing is known of the nodes: a small builder; `builder` says otherwise',
      };
    case 'selector':
      return nodes.size === null
        ? {
            ...SMALL_BUILDER,
            reason: () => 'no `nodes.size` is given: a small builder; `builder` says otherwise',
          }
        : divide(allocatableOfNode(nodes.size, nodes.reserve), 'one of these nodes has');
    case 'karpenter': {
      const preferred = nodes.instanceTypes[0];
      if (preferred === undefined) return { ...SMALL_BUILDER, reason: () => 'no instance type' };
      const alike = nodes.instanceTypes.filter(({ size }) => size.cpuMillis >= preferred.size.cpuMillis);
      const offers = alike.map((type) => allocatableOfType(type, architecture.name, nodes.reserve));
      const least = {
        cpuMillis: Math.min(...offers.map(({ cpuMillis }) => cpuMillis)),
        memoryBytes: Math.min(...offers.map(({ memoryBytes }) => memoryBytes)),
        diskBytes: Math.min(...offers.map(({ diskBytes }) => diskBytes)),
      };
      return divide(
        least,
        alike.length === 1
          ? `a ${preferred.type} has`
          : `the smallest of ${alike.length} types as large as ${preferred.type} has`,
      );
    }
  }
}

function builders(count: number): string {
  return count === 1 ? 'one builder' : `${count} builders`;
}

function builderDisk(architecture: Architecture, cache: Cache, share: Share): Derived {
  if (cache.kind === 'volume') return derived(cache.sizeBytes, '`cache.size`, the volume');
  const { diskBytes } = architecture.builder;
  return diskBytes === null
    ? derived(roundDown(share.diskBytes, MIB), share.reason('disk'))
    : derived(diskBytes, '`builder.disk`');
}

/** The whole disk of the node, where it is known: the smallest, if there are several types. */
export function nodeDiskBytes(architecture: Architecture): number | null {
  switch (architecture.nodes.kind) {
    case 'any':
      return null;
    case 'selector':
      return architecture.nodes.size?.diskBytes ?? null;
    case 'karpenter':
      return Math.min(...architecture.nodes.instanceTypes.map(({ size }) => size.diskBytes));
  }
}

function minFree(architecture: Architecture, cache: Cache, diskBytes: number): Derived {
  if (cache.kind === 'volume') {
    return derived(roundDown(diskBytes * 0.05, MIB), '5 % of the volume');
  }
  const whole = nodeDiskBytes(architecture);
  return whole === null
    ? derived(roundDown(diskBytes * 0.1, MIB), "10 % of the builder's disk: the node's own size is not known")
    : derived(
        roundUp(whole * DISK_EVICTION, MIB),
        `${DISK_EVICTION * 100} % of the smallest node's disk, which is where the kubelet begins to delete: caches give way first`,
      );
}

/** What a node of each kind offers; empty where nothing is known. */
function knownNodes({ nodes, name }: Architecture): readonly Allocatable[] {
  switch (nodes.kind) {
    case 'any':
      return [];
    case 'selector':
      return nodes.size === null ? [] : [allocatableOfNode(nodes.size, nodes.reserve)];
    case 'karpenter':
      return nodes.instanceTypes.map((type) => allocatableOfType(type, name, nodes.reserve));
  }
}

/**
 * The scheduler lets pods fill a disk to its last 10 %, caches may fill it to its last 15 % less the images. A builder asks
 * for its disk, or for so much more that on no node the scheduler finds room for one that the caches have no room for.
 */
function ephemeralBytes(architecture: Architecture, cache: Cache, diskBytes: number): Derived | null {
  const known = knownNodes(architecture);
  if (cache.kind === 'volume' || known.length === 0) return null;
  const oneTooMany = known.map((node) => {
    const fitting = Math.floor(node.diskBytes / diskBytes);
    return Math.floor(node.mostEphemeralBytes / (fitting + 1)) + 1;
  });
  const value = Math.max(diskBytes, ...oneTooMany);
  return derived(
    value,
    value === diskBytes
      ? 'its disk, so that the scheduler counts disks as well'
      : "more than its disk: the scheduler may fill disks beyond the kubelet's thresholds, and must not find room for one more",
  );
}

/** Slots where nodes are not known: the kubelet's own limit of pods. A slot that nobody has claimed is nothing at all. */
const SLOTS_OF_ANY_NODE = 110;

function cacheSlots({ nodes }: Architecture, cpuMillis: number, memoryBytes: number): Derived {
  if (nodes.kind !== 'karpenter') {
    return derived(
      SLOTS_OF_ANY_NODE,
      'more than there are builders on any node: one without a slot would wait for ever',
    );
  }
  // By the node's whole size: whatever is really left for pods, more can't fit.
  const most = nodes.instanceTypes.map(({ size }) =>
    Math.floor(
      Math.min(
        size.cpuMillis / (cpuMillis + GATE_CPU_MILLIS),
        size.memoryBytes / (memoryBytes + GATE_MEMORY_BYTES),
      ),
    ),
  );
  return derived(
    Math.max(1, ...most),
    'as many builders as the largest node could ever hold: each claims a free slot by lock, and one without would wait',
  );
}
