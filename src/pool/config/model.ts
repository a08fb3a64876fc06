/**
 * pool.yaml as read: every default filled in, every unit resolved, nothing derived. `src/pool/sizing` derives the rest.
 * Durations are in milliseconds, sizes in bytes, cpu in thousandths of a core.
 */

/** The whole file. */
export interface PoolFile {
  /** What the cluster that all pools live in is like. */
  readonly cluster: Cluster;
  /** In the order of the file; at least one. Each has its own load balancer, line, certificates and pool document. */
  readonly pools: readonly Pool[];
}

/** One cluster: what is installed in it and under which names. */
export interface Cluster {
  /** DNS domain of Services, `cluster.local`. */
  readonly domain: string;
  /** Kubernetes' minor version: 34 for 1.34. Decides what the autoscaler's API offers. */
  readonly kubernetesMinor: number;
  /** Whether Namespace objects are rendered. */
  readonly createNamespaces: boolean;
  /** Where KEDA runs: its namespace must get through the network policies. */
  readonly kedaNamespace: string;
  /** Where Prometheus runs: likewise. */
  readonly monitoringNamespace: string;
  /** Put on ServiceMonitors, PrometheusRules and dashboards, so that the operator's selectors find them. */
  readonly monitoringLabels: Labels;
  readonly dns: ClusterDns;
  /** Set as soon as one architecture's nodes come from Karpenter. */
  readonly karpenter: Karpenter | null;
}

export interface ClusterDns {
  /** Its Service's address, an IP; null: the first name server of the load balancer pod's own resolv.conf. */
  readonly address: string | null;
  readonly namespace: string;
  /** Labels of its pods. */
  readonly labels: Labels;
}

/** Karpenter on EKS: what an EC2NodeClass must be told. */
export interface Karpenter {
  /** Tag value of `karpenter.sh/discovery` on subnets and security groups. */
  readonly discovery: string;
  /** IAM role of the nodes. */
  readonly role: string;
  /** AMI alias, `al2023@latest`. */
  readonly amiAlias: string;
  /** How long a node stands empty before it goes. */
  readonly emptyAfterMs: number;
  /** When drift may not replace nodes. */
  readonly workingHours: WorkingHours;
}

export interface WorkingHours {
  /** Cron, UTC: `0 6 * * mon-fri`. */
  readonly from: string;
  readonly lastsMs: number;
}

export type Labels = Readonly<Record<string, string>>;

/** Architectures as Kubernetes names them (`kubernetes.io/arch`). */
export const ARCHITECTURES = ['amd64', 'arm64', 'ppc64le', 'riscv64', 's390x'] as const;
export type ArchitectureName = (typeof ARCHITECTURES)[number];

/** One named pool. */
export interface Pool {
  /** The key under `pools`: beginning of every object's name, unique in the file. A DNS label. */
  readonly name: string;
  readonly namespace: string;
  readonly autoscaling: 'keda' | 'off';
  readonly monitoring: 'prometheus-operator' | 'none';
  readonly profile: 'privileged' | 'rootless';
  readonly scaleDown: ScaleDown;
  readonly tls: Tls;
  readonly cache: Cache;
  readonly exposure: Exposure;
  /** Address ranges of the private network that builds may reach; the internet they always may. */
  readonly egressCidrs: readonly string[];
  readonly balancer: Balancer;
  readonly document: PoolDocument;
  /** Earlier ones are looked for first. Empty: only the order of joining counts. */
  readonly priorities: readonly PriorityClass[];
  readonly images: Images;
  /** Registries to the mirrors that BuildKit asks before them, each a host with its path. */
  readonly mirrors: Readonly<Record<string, readonly string[]>>;
  /** In the order of the file; at least one. */
  readonly architectures: readonly Architecture[];
}

