/** All files of a pool.yaml: one object a file, and the kustomization that names them. Pure. */
import { balancer } from '../components/balancer.ts';
import { builders } from '../components/builders.ts';
import { certificates } from '../components/certificates.ts';
import { documentServer } from '../components/document.ts';
import { kustomization } from '../components/kustomization.ts';
import { dashboards, monitoring } from '../components/monitoring.ts';
import { namespaces } from '../components/namespaces.ts';
import { networkPolicies } from '../components/network-policies.ts';
import { nodePools } from '../components/node-pools.ts';
import type { KubernetesObject } from '../components/object.ts';
import { scaledObjects } from '../components/scaled-object.ts';
import type { Sizing } from '../sizing/model.ts';
import { writeYaml } from './yaml.ts';

export interface RenderedFile {
  /** Relative to the folder; no folders below it. */
  readonly path: string;
  readonly text: string;
}

export const KUSTOMIZATION_PATH = 'kustomization.yaml';

/** Every object, in the order in which they are best applied. */
export function composePool(sizing: Sizing): readonly KubernetesObject[] {
  return [
    ...namespaces(sizing),
    ...sizing.pools.flatMap((pool) => [
      ...networkPolicies(sizing, pool),
      ...certificates(pool),
      ...balancer(sizing, pool),
      ...documentServer(sizing, pool),
      ...nodePools(sizing, pool),
      ...builders(pool),
      ...scaledObjects(pool),
      ...monitoring(sizing, pool),
    ]),
    ...dashboards(sizing),
  ];
}

/** The files, kustomization first. Throws when two objects would have one file, which no sizing can bring about. */
export function renderPool(sizing: Sizing): readonly RenderedFile[] {
  const files = composePool(sizing).map((object) => ({
    path: fileName(object),
    text: writeYaml(object),
  }));
  const paths = files.map(({ path }) => path);
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice !== undefined) {
    throw new Error(`two objects would be written to ${twice}`);
  }
  return [{ path: KUSTOMIZATION_PATH, text: writeYaml(kustomization(paths)) }, ...files];
}

/** `statefulset-default-amd64-builder.yaml` */
export function fileName({ kind, metadata }: KubernetesObject): string {
  return `${kind.toLowerCase()}-${metadata?.name}.yaml`;
}
