import { describe, expect, test } from 'vitest';
import type { KubernetesObject } from '../../../../src/pool/components/object.ts';
import type { Sizing } from '../../../../src/pool/sizing/model.ts';
import { composeText, EXAMPLES, sizeText } from '../../../support/examples.ts';
import { expectations, namespacesOf, violations } from '../../../support/network/reachability.ts';
import { gatherRendered } from '../../../support/rendered.ts';

/** Rows of the table that the rendered policies do not keep. */
function broken(sizing: Sizing, objects: readonly KubernetesObject[]): readonly string[] {
  const { policies, namespaces, workloads } = gatherRendered(objects);
  const rows = expectations(sizing, workloads);
  expect(rows.length).toBeGreaterThan(50);
  return violations({ namespaces: namespacesOf(sizing, namespaces), policies }, rows);
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
  ['a private registry', '    egress: {cidrs: [10.0.12.48/28, fd12::/64]}\n'],
  ['a range that has the API server in it', '    egress: {cidrs: [10.0.12.0/24]}\n'],
])('with %s', (_, section) => {
  const text = `version: 1\ncluster: {dns: {address: 169.254.20.10}}\npools:\n  default:\n${section}    architectures: {amd64: {${section.includes('off') ? 'replicas: 2' : ''}}}\n`;
  expect(broken(sizeText(text), composeText(text))).toEqual([]);
});

test.each(['169.254.20.10', 'fd00::a'])(
  'a cache of names on the node, %s: load balancer and builders reach it',
  (address) => {
    const text = (dns: string) =>
      `version: 1\ncluster: {dns: {${dns}}}\npools: {default: {architectures: {amd64: {}}}}\n`;
    const sizing = sizeText(text(`address: '${address}'`));
    expect(broken(sizing, composeText(text(`address: '${address}'`)))).toEqual([]);
    // Policies of a pool.yaml that does not name it.
    expect(broken(sizing, composeText(text(''))).map((line) => line.replace(/ on .*/, ''))).toEqual(
      ['default-haproxy-', 'default-haproxy-', 'default-amd64-builder-', 'default-amd64-builder-'].map(
        (pod) => expect.stringMatching(`^default/${pod}\\d+ must reach the node\u2019s name server`),
      ),
    );
  },
);

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
