/** What `kubectl apply -k`, Flux and Argo CD begin with. */
import type { KubernetesObject } from './object.ts';

export interface Kustomization extends KubernetesObject {
  readonly resources: readonly string[];
}

/** `paths` in the order in which they are applied. */
export function kustomization(paths: readonly string[]): Kustomization {
  return { apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', resources: paths };
}
