import fc from 'fast-check';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { describe, expect, test } from 'vitest';
import {
  type AddressPeer,
  type Cluster,
  type ClusterNamespace,
  type Flow,
  judgeFlow,
  type Labels,
  type Peer,
  type PodPeer,
} from '../../../support/network/evaluate.ts';

type Spec = NonNullable<INetworkPolicy['spec']>;

function policy(namespace: string, spec: Spec, name = 'policy'): INetworkPolicy {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name },
    spec,
  };
}

function pod(namespace: string, labels: Labels, ip = '10.1.0.1'): PodPeer {
  return { kind: 'pod', name: 'pod', namespace, labels, ip, namedPorts: { redis: 6379 } };
}

function address(ip: string): AddressPeer {
  return { kind: 'address', name: 'outside', ip };
}

const NAMESPACES: readonly ClusterNamespace[] = [
  { name: 'default', labels: {} },
  { name: 'ci', labels: { project: 'myproject' } },
  { name: 'other', labels: {} },
];

function allowed(
  policies: readonly INetworkPolicy[],
  from: Peer,
  to: Peer,
  port = 6379,
  protocol: Flow['protocol'] = 'TCP',
  reading: 'addresses-only' | 'pods-too' = 'addresses-only',
): boolean {
  return judgeFlow({ namespaces: NAMESPACES, policies }, { from, to, port, protocol }, reading).allowed;
}

describe("the example of Kubernetes' own documentation", () => {
  const policies = [
    policy('default', {
      podSelector: { matchLabels: { role: 'db' } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        {
          from: [
            { ipBlock: { cidr: '172.17.0.0/16', except: ['172.17.1.0/24'] } },
            { namespaceSelector: { matchLabels: { project: 'myproject' } } },
            { podSelector: { matchLabels: { role: 'frontend' } } },
          ],
          ports: [{ protocol: 'TCP', port: 6379 }],
        },
      ],
      egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/24' } }], ports: [{ protocol: 'TCP', port: 5978 }] }],
    }),
  ];
  const db = pod('default', { role: 'db' });

  test.each([
    ['a frontend of the same namespace', pod('default', { role: 'frontend' }), true],
    ['any pod of a namespace with the label', pod('ci', {}), true],
    ['a frontend of another namespace', pod('other', { role: 'frontend' }), false],
    ['another pod of the same namespace', pod('default', {}), false],
    ['an address of the block', address('172.17.0.9'), true],
    ['an address of its exception', address('172.17.1.9'), false],
    ['an address outside the block', address('172.18.0.9'), false],
    ['an IPv6 address', address('2001:db8::1'), false],
  ])('%s', (_, from, expected) => {
    expect(allowed(policies, from, db)).toBe(expected);
  });

  test('another port, another protocol', () => {
    const frontend = pod('default', { role: 'frontend' });
    expect(allowed(policies, frontend, db, 6380)).toBe(false);
    expect(allowed(policies, frontend, db, 6379, 'UDP')).toBe(false);
  });

  test('egress only where it says', () => {
    expect(allowed(policies, db, address('10.0.0.7'), 5978)).toBe(true);
    expect(allowed(policies, db, address('10.0.1.7'), 5978)).toBe(false);
    expect(allowed(policies, db, pod('ci', {}), 5978)).toBe(false);
  });

  test('pods that no policy selects are open', () => {
    expect(allowed(policies, pod('other', {}), pod('default', { role: 'web' }))).toBe(true);
  });
});

test('selectors of one entry both have to match, those of two entries one', () => {
  const namespaceSelector = { matchLabels: { project: 'myproject' } };
  const podSelector = { matchLabels: { role: 'client' } };
  const both = [
    policy('default', { podSelector: {}, ingress: [{ from: [{ namespaceSelector, podSelector }] }] }),
  ];
  const either = [
    policy('default', { podSelector: {}, ingress: [{ from: [{ namespaceSelector }, { podSelector }] }] }),
  ];
  const to = pod('default', {});
  const [inBoth, onlyNamespace, onlyPod] = [
    pod('ci', { role: 'client' }),
    pod('ci', {}),
    pod('default', { role: 'client' }),
  ];
  expect([inBoth, onlyNamespace, onlyPod].map((from) => allowed(both, from, to))).toEqual([
    true,
    false,
    false,
  ]);
  expect([inBoth, onlyNamespace, onlyPod].map((from) => allowed(either, from, to))).toEqual([
    true,
    true,
    true,
  ]);
});

