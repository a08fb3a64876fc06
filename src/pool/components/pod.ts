/** What every pod here has: no token of Kubernetes, no more rights than it needs. */
import { createHash } from 'node:crypto';
import type { IPod } from 'kubernetes-models/v1/Pod';
import type { IServiceAccount } from 'kubernetes-models/v1/ServiceAccount';
import type { PoolSizing, ProbeSizing } from '../sizing/model.ts';
import { type Component, componentLabels } from './object.ts';

export type PodSpec = NonNullable<IPod['spec']>;
export type Container = PodSpec['containers'][number];

/** The user of HAProxy's image. */
const HAPROXY_USER = 99;

/** For whatever runs HAProxy, a pod or one container of it: with RESTRICTED_CONTAINER, what the `restricted` standard wants. */
export const HAPROXY_IDENTITY = {
  runAsNonRoot: true,
  runAsUser: HAPROXY_USER,
  runAsGroup: HAPROXY_USER,
  seccompProfile: { type: 'RuntimeDefault' },
} as const satisfies Container['securityContext'];

/** For pods that run HAProxy and nothing else. */
export const RESTRICTED_POD = {
  automountServiceAccountToken: false,
  // Variables for every Service of the namespace are of no use, and thousands would slow the start.
  enableServiceLinks: false,
  securityContext: { ...HAPROXY_IDENTITY, fsGroup: HAPROXY_USER },
} as const satisfies Partial<PodSpec>;

export const RESTRICTED_CONTAINER = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] as string[] },
} satisfies Container['securityContext'];

/** Times of a probe; what it asks stands beside them. */
export function renderProbe({ periodSeconds, timeoutSeconds, failureThreshold }: ProbeSizing) {
  return {
    periodSeconds: periodSeconds.value,
    timeoutSeconds: timeoutSeconds.value,
    failureThreshold: failureThreshold.value,
  };
}

/** Secrets that fetch images. */
export function pullSecrets({ pool }: PoolSizing): Pick<PodSpec, 'imagePullSecrets'> {
  const names = pool.images.pullSecrets;
  return names.length === 0 ? {} : { imagePullSecrets: names.map((name) => ({ name })) };
}

/** An account without a single right. */
export function serviceAccount(pool: PoolSizing, component: Component, name: string): IServiceAccount {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace: pool.names.namespace, labels: { ...componentLabels(pool, component) } },
    automountServiceAccountToken: false,
  };
}

/** In a pod template: a change of `files` makes a new revision of it. */
export function checksumAnnotation(files: Readonly<Record<string, string>>): Record<string, string> {
  const hash = createHash('sha256');
  for (const [name, text] of Object.entries(files)) {
    hash.update(`${name}\0${text}\0`);
  }
  return { 'buildkit-pool/configuration': hash.digest('hex').slice(0, 16) };
}