/** One architecture of one pool: one line, one StatefulSet. */
export interface Architecture {
  readonly name: ArchitectureName;
  /** Builders there always are; 0 to max. */
  readonly min: number;
  readonly max: number;
  /** With `autoscaling: off`, how many builders there are; otherwise null. */
  readonly replicas: number | null;
  /** Idle builders kept beyond the demand, up to max. */
  readonly spare: number;
  /** Builders while the metric cannot be read; null: derived. */
  readonly fallback: number | null;
  /** The load balancer's server lines; null: derived. */
  readonly ceiling: number | null;
  readonly builds: Builds;
  /** How many builders share one node of the preferred type; 1 where nodes are not known. */
  readonly buildersPerNode: number;
  readonly nodes: Nodes;
  /** What one builder gets; null in a field: derived from the node. */
  readonly builder: BuilderSize;
}

/** What the builds are like. */
export interface Builds {
  readonly longestMs: number;
  readonly typicalMs: number;
  /** From wanting a builder to its first build, a new node included. */
  readonly coldStartMs: number;
  /** How many builds join at about the same time; null: not declared. */
  readonly burst: number | null;
  /** The Action's deadline for a builder; null: derived. */
  readonly queueTimeoutMs: number | null;
}

export interface BuilderSize {
  readonly cpuMillis: number | null;
  readonly memoryBytes: number | null;
  /** Cache and scratch together. */
  readonly diskBytes: number | null;
}

/** Where builders run. */
export type Nodes =
  | { readonly kind: 'any' }
  | {
      readonly kind: 'selector';
      readonly selector: Labels;
      readonly tolerations: readonly Toleration[];
      /** What one node offers before the system's share; null: not told, and builders' sizes are not derived from it. */
      readonly size: NodeSize | null;
      readonly reserve: NodeReserve;
    }
  | {
      readonly kind: 'karpenter';
      readonly capacity: 'on-demand' | 'spot';
      /** That spot interruptions kill builds longer than two minutes has been accepted in writing. */
      readonly acceptLostBuilds: boolean;
      /** Preferred first; at least one, and each type once. */
      readonly instanceTypes: readonly InstanceType[];
      /** Empty: any. */
      readonly zones: readonly string[];
      readonly reserve: NodeReserve;
    };

