/**
 * What a node has left for builders. Cpu and memory as Karpenter computes them: a builder that asks for more than Karpenter
 * believes in never gets a node. Source: aws/karpenter-provider-aws pkg/providers/instancetype/types.go
 * (kubeReservedResources, evictionThreshold, memory) at 1d92708.
 */
import type { ArchitectureName, InstanceType, NodeReserve, NodeSize } from '../config/model.ts';
import { GIB, MIB } from './derived.ts';

export interface Allocatable {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** Of the file system with the kubelet's folder, below every threshold at which the kubelet begins to delete. */
  readonly diskBytes: number;
  /** What is left for builders of the same file system as the scheduler sees it (`ephemeral-storage`), which is more. */
  readonly ephemeralBytes: number;
  /** The most that it can be: as Karpenter computes it, with nobody else on the node. */
  readonly mostEphemeralBytes: number;
}

/** Karpenter's `vm-memory-overhead-percent`: what the hypervisor and the kernel keep. */
const VM_OVERHEAD = 0.075;
/** Graviton's contiguous memory, which Karpenter takes off as well. */
const ARM_RESERVED_BYTES = 64 * MIB;
const MEMORY_EVICTION_BYTES = 100 * MIB;
/**
 * Kubelet's own defaults: imagefs.available below 15 % evicts, and so does a disk 85 % full (image-gc-high-threshold)
 * begin to delete images; nodefs.available below 10 % is the later of the three.
 */
export const DISK_EVICTION = 0.15;
/** Inodes, journal and the like. */
const FILE_SYSTEM_OVERHEAD = 0.02;
/** Images and logs of everything on the node, and what the kubelet reserves (1 GiB). */
const IMAGES_BYTES = 30 * GIB;
/** On a small disk not more than this part of it. */
const IMAGES_SHARE = 0.2;
/** What the kubelet takes off `ephemeral-storage`: nodefs.available, and its own reserve. */
const EPHEMERAL_EVICTION = 0.1;
const EPHEMERAL_RESERVED_BYTES = GIB;
/** For what others on the node ask of it. On a small disk not more than this part. */
const EPHEMERAL_OTHERS_BYTES = 10 * GIB;
const EPHEMERAL_OTHERS_SHARE = 0.05;
/** Where no network interfaces limit the pods: the kubelet's default. */
const DEFAULT_MAX_PODS = 110;

/** Of a node that Karpenter starts. */
export function allocatableOfType(
  type: InstanceType,
  architecture: ArchitectureName,
  reserve: NodeReserve,
): Allocatable {
  const memoryBytes = type.size.memoryBytes - (architecture === 'arm64' ? ARM_RESERVED_BYTES : 0);
  return allocatable({ ...type.size, memoryBytes: memoryBytes * (1 - VM_OVERHEAD) }, type.maxPods, reserve);
}

/** Of a node that exists already; its memory is what the kernel has. */
export function allocatableOfNode(size: NodeSize, reserve: NodeReserve): Allocatable {
  return allocatable(size, DEFAULT_MAX_PODS, reserve);
}

function allocatable(size: NodeSize, maxPods: number, reserve: NodeReserve): Allocatable {
  const kubeReserved = (255 + 11 * maxPods) * MIB;
  const fileSystem = size.diskBytes * (1 - FILE_SYSTEM_OVERHEAD);
  const diskBytes = Math.max(
    Math.floor(fileSystem * (1 - DISK_EVICTION) - Math.min(IMAGES_BYTES, size.diskBytes * IMAGES_SHARE)),
    0,
  );
  return {
    cpuMillis: Math.max(Math.floor(size.cpuMillis - reservedCpu(size.cpuMillis) - reserve.cpuMillis), 0),
    memoryBytes: Math.max(
      Math.floor(size.memoryBytes - kubeReserved - MEMORY_EVICTION_BYTES - reserve.memoryBytes),
      0,
    ),
    diskBytes,
    ephemeralBytes: Math.max(
      Math.floor(
        fileSystem * (1 - EPHEMERAL_EVICTION) -
          EPHEMERAL_RESERVED_BYTES -
          Math.min(EPHEMERAL_OTHERS_BYTES, size.diskBytes * EPHEMERAL_OTHERS_SHARE),
      ),
      diskBytes,
    ),
    mostEphemeralBytes: Math.floor(size.diskBytes * (1 - EPHEMERAL_EVICTION)),
  };
}

/** 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest. */
function reservedCpu(cpuMillis: number): number {
  const part = (from: number, to: number) => Math.max(Math.min(cpuMillis, to) - from, 0);
  return (
    0.06 * part(0, 1000) +
    0.01 * part(1000, 2000) +
    0.005 * part(2000, 4000) +
    0.0025 * part(4000, Number.POSITIVE_INFINITY)
  );
}
