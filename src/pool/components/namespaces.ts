/** Namespaces with their pod-security labels. */
import type { INamespace } from 'kubernetes-models/v1/Namespace';
import type { Sizing } from '../sizing/model.ts';
import type { KubernetesObject } from './object.ts';

/** One for each namespace of the pools; none when they are made by others. */
export function namespaces({ cluster, pools }: Sizing): readonly KubernetesObject[] {
  if (!cluster.createNamespaces) {
    return [];
  }
  return [...new Set(pools.map(({ names }) => names.namespace))].map(namespace);
}

function namespace(name: string): INamespace {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      labels: {
        'app.kubernetes.io/name': 'buildkit-pool',
        // BuildKit starts containers: privileged, or rootless without a seccomp profile. Neither passes `baseline`.
        // The load balancer and the pool document keep to `restricted` by their own pod templates.
        'pod-security.kubernetes.io/enforce': 'privileged',
        'pod-security.kubernetes.io/enforce-version': 'latest',
      },
    },
  };
}