/** What DaemonSets take of every node: network, storage, log and metrics agents. */
export interface NodeReserve {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

/** A node before anything is reserved. */
export interface NodeSize {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** The file system that holds the kubelet's folder and the caches. */
  readonly diskBytes: number;
}

export interface InstanceType {
  /** `m6id.24xlarge`. */
  readonly type: string;
  /** 1 to 100; null: derived from the order. */
  readonly weight: number | null;
  readonly size: NodeSize;
  /** Where the disk is: local NVMe as one RAID 0, or a root volume of `size.diskBytes`. */
  readonly disk: 'instance-store' | 'root-volume';
  /** Pods the kubelet allows, by network interfaces; the memory it reserves depends on it. */
  readonly maxPods: number;
  /** Of one node, in whatever currency; null: unknown. */
  readonly pricePerHour: number | null;
}

export interface Toleration {
  readonly key: string;
  /** Without one any value is tolerated. */
  readonly value: string | null;
  /** Without one any effect is tolerated. */
  readonly effect: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute' | null;
}

/** How the pool shrinks, and how builders end. */
export interface ScaleDown {
  /** A builder goes when it was not needed at any moment of this time. */
  readonly idleMs: number;
  /** In one period go at most this many builders or this part of them, whichever is more. */
  readonly atOnceBuilders: number;
  readonly atOncePercent: number;
  /** null: derived. */
  readonly periodMs: number | null;
  /** How long a terminating builder may go on; null: derived. */
  readonly graceMs: number | null;
}

/**
 * - `off`: nothing is encrypted and nobody is identified.
 * - `terminate`: ends in the load balancer with client certificates, encrypted again to the builders.
 * - `passthrough`: ends in the builders; the load balancer sees no place tokens.
 */
export type Tls =
  | { readonly kind: 'off' }
  | {
      readonly kind: 'terminate' | 'passthrough';
      readonly certificates: Certificates;
    };

export type Certificates =
  | {
      readonly kind: 'cert-manager';
      /** Who signs; null: a CA of the pool's own, made by cert-manager in the pool's namespace. */
      readonly issuer: Issuer | null;
      readonly lifetimeMs: number;
      readonly renewBeforeMs: number;
    }
  | {
      readonly kind: 'secrets';
      readonly secrets: TlsSecrets;
      /** For the alert on expiry and the explanation of a roll; they are renewed by others. */
      readonly lifetimeMs: number;
      readonly renewBeforeMs: number;
    };

export interface Issuer {
  readonly kind: 'Issuer' | 'ClusterIssuer';
  readonly name: string;
}

/** Names of Secrets in the pool's namespace, of type kubernetes.io/tls with `tls.crt`, `tls.key` and `ca.crt`. */
export interface TlsSecrets {
  /** What clients see, and in `ca.crt` who signs clients. Not used with pass-through. */
  readonly balancer: string;
  /** The load balancer as the builders' client; `ca.crt` signs the builders. Not used with pass-through. */
  readonly balancerClient: string;
  /** The builders' server certificate; `ca.crt` signs their clients. */
  readonly builders: string;
}

/**
 * - `node-local`: slots in a folder of the node, claimed by lock; reused by whichever builder comes next.
 * - `volume`: a PersistentVolumeClaim an ordinal.
 */
export type Cache =
  | {
      readonly kind: 'node-local';
      /** Folder on the node. */
      readonly path: string;
    }
  | {
      readonly kind: 'volume';
      /** null: the cluster's default. */
      readonly storageClass: string | null;
      readonly sizeBytes: number;
    };

/** How clients reach the load balancer. */
export interface Exposure {
  readonly service: 'cluster' | 'load-balancer';
  /** On the client-facing Services. */
  readonly annotations: Labels;
  /** One outer port, told apart by SNI, or one an architecture. */
  readonly ports: 'per-architecture' | 'shared';
  /** The first, or only, outer port. */
  readonly port: number;
  /**
   * What clients dial, `{arch}` replaced by the architecture; null: the Service's own name in the cluster.
   * Always set with `load-balancer`.
   */
  readonly host: string | null;
  /** The first port for clients that know nothing of this project, one an architecture; null: none. */
  readonly earlySettingsPort: number | null;
  /** Empty lists: from anywhere. */
  readonly clients: {
    readonly namespaces: readonly string[];
    readonly cidrs: readonly string[];
  };
}

/** The load balancer's own pod. */
export interface Balancer {
  readonly selector: Labels;
  readonly tolerations: readonly Toleration[];
  /** Its /metrics and /healthz. */
  readonly metricsPort: number;
}

export interface PoolDocument {
  readonly port: number;
}

/** Builds of some clients count as having joined earlier than they did; among themselves the order of joining holds. */
export interface PriorityClass {
  readonly name: string;
  readonly headStartMs: number;
  /** Common names of client certificates. */
  readonly clients: readonly string[];
}

/** Full references such as `moby/buildkit:v0.32.2@sha256:…`; null: the one this version was tested with. */
export interface Images {
  readonly buildkit: string | null;
  readonly haproxy: string | null;
  /** Serves the pool document. */
  readonly document: string | null;
  /** Names of Secrets in the pool's namespace. */
  readonly pullSecrets: readonly string[];
}

/** One thing that is wrong with pool.yaml, or risky. */
export interface Problem {
  /** Only errors keep a file from being accepted. */
  readonly severity: 'error' | 'warning';
  /** 1 is the first. */
  readonly line: number;
  readonly column: number;
  /** The key as a person would say it: `pools.trusted.architectures.amd64.max`. */
  readonly key: string;
  /** What is wrong, with the value, why, and what would be right. */
  readonly message: string;
  /** The end of the message: what would be right. */
  readonly remedy: string;
}
