/**
 * Everything that follows from pool.yaml. Each number carries its reason, which is what `buildkit-pool explain` prints.
 * Names end in their unit: Ms, Seconds, Bytes, Millis (thousandths of a core), Percent.
 */
import type { Architecture, ArchitectureName, Cluster, Pool } from '../config/model.ts';

/** A derived value and why it is what it is, in one sentence for a person. */
export interface Derived<Value = number> {
  readonly value: Value;
  readonly reason: string;
}

export interface Sizing {
  readonly cluster: Cluster;
  /** In the order of the file. */
  readonly pools: readonly PoolSizing[];
}

/** One named pool. What depends on `ceiling`, `builds.longest` and the like but neither on min nor on max is marked "lasting". */
export interface PoolSizing {
  readonly pool: Pool;
  readonly names: PoolNames;
  /** Lasting: changing min, max, spare, idle time or the pool document never changes it. */
  readonly balancer: BalancerSizing;
  readonly action: ActionSizing;
  readonly document: DocumentSizing;
  /** null with `tls: off`. */
  readonly certificates: CertificateSizing | null;
  /** In the order of the file. */
  readonly architectures: readonly ArchitectureSizing[];
}

/** Objects' names that more than one component needs. All are DNS labels of at most 63 characters. */
export interface PoolNames {
  readonly namespace: string;
  /** The load balancer's workload, Service for metrics and ServiceAccount: `<pool>-haproxy`. */
  readonly balancer: string;
  /** The pool document's workload and Service: `<pool>-document`. */
  readonly document: string;
  /**
   * The one client-facing Service of a pool with `load-balancer`: `<pool>`. With `cluster` each architecture has its
   * own (ArchitectureNames.clientService) and this is null.
   */
  readonly clientService: string | null;
  /** Secret with what clients see of the load balancer; null without TLS or with pass-through. */
  readonly balancerSecret: string | null;
  /** Secret with the load balancer's own client certificate towards builders; null without TLS or with pass-through. */
  readonly balancerClientSecret: string | null;
  /** Secret with the builders' server certificate; null without TLS. */
  readonly buildersSecret: string | null;
  /** Secret with a client certificate for runners, made by cert-manager only; otherwise null. */
  readonly clientSecret: string | null;
  /** Secrets with a certificate for each client that `priorities` names; made by cert-manager only, otherwise none. */
  readonly namedClients: readonly NamedClient[];
  /** `http://<document>.<namespace>.svc.<domain>:<port>/pool.json`. */
  readonly documentUrl: string;
  /** Base of the load balancer's HTTP side, no slash at the end: add /metrics or /healthz. */
  readonly balancerUrl: string;
}

export interface NamedClient {
  /** The certificate's common name, as the load balancer looks for it. */
  readonly commonName: string;
  readonly secret: string;
}

export interface ArchitectureNames {
  /** `<pool>-<arch>`: what clients in the cluster dial; also the StatefulSet's ScaledObject. */
  readonly clientService: string;
  /** `<pool>-<arch>-builder`; pods are `<this>-0` and so on. At most 52 characters (its revision label adds 11). */
  readonly statefulSet: string;
  /** Headless Service of the builders: `<pool>-<arch>-builders`. */
  readonly headlessService: string;
  /** ScaledObject: `<pool>-<arch>`. */
  readonly scaledObject: string;
  /** The load balancer's frontend: `<arch>`; its label `proxy` in the metrics. */
  readonly frontend: string;
  /** One builder's DNS name with `{ordinal}` in it, absolute, without a dot at the end. */
  readonly builderHost: string;
  /** EC2NodeClass and taint value; null without Karpenter: `<pool>-<arch>`. */
  readonly nodeClass: string | null;
}

/** The load balancer: one pod, one process, one thread group. */
export interface BalancerSizing {
  readonly threads: Derived;
  /** HAProxy's global maxconn: the clients of all entrances, each of whom is there twice, and what must never wait for them. */
  readonly maxConnections: Derived;
  readonly cpuMillis: Derived;
  readonly memoryBytes: Derived;
  /** Between reading a build's greeting and giving up to reach a builder. */
  readonly connectTimeoutMs: Derived;
  /** Longer than the Action's deadline. */
  readonly queueTimeoutMs: Derived;
  readonly clientTimeoutMs: Derived;
  readonly serverTimeoutMs: Derived;
  /** How often each builder's name is asked for. */
  readonly resolveIntervalMs: Derived;
  /** A name that is gone takes its builder away after this. */
  readonly holdGoneMs: Derived;
  /** An unreachable name server takes builders away only after this. */
  readonly holdOutageMs: Derived;
  readonly keepaliveIdleSeconds: Derived;
  readonly keepaliveIntervalSeconds: Derived;
  readonly keepaliveProbes: Derived;
  readonly checkIntervalMs: Derived;
  /** terminationGracePeriodSeconds of its pod: running builds end. */
  readonly graceSeconds: Derived;
  /** hard-stop-after: a little before the grace period is over. */
  readonly hardStopSeconds: Derived;
  readonly readiness: ProbeSizing;
  readonly liveness: ProbeSizing;
  /** Ports inside the pod, beside the architectures' own. */
  readonly metricsPort: number;
  /** Loopback ports for the load balancer's dealings with itself; no port of pool.yaml lies here. */
  readonly internalPorts: { readonly from: number; readonly to: number };
}

