/** A folder of rendered manifests as the network sees it: policies, namespaces, and what makes pods. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { parseAllDocuments } from 'yaml';
import type { ClusterNamespace } from './network/evaluate.ts';
import type { Workload } from './network/reachability.ts';

export interface Rendered {
  readonly policies: readonly INetworkPolicy[];
  readonly namespaces: readonly ClusterNamespace[];
  readonly workloads: readonly Workload[];
}

interface Manifest {
  readonly kind?: string;
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: Record<string, string>;
  };
  readonly spec?: { readonly template?: PodTemplate };
}

interface PodTemplate {
  readonly metadata?: { readonly labels?: Record<string, string> };
  readonly spec?: {
    readonly containers?: readonly {
      readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
    }[];
  };
}

/** Every YAML file of the folder but pool.yaml; a file may hold several objects. */
export async function readRendered(folder: string): Promise<Rendered> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml') && name !== 'pool.yaml');
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
  return gatherRendered(
    texts.flatMap((text) => parseAllDocuments(text).map((document): unknown => document.toJS())),
  );
}

export function gatherRendered(objects: readonly unknown[]): Rendered {
  const manifests = objects.filter(
    (object): object is Manifest => typeof object === 'object' && object !== null,
  );
  return {
    policies: manifests.filter(({ kind }) => kind === 'NetworkPolicy') as unknown as INetworkPolicy[],
    namespaces: manifests
      .filter(({ kind }) => kind === 'Namespace')
      .map(({ metadata }) => ({ name: metadata?.name ?? '', labels: metadata?.labels ?? {} })),
    workloads: manifests
      .filter(({ kind }) => kind === 'Deployment' || kind === 'StatefulSet')
      .map(({ metadata, spec }) => ({
        namespace: metadata?.namespace ?? '',
        name: metadata?.name ?? '',
        labels: spec?.template?.metadata?.labels ?? {},
        namedPorts: Object.fromEntries(
          (spec?.template?.spec?.containers ?? [])
            .flatMap(({ ports = [] }) => ports)
            .map(({ name, containerPort }) => [name ?? String(containerPort), containerPort]),
        ),
      })),
  };
}
