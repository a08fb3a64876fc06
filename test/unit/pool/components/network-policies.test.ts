import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { describe, expect, test } from 'vitest';
import type { KubernetesObject } from '../../../../src/pool/components/object.ts';
import {
  expectations,
  namespacesOf,
  violations,
  type Workload,
} from '../../../../src/pool/network/reachability.ts';
import type { Sizing } from '../../../../src/pool/sizing/model.ts';
import { composeText, EXAMPLES, sizeText, type Tree } from '../../../support/examples.ts';

/** Rows of the table that the rendered policies do not keep. */
function broken(sizing: Sizing, objects: readonly KubernetesObject[]): readonly string[] {
  const namespaces = objects
    .filter(({ kind }) => kind === 'Namespace')
    .map(({ metadata }) => ({ name: metadata?.name ?? '', labels: metadata?.labels ?? {} }));
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy') as INetworkPolicy[];
  const rows = expectations(sizing, workloadsOf(objects));
  expect(rows.length).toBeGreaterThan(50);
  return violations({ namespaces: namespacesOf(sizing, namespaces), policies }, rows);
}

function workloadsOf(objects: readonly KubernetesObject[]): readonly Workload[] {
  return objects
    .filter(({ kind }) => kind === 'Deployment' || kind === 'StatefulSet')
    .map((object: Tree) => ({
      namespace: object.metadata.namespace,
      name: object.metadata.name,
      labels: object.spec.template.metadata.labels,
      namedPorts: Object.fromEntries(
        object.spec.template.spec.containers.flatMap(({ ports = [] }: Tree) =>
          ports
            .filter(({ name }: Tree) => name !== undefined)
            .map(({ name, containerPort }: Tree) => [name, containerPort]),
        ),
      ),
    }));
}

describe.each(EXAMPLES)('$name', ({ poolYaml }) => {
  test('who must reach whom does, and nobody else', () => {
    expect(broken(sizeText(poolYaml), composeText(poolYaml))).toEqual([]);
  });
});

test.each([
  ['passthrough', '    tls: {mode: passthrough}\n'],
  [
    'a load balancer of the cloud',
    '    exposure: {service: load-balancer, host: a.example.com, clients: {cidrs: [198.51.100.0/24]}}\n',
  ],
  ['early settings on ports of their own', '    exposure: {early-settings: 2000}\n'],
  ['metrics for nobody', '    autoscaling: off\n'],
])('with %s', (_, section) => {
  const text = `version: 1\ncluster: {dns: {address: 169.254.20.10}}\npools:\n  default:\n${section}    architectures: {amd64: {${section.includes('off') ? 'replicas: 2' : ''}}}\n`;
  expect(broken(sizeText(text), composeText(text))).toEqual([]);
});

test('incident 9: the scaler\u2019s namespace gets through to the metrics where clients are limited', () => {
  const example = EXAMPLES.find(({ name }) => name === 'eks-karpenter');
  const text = example?.poolYaml ?? '';
  const objects = composeText(text);
  const without = objects.map((object): KubernetesObject => {
    if (object.kind !== 'NetworkPolicy' || object.metadata?.name !== 'default-haproxy') return object;
    return JSON.parse(
      JSON.stringify(object).replaceAll(
        '"kubernetes.io/metadata.name":"keda"',
        '"kubernetes.io/metadata.name":"gone"',
      ),
    );
  });
  expect(broken(sizeText(text), objects)).toEqual([]);
  expect(broken(sizeText(text), without)).toEqual([
    expect.stringMatching(
      /^keda\/keda-operator must reach buildkit\/default-haproxy-0 on TCP 8405 \(the scaler reads the demand\)/,
    ),
  ]);
});