/** A Kubernetes probe. */
export interface ProbeSizing {
  readonly periodSeconds: Derived;
  readonly timeoutSeconds: Derived;
  readonly failureThreshold: Derived;
}

/** What the runner side does; handed to it in the pool document. */
export interface ActionSizing {
  /** Longest over all architectures; each architecture has its own as well. */
  readonly queueTimeoutMs: Derived;
  readonly connectTimeoutMs: Derived;
  /** Full jitter between nothing and a doubling bound. */
  readonly backoffBaseMs: Derived;
  readonly backoffCapMs: Derived;
  /** A place or builder is kept this long after the last client has left (set-up mode). */
  readonly lingerMs: Derived;
  /** How often a waiting build reads /metrics for its person. */
  readonly metricsIntervalMs: Derived;
}

/** The pool document server. */
export interface DocumentSizing {
  readonly port: number;
  readonly replicas: Derived;
  readonly cpuMillis: Derived;
  readonly memoryBytes: Derived;
  /** How long a runner may keep what it has read (`cache-control: max-age`). */
  readonly maxAgeSeconds: Derived;
}

export interface CertificateSizing {
  readonly lifetimeMs: Derived;
  readonly renewBeforeMs: Derived;
  /** Of the builders' certificate, which buildkitd reads at its start only. */
  readonly buildersLifetimeMs: Derived;
  /** What a builder that starts has of its certificate, at least, while renewal works. */
  readonly buildersRenewBeforeMs: Derived;
  /** Of the pool's own CAs; null where somebody else signs. */
  readonly authority: AuthoritySizing | null;
  /** How long until every builder of the largest architecture has been replaced, one after another as they become idle. */
  readonly rollMs: Derived;
  /** The alert fires when a certificate has less than this left: its renewal is overdue. */
  readonly alertBeforeMs: Derived;
  /** Names in the load balancer's certificate. */
  readonly balancerDnsNames: readonly string[];
  /** Names in the builders' certificate; with pass-through those that clients dial, too. */
  readonly buildersDnsNames: readonly string[];
}

export interface AuthoritySizing {
  readonly lifetimeMs: Derived;
  readonly renewBeforeMs: Derived;
}

export interface ArchitectureSizing {
  readonly name: ArchitectureName;
  readonly architecture: Architecture;
  readonly names: ArchitectureNames;
  readonly line: LineSizing;
  readonly builder: BuilderSizing;
  readonly drain: DrainSizing;
  /** null with `autoscaling: off`: see `replicas`. */
  readonly autoscaler: AutoscalerSizing | null;
  /** Fixed number of builders with `autoscaling: off`; null under autoscaling, where a manifest must not say one. */
  readonly replicas: Derived | null;
  /** From max to min once nothing is built; null with `autoscaling: off`. */
  readonly shrink: ShrinkSizing | null;
  /** null without Karpenter. */
  readonly nodePools: NodePoolsSizing | null;
  /** PodDisruptionBudget of the builders. */
  readonly maxUnavailable: Derived;
  /** Alert: a builder's node has been unreachable for this long, and its ordinal is blocked until somebody acts. */
  readonly unreachableAfterSeconds: Derived;
}

/** Where this architecture's line begins, and how many builders the load balancer knows. Lasting. */
export interface LineSizing {
  /** Server lines, ordinals 0 to this - 1. */
  readonly ceiling: Derived;
  /** Clients that each of its entrances takes at once, for this architecture. */
  readonly clients: Derived;
  /** The client-facing Service's port. */
  readonly port: Derived;
  /** In the load balancer's pod. The same for all architectures where one outer port is shared. */
  readonly listenPort: Derived;
  /** In the load balancer's pod and on the Service; null: none. */
  readonly earlySettingsPort: Derived | null;
  /** What a client dials: `tcp://host:port`. */
  readonly endpoint: Derived<string>;
  /** Name in the certificate that clients verify, and the SNI they send; null without TLS. */
  readonly serverName: string | null;
  /** This architecture's deadline for a builder. */
  readonly queueTimeoutMs: Derived;
  /** Told to people and used by the Action to judge what is late. */
  readonly coldStartMs: Derived;
  /** How long the last build of the declared burst waits if all are typical; null without a declared burst. */
  readonly burstWaitMs: Derived | null;
  /** Alert: builds have waited this long while builders are idle. */
  readonly stuckAfterMs: Derived;
  /** Alert: the line has been longer than the pool at its maximum for this long. */
  readonly longAfterMs: Derived;
  /** Alert: builds wait and there is no builder at all for this long. */
  readonly noBuilderAfterMs: Derived;
}

