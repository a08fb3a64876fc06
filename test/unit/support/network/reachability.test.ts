/** Every committed example, and pools made up at random, against the table of who must and must not reach whom. */
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { composePool } from '../../../../src/pool/render/render.ts';
import type { Sizing } from '../../../../src/pool/sizing/model.ts';
import type { Cluster } from '../../../support/network/evaluate.ts';
import { expectations, namespacesOf, violations } from '../../../support/network/reachability.ts';
import { accept } from '../../../support/pool-yaml.ts';
import { gatherRendered, type Rendered, readRendered } from '../../../support/rendered.ts';

const MANIFESTS = 'manifests';
const EXAMPLES = readdirSync(MANIFESTS, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

function clusterOf(sizing: Sizing, { policies, namespaces }: Rendered): Cluster {
  return { policies, namespaces: namespacesOf(sizing, namespaces) };
}

function check(sizing: Sizing, rendered: Rendered): readonly string[] {
  return violations(clusterOf(sizing, rendered), expectations(sizing, rendered.workloads));
}

test('there are examples', () => {
  expect(EXAMPLES.length).toBeGreaterThan(0);
});

describe.each(EXAMPLES)('manifests/%s', (example) => {
  const folder = join(MANIFESTS, example);

  test('everybody reaches what they must and nothing that they must not', async () => {
    const { sizing } = accept(await readFile(join(folder, 'pool.yaml'), 'utf8'));
    expect(check(sizing, await readRendered(folder))).toEqual([]);
  });

  test('without its policies it would not pass, and with everything closed neither', async () => {
    const { sizing } = accept(await readFile(join(folder, 'pool.yaml'), 'utf8'));
    const rendered = await readRendered(folder);
    for (const policy of rendered.policies) {
      const others = rendered.policies.filter((other) => other !== policy);
      expect(check(sizing, { ...rendered, policies: others }), policy.metadata?.name).not.toEqual([]);
      const closed = { ...policy, spec: { ...policy.spec, podSelector: {}, ingress: [], egress: [] } };
      expect(
        check(sizing, { ...rendered, policies: [...others, closed] }),
        policy.metadata?.name,
      ).not.toEqual([]);
    }
  });
});

const POOL = (cluster: string) => `
version: 1
cluster: ${cluster}
pools:
  main:
    namespace: builds
    monitoring: prometheus-operator
    exposure: { clients: { namespaces: [runners] } }
    architectures:
      amd64: { min: 0, max: 4 }
`;

test("incident 9: the scaler's namespace is in the policies, whatever it is called", () => {
  const { sizing } = accept(POOL('{ keda-namespace: autoscaler, monitoring-namespace: observability }'));
  const rendered = gatherRendered(composePool(sizing));
  expect(check(sizing, rendered)).toEqual([]);

  // The same policies in a cluster whose scaler runs elsewhere: what went unnoticed in the field.
  const moved = accept(POOL('{ keda-namespace: keda, monitoring-namespace: observability }')).sizing;
  const found = check(moved, rendered);
  expect(found).toEqual([
    expect.stringMatching(
      /^keda\/keda-operator must reach builds\/main-haproxy-0 .*\(the scaler reads the demand\); ingress refused/,
    ),
  ]);
});

test('any pool: any clients, TLS, ports, several pools in one namespace', () => {
  const clients = fc.record(
    {
      namespaces: fc.subarray(['runners', 'arc', 'builds']),
      cidrs: fc.subarray(['198.51.100.0/24', '192.0.2.7/32', '2001:db8::/32']),
    },
    { requiredKeys: [] },
  );
  const pool = fc.record({
    namespace: fc.constantFrom('builds', 'ci'),
    autoscaling: fc.constantFrom('keda', 'off'),
    monitoring: fc.constantFrom('prometheus-operator', 'none'),
    profile: fc.constantFrom('privileged', 'rootless'),
    egress: fc.record({ cidrs: fc.subarray(['10.0.12.48/28', '192.168.10.20/32', 'fd12:3456::/64']) }),
    exposure: fc.record({
      clients,
      ports: fc.constantFrom('per-architecture', 'shared'),
      'early-settings': fc.constantFrom(undefined, 1300),
      service: fc.constantFrom('cluster', 'load-balancer'),
      host: fc.constant('{arch}.builds.example.com'),
    }),
    architectures: fc.subarray(['amd64', 'arm64'], { minLength: 1 }),
  });
  fc.assert(
    fc.property(fc.array(pool, { minLength: 1, maxLength: 3 }), (pools) => {
      const text = JSON.stringify({
        version: 1,
        cluster: { 'keda-namespace': 'scaler' },
        pools: Object.fromEntries(
          pools.map(({ architectures, ...rest }, index) => [
            `pool${index}`,
            {
              ...rest,
              architectures: Object.fromEntries(
                architectures.map((arch) => [
                  arch,
                  rest.autoscaling === 'off' ? { replicas: 2 } : { min: 1, max: 3 },
                ]),
              ),
            },
          ]),
        ),
      });
      const { sizing } = accept(text);
      expect(check(sizing, gatherRendered(composePool(sizing)))).toEqual([]);
    }),
    { numRuns: 60 },
  );
});