test('a namespace is known by the name that Kubernetes puts on it, expressions and ranges of ports count', () => {
  const policies = [
    policy('default', {
      podSelector: { matchExpressions: [{ key: 'role', operator: 'In', values: ['db', 'cache'] }] },
      ingress: [
        {
          from: [
            {
              namespaceSelector: {
                matchExpressions: [
                  { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['other'] },
                  { key: 'project', operator: 'Exists' },
                ],
              },
            },
          ],
          ports: [{ port: 6000, endPort: 6999 }, { port: 'redis' }],
        },
      ],
    }),
  ];
  const cache = pod('default', { role: 'cache' });
  expect(allowed(policies, pod('ci', {}), cache, 6999)).toBe(true);
  expect(allowed(policies, pod('ci', {}), cache, 7000)).toBe(false);
  expect(allowed(policies, pod('other', {}), cache, 6500)).toBe(false);
  expect(allowed(policies, pod('default', {}), cache, 6500)).toBe(false);
  expect(allowed(policies, pod('other', {}), pod('default', { role: 'web' }), 6500)).toBe(true);
});

test('NotIn also selects who lacks the label, In does not', () => {
  const closed = (operator: string) => [
    policy('default', {
      podSelector: { matchExpressions: [{ key: 'role', operator, values: ['db'] }] },
      policyTypes: ['Ingress'],
    }),
  ];
  expect(allowed(closed('NotIn'), pod('ci', {}), pod('default', {}))).toBe(false);
  expect(allowed(closed('In'), pod('ci', {}), pod('default', {}))).toBe(true);
});

test('a named port is the one of the pod that is called', () => {
  const policies = [policy('default', { podSelector: {}, ingress: [{ ports: [{ port: 'redis' }] }] })];
  expect(allowed(policies, pod('ci', {}), pod('default', {}), 6379)).toBe(true);
  expect(allowed(policies, pod('ci', {}), { ...pod('default', {}), namedPorts: { redis: 1 } }, 6379)).toBe(
    false,
  );
});

test('whether an ipBlock means pods too is left to the network, and asked for', () => {
  const policies = [
    policy('default', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] }),
  ];
  const [from, to] = [pod('ci', {}, '10.2.0.1'), pod('default', {})];
  expect(allowed(policies, from, to, 1, 'TCP', 'addresses-only')).toBe(false);
  expect(allowed(policies, from, to, 1, 'TCP', 'pods-too')).toBe(true);
});

test('the reason names the end and the policies that refuse', () => {
  const cluster: Cluster = {
    namespaces: NAMESPACES,
    policies: [policy('default', { podSelector: {}, policyTypes: ['Ingress'] }, 'closed')],
  };
  const flow: Flow = { from: pod('ci', {}), to: pod('default', {}), port: 80, protocol: 'TCP' };
  expect(judgeFlow(cluster, flow, 'pods-too')).toEqual({
    allowed: false,
    reason: 'ingress refused: of closed none allows ci/pod -> default/pod TCP 80',
  });
});

test.each([
  ['a block without a prefix', { cidr: '10.0.0.0' }, 'Expected a CIDR such as 10.0.0.0/8, got 10.0.0.0'],
  ['a block of letters', { cidr: 'all/0' }, 'Expected a CIDR such as 10.0.0.0/8, got all/0'],
])('%s is an error', (_, ipBlock, message) => {
  const policies = [policy('default', { podSelector: {}, ingress: [{ from: [{ ipBlock }] }] })];
  expect(() => allowed(policies, address('10.0.0.1'), pod('default', {}))).toThrow(message);
});

test('a pod of a namespace that nobody described is an error', () => {
  expect(() => allowed([], pod('nowhere', {}), address('10.0.0.1'))).toThrow('got nowhere');
});