/** One builder pod. Lasting: it makes the pod template. */
export interface BuilderSizing {
  /** Port of buildkitd in the pod. */
  readonly port: number;
  readonly cpuMillis: Derived;
  readonly memoryBytes: Derived;
  /** Cache and scratch together: what the builder may fill. */
  readonly diskBytes: Derived;
  /** buildkitd's maxUsedSpace: what garbage collection leaves. */
  readonly cacheBytes: Derived;
  /** For the build that is running, beyond the cache. */
  readonly scratchBytes: Derived;
  /** buildkitd's reservedSpace: cache that is never collected. */
  readonly reservedBytes: Derived;
  /** buildkitd's minFreeSpace, of the whole file system. */
  readonly minFreeBytes: Derived;
  /** Slots in the node's cache folder; null with a volume an ordinal. At least as many as builders can share a node. */
  readonly cacheSlots: Derived | null;
  /**
   * Request of `ephemeral-storage`, so that the scheduler counts disks as well; null where nothing is known of the node's
   * disk, and with a volume an ordinal. Never a limit: caches in a folder of the node are not what the kubelet measures.
   */
  readonly ephemeralBytes: Derived | null;
  /** buildkitd's max-parallelism: steps at once. */
  readonly maxParallelism: Derived;
  readonly startup: ProbeSizing;
  readonly readiness: ProbeSizing;
  readonly liveness: ProbeSizing;
}

/** The preStop hook and the grace period. Lasting. */
export interface DrainSizing {
  /** terminationGracePeriodSeconds; counts from before preStop. */
  readonly graceSeconds: Derived;
  /** Before the first look: a build may still arrive by an old DNS answer. */
  readonly firstLookSeconds: Derived;
  readonly lookIntervalSeconds: Derived;
  /** So many looks in a row must see no connection. */
  readonly idleLooks: Derived;
  /** The drain ends by itself after this, whatever it sees: buildkitd needs the rest to stop. */
  readonly deadlineSeconds: Derived;
  /** Alert: a builder has been terminating for this long. */
  readonly alertAfterSeconds: Derived;
}

/** KEDA's ScaledObject and the HPA it makes. */
export interface AutoscalerSizing {
  readonly minReplicas: Derived;
  readonly maxReplicas: Derived;
  /** What the HPA divides by the number of builders, of the triggers `demand` and `elsewhere`. */
  readonly formula: Derived<string>;
  /** The scalingModifiers' target, a whole number. */
  readonly target: Derived;
  /** `behavior.scaleUp.tolerance` and scaleDown's; null where the cluster's API does not offer it. */
  readonly tolerance: Derived | null;
  readonly scaleUp: ScalingRulesSizing;
  readonly scaleDown: ScalingRulesSizing;
  /** How often KEDA looks whether to leave zero. */
  readonly pollingIntervalSeconds: Derived;
  /** Before the last builder goes; only with min 0. */
  readonly cooldownSeconds: Derived;
  readonly fallbackReplicas: Derived;
  /** Failed reads in a row; KEDA acts on the one after. */
  readonly fallbackFailures: Derived;
  /** Alert: the scaler has read nothing for this long. */
  readonly blindAfterSeconds: Derived;
}

export interface ScalingRulesSizing {
  readonly stabilizationWindowSeconds: Derived;
  /** `selectPolicy: Max` of both. */
  readonly builders: Derived;
  readonly percent: Derived;
  readonly periodSeconds: Derived;
}

export interface ShrinkSizing {
  readonly durationMs: Derived;
  /** Builder hours beyond min that stand idle meanwhile. */
  readonly idleBuilderHours: Derived;
  /** The same in the currency of the instance types' prices; null: no price given. */
  readonly cost: Derived | null;
}

/** Karpenter: one NodePool an instance type, because only NodePools have weights. */
export interface NodePoolsSizing {
  readonly emptyAfterSeconds: Derived;
  /** Of the nodes, how many may go at once because they are empty: `100%`. */
  readonly emptyBudget: Derived<string>;
  /** How many without builders may be replaced at once for drift, outside working hours: `10%`. */
  readonly driftBudget: Derived<string>;
  /** In the order of the file. */
  readonly pools: readonly NodePoolSizing[];
}

export interface NodePoolSizing {
  /** `<pool>-<arch>-<type with dashes>`. */
  readonly name: string;
  readonly instanceType: string;
  readonly weight: Derived;
  /** Builders that fit on one such node. */
  readonly builders: Derived;
  readonly nodes: Derived;
  /** `limits.cpu`, cores. */
  readonly cpuLimit: Derived;
  /** `limits.memory`. */
  readonly memoryLimitBytes: Derived;
  /** What one node has for builders after everything reserved. */
  readonly allocatableCpuMillis: Derived;
  readonly allocatableMemoryBytes: Derived;
  readonly allocatableDiskBytes: Derived;
}
