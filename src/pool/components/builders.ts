/**
 * The builders of one architecture: a StatefulSet, because scale-down then takes the highest ordinals, which the load
 * balancer fills last, and because every ordinal has a name of its own. A new revision reaches a builder only when
 * somebody deletes its pod (`OnDelete`): a rolling update would wait for one long build after the other.
 */
import type { IStatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import type { IConfigMap } from 'kubernetes-models/v1/ConfigMap';
import type { IService } from 'kubernetes-models/v1/Service';
import { type BuilderPod, builderPod, CACHE_VOLUME, slotPort } from '../builder/pod.ts';
import type { Cache } from '../config/model.ts';
import { imagesOf } from '../images.ts';
import type { ArchitectureSizing, PoolSizing } from '../sizing/model.ts';
import { builderLabels, byteQuantity, type KubernetesObject } from './object.ts';
import { placeBuilders } from './placement.ts';
import { checksumAnnotation, type PodSpec, pullSecrets, serviceAccount } from './pod.ts';

export function builders(pool: PoolSizing): readonly KubernetesObject[] {
  const account = `${pool.pool.name}-builder`;
  return [
    serviceAccount(pool, 'builder', account),
    ...pool.architectures.flatMap((arch) => {
      const pod = builderPod(pool, arch, {
        images: imagesOf(pool.pool),
        configMapName: arch.names.statefulSet,
      });
      return [
        configMap(pool, arch, pod),
        statefulSet(pool, arch, pod, account),
        headlessService(pool, arch),
        disruptionBudget(pool, arch),
      ];
    }),
  ];
}

function configMap(pool: PoolSizing, arch: ArchitectureSizing, { files }: BuilderPod): IConfigMap {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadata(pool, arch, arch.names.statefulSet),
    data: { ...files },
  };
}

function statefulSet(
  pool: PoolSizing,
  arch: ArchitectureSizing,
  pod: BuilderPod,
  account: string,
): IStatefulSet {
  const labels = builderLabels(pool, arch);
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: metadata(pool, arch, arch.names.statefulSet),
    spec: {
      // Under autoscaling a number here would reset the pool at every apply.
      ...(arch.replicas === null ? {} : { replicas: arch.replicas.value }),
      serviceName: arch.names.headlessService,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'OnDelete' },
      revisionHistoryLimit: 2,
      selector: { matchLabels: { ...labels } },
      template: {
        metadata: {
          labels: { ...labels },
          annotations: {
            ...checksumAnnotation(pod.files),
            'karpenter.sh/do-not-disrupt': 'true',
            'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
          },
        },
        spec: podSpec(pool, arch, pod, account),
      },
      ...claims(pool.pool.cache),
    },
  };
}

function podSpec(pool: PoolSizing, arch: ArchitectureSizing, pod: BuilderPod, account: string): PodSpec {
  return {
    automountServiceAccountToken: false,
    // Variables for every Service of the namespace are nothing that a build should see.
    enableServiceLinks: false,
    serviceAccountName: account,
    ...pullSecrets(pool),
    ...placeBuilders(arch),
    // By default the kubelet would walk the whole cache at every start and change group and mode of what BuildKit has unpacked.
    ...(pod.fsGroup === null
      ? {}
      : { securityContext: { fsGroup: pod.fsGroup, fsGroupChangePolicy: 'OnRootMismatch' } }),
    terminationGracePeriodSeconds: arch.drain.graceSeconds.value,
    ...(pod.initContainers.length === 0 ? {} : { initContainers: [...pod.initContainers] }),
    containers: [...pod.containers],
    volumes: [...pod.volumes],
  };
}

/** Volumes stay when a builder goes: the next one of its ordinal finds the cache warm. */
function claims(cache: Cache): Partial<NonNullable<IStatefulSet['spec']>> {
  if (cache.kind === 'node-local') {
    return {};
  }
  return {
    persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
    volumeClaimTemplates: [
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: CACHE_VOLUME },
        spec: {
          accessModes: ['ReadWriteOnce'],
          ...(cache.storageClass === null ? {} : { storageClassName: cache.storageClass }),
          resources: { requests: { storage: byteQuantity(cache.sizeBytes) } },
        },
      },
    ],
  };
}

/** Gives each builder its name, from when it is ready until it begins to end. */
function headlessService(pool: PoolSizing, arch: ArchitectureSizing): IService {
  const { port } = arch.builder;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(pool, arch, arch.names.headlessService),
    spec: {
      clusterIP: 'None',
      selector: { ...builderLabels(pool, arch) },
      ports: [
        { name: 'builds', port },
        { name: 'slot', port: slotPort(port) },
      ],
    },
  };
}

function disruptionBudget(pool: PoolSizing, arch: ArchitectureSizing): IPodDisruptionBudget {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadata(pool, arch, arch.names.statefulSet),
    spec: {
      maxUnavailable: arch.maxUnavailable.value,
      selector: { matchLabels: { ...builderLabels(pool, arch) } },
    },
  };
}

function metadata(pool: PoolSizing, arch: ArchitectureSizing, name: string) {
  return { name, namespace: pool.names.namespace, labels: { ...builderLabels(pool, arch) } };
}