describe('properties', () => {
  const label = fc.record(
    { a: fc.constantFrom('0', '1'), b: fc.constantFrom('0', '1') },
    { requiredKeys: [] },
  );
  const labels: fc.Arbitrary<Labels> = label.map((entries) => ({ ...entries }));
  const selector = fc.oneof(
    labels.map((matchLabels) => ({ matchLabels: { ...matchLabels } })),
    fc
      .record({
        key: fc.constantFrom('a', 'b'),
        operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist'),
      })
      .map(({ key, operator }) => ({
        matchExpressions: [operator.endsWith('In') ? { key, operator, values: ['1'] } : { key, operator }],
      })),
  );
  const peer = fc.oneof(
    selector.map((podSelector) => ({ podSelector })),
    selector.map((namespaceSelector) => ({ namespaceSelector })),
    fc.record({ podSelector: selector, namespaceSelector: selector }),
    fc.constantFrom('10.0.0.0/8', '0.0.0.0/0', '10.1.0.0/31').map((cidr) => ({ ipBlock: { cidr } })),
  );
  const ports = fc.array(
    fc.record({
      port: fc.integer({ min: 1, max: 4 }),
      protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
    }),
    { maxLength: 2 },
  );
  const namespaceName = fc.constantFrom('x', 'y');
  const spec: fc.Arbitrary<Spec> = fc.record({
    podSelector: selector,
    policyTypes: fc.subarray<'Ingress' | 'Egress'>(['Ingress', 'Egress'], { minLength: 1 }),
    ingress: fc.array(fc.record({ from: fc.array(peer, { maxLength: 2 }), ports }), { maxLength: 2 }),
    egress: fc.array(fc.record({ to: fc.array(peer, { maxLength: 2 }), ports }), { maxLength: 2 }),
  });
  const anyPolicy = fc
    .record({ namespace: namespaceName, spec })
    .map(({ namespace, spec: of }) => policy(namespace, of));
  const namespaces = fc.tuple(labels, labels).map(([x, y]): readonly ClusterNamespace[] => [
    { name: 'x', labels: x },
    { name: 'y', labels: y },
  ]);
  const anyPod = fc
    .record({
      namespace: namespaceName,
      of: labels,
      ip: fc.constantFrom('10.1.0.1', '10.1.0.2', '192.168.0.1'),
    })
    .map(({ namespace, of, ip }) => pod(namespace, of, ip));
  const anyPeer: fc.Arbitrary<Peer> = fc.oneof(
    anyPod,
    fc.constantFrom('10.1.0.1', '203.0.113.1').map(address),
  );
  const flow: fc.Arbitrary<Flow> = fc.record({
    from: anyPeer,
    to: anyPeer,
    port: fc.integer({ min: 1, max: 5 }),
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
  });
  const reading = fc.constantFrom('addresses-only' as const, 'pods-too' as const);
  const some = fc.array(anyPolicy, { maxLength: 4 });

  test('no policy, no limit; the order of policies means nothing', () => {
    fc.assert(
      fc.property(namespaces, some, flow, reading, (of, policies, asked, read) => {
        expect(judgeFlow({ namespaces: of, policies: [] }, asked, read).allowed).toBe(true);
        expect(judgeFlow({ namespaces: of, policies: policies.toReversed() }, asked, read).allowed).toBe(
          judgeFlow({ namespaces: of, policies }, asked, read).allowed,
        );
      }),
    );
  });

  test('among closed pods another policy only ever opens', () => {
    const closed = (['x', 'y'] as const).map((namespace) =>
      policy(namespace, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
    );
    fc.assert(
      fc.property(namespaces, some, anyPolicy, flow, reading, (of, policies, added, asked, read) => {
        const before = [...closed, ...policies];
        if (judgeFlow({ namespaces: of, policies: before }, asked, read).allowed) {
          expect(judgeFlow({ namespaces: of, policies: [...before, added] }, asked, read).allowed).toBe(true);
        }
      }),
    );
  });

  test('closed on both sides nothing reaches or leaves a pod', () => {
    fc.assert(
      fc.property(namespaces, flow, reading, (of, asked, read) => {
        const policies = (['x', 'y'] as const).map((namespace) =>
          policy(namespace, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
        );
        const pods = asked.from.kind === 'pod' || asked.to.kind === 'pod';
        expect(judgeFlow({ namespaces: of, policies }, asked, read).allowed).toBe(!pods);
      }),
    );
  });

  test('an ipBlock that means pods too only ever allows more', () => {
    fc.assert(
      fc.property(namespaces, some, flow, (of, policies, asked) => {
        if (judgeFlow({ namespaces: of, policies }, asked, 'addresses-only').allowed) {
          expect(judgeFlow({ namespaces: of, policies }, asked, 'pods-too').allowed).toBe(true);
        }
      }),
    );
  });
});
