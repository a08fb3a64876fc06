import { describe, expect, test } from 'vitest';
import { compareObjects, gravest } from '../../../../src/pool/render/compare.ts';
import { describeChanges } from '../../../../src/pool/run-command.ts';
import { composeText, exampleNamed, pick } from '../../../support/examples.ts';

const BASE = `version: 1
cluster:
  karpenter: {discovery: ci, role: nodes}
pools:
  default:
    builds: {longest: 2h}
    cache: {path: /mnt/k8s-disks/0/pool}
    architectures:
      amd64: {min: 1, max: 8, nodes: {instance-types: [m6id.8xlarge, m5d.8xlarge]}}
`;

function change(from: string, to: string): readonly ReturnType<typeof composeText>[] {
  expect(BASE).toContain(from);
  return [composeText(BASE), composeText(BASE.replace(from, to))];
}

describe('what may change at any time does not touch the load balancer or the builders', () => {
  test.each([
    ['max, up to the ceiling', 'max: 8', 'max: 16'],
    ['min', 'min: 1', 'min: 4'],
    ['min to zero', 'min: 1', 'min: 0'],
    ['spare builders', 'min: 1,', 'min: 1, spare: 2,'],
    ['fallback', 'min: 1,', 'min: 1, fallback: 6,'],
    ['idle time', '    cache:', '    scale-down: {idle: 40m}\n    cache:'],
    ['how many go at once', '    cache:', '    scale-down: {at-once: {builders: 3}}\n    cache:'],
    ['the deadline of builds', '{longest: 2h}', '{longest: 2h, queue-timeout: 3h}'],
    ['the expected cold start', '{longest: 2h}', '{longest: 2h, cold-start: 9m}'],
    ['monitoring', '    cache:', '    monitoring: prometheus-operator\n    cache:'],
    ['the port of the pool document', '    cache:', '    document: {port: 8181}\n    cache:'],
    ['who may connect', '    cache:', '    exposure: {clients: {namespaces: [ci]}}\n    cache:'],
  ])('%s', (_, from, to) => {
    const [before = [], after = []] = change(from, to);
    const changes = compareObjects(before, after);
    expect(changes.length).toBeGreaterThan(0);
    expect(changes.filter(({ effect }) => effect !== 'nothing')).toEqual([]);
    for (const [kind, name, path] of [
      ['ConfigMap', 'default-haproxy', 'data'],
      ['Deployment', 'default-haproxy', 'spec'],
      ['ConfigMap', 'default-amd64-builder', 'data'],
      ['StatefulSet', 'default-amd64-builder', 'spec'],
    ] as const) {
      expect(JSON.stringify(pick(after, kind, name)[path])).toBe(
        JSON.stringify(pick(before, kind, name)[path]),
      );
    }
  });

  test.each([16, 17, 31, 32])('max 8 to %i, with the ceiling written down', (max) => {
    const written = (text: string) => composeText(text.replace('min: 1,', 'min: 1, ceiling: 32,'));
    const changes = compareObjects(written(BASE), written(BASE.replace('max: 8', `max: ${max}`)));
    expect(changes.length).toBeGreaterThan(0);
    expect(gravest(changes)).toBe('nothing');
  });

  test('max 8 to 16 changes the scaler and the pool document, and nothing else of the load balancer', () => {
    const [before = [], after = []] = change('max: 8', 'max: 16');
    const touched = new Set(compareObjects(before, after).map(({ object }) => object.split(' ')[0]));
    expect(touched).toContain('ScaledObject');
    expect(
      [...touched].every((kind) =>
        ['ScaledObject', 'ConfigMap', 'Deployment', 'NodePool'].includes(kind ?? ''),
      ),
    ).toBe(true);
  });
});

describe('what the load balancer and the builders speak or trust is never changed without a word', () => {
  const withTls = (tls: string) => composeText(BASE.replace('    cache:', `    tls: ${tls}\n    cache:`));
  const OWN = '{}';
  const ISSUER = '{issuer: {name: company}}';
  const PASSED = '{mode: passthrough}';
  const SECRETS =
    '{certificates: secrets, secrets: {balancer: front, balancer-client: middle, builders: back}}';
  const APART = /do not understand each other: no build starts on one of those until it is replaced/;
  const STRANGERS = /takes up the new certificates by itself, .*do not trust each other: no build starts/;

  test.each([
    [OWN, 'off', APART],
    ['off', OWN, APART],
    [OWN, PASSED, APART],
    [PASSED, OWN, APART],
    ['off', PASSED, APART],
    [PASSED, 'off', APART],
    [SECRETS, 'off', APART],
    [OWN, ISSUER, STRANGERS],
    [ISSUER, OWN, STRANGERS],
    [ISSUER, '{issuer: {name: company, kind: Issuer}}', STRANGERS],
    [PASSED, '{mode: passthrough, issuer: {name: company}}', /refuse runners with new certificates/],
    [OWN, SECRETS, /unless every ca\.crt has the old CA and the new one/],
    [SECRETS, SECRETS.replace('back', 'other'), /unless every ca\.crt has the old CA and the new one/],
  ])('%s to %s', (from, to, reason) => {
    const changes = compareObjects(withTls(from), withTls(to));
    const [first] = changes;
    expect(first).toMatchObject({ object: 'pool default/default', path: 'tls', effect: 'trust' });
    expect(first?.reason).toMatch(reason);
    expect(first?.reason).toMatch(/docs\/operations\.md, "(Change who signs|Rotate certificates)/);
    expect(changes.filter(({ effect }) => effect === 'trust')).toHaveLength(1);
    expect(gravest(changes)).toBe('trust');
    expect(describeChanges(changes)).toMatch(/Apply it only as the reason above says\./);
  });

  test.each([
    ['how long certificates last', OWN, '{lifetime: 1440h, renew-before: 480h}', 'nothing'],
    ['when they are renewed', OWN, '{renew-before: 480h}', 'nothing'],
    ['a default that is written down', OWN, '{mode: terminate}', 'nothing'],
  ])('%s is another matter', (_, from, to, effect) => {
    expect(gravest(compareObjects(withTls(from), withTls(to)))).toBe(effect);
  });

  test('another pool beside it breaks nothing', () => {
    const second = `${BASE}  second:\n    tls: off\n    namespace: second\n    architectures: {amd64: {}}\n`;
    for (const [before, after] of [
      [BASE, second],
      [second, BASE],
    ] as const) {
      const effects = compareObjects(composeText(before), composeText(after)).map(({ effect }) => effect);
      expect(effects).not.toContain('trust');
    }
  });

  test('each certificate is read by somebody else, in another time', () => {
    const changes = compareObjects(withTls(OWN), withTls('{lifetime: 1440h, renew-before: 480h}'));
    const reasonOf = (name: string) =>
      changes.find(
        ({ object, path }) => object === `Certificate default/default-${name}` && path === 'spec.duration',
      )?.reason;
    for (const name of ['haproxy-tls', 'haproxy-client-tls'])
      expect(reasonOf(name)).toBe('issued anew; the load balancer takes it up by itself');
    expect(reasonOf('client-tls')).toBe('issued anew; hand it on to runners');
  });
});

describe('incident 7: what must replace something says so beforehand', () => {
  test.each([
    ['max beyond half of a ceiling that is derived', 'max: 8', 'max: 17', 'balancer'],
    ['max up to the old ceiling, derived anew', 'max: 8', 'max: 31', 'balancer'],
    ['a ceiling', 'min: 1,', 'min: 1, ceiling: 33,', 'balancer'],
    ['a ceiling as it was derived', 'min: 1,', 'min: 1, ceiling: 32, spare: 1,', 'nothing'],
    ['the port that clients dial', '    cache:', '    exposure: {port: 1235}\n    cache:', 'balancer'],
    [
      'a load balancer of the cloud',
      '    cache:',
      '    exposure: {service: load-balancer, host: "{arch}.example.com"}\n    cache:',
      'balancer',
    ],
    ['the metrics port', '    cache:', '    balancer: {metrics-port: 9000}\n    cache:', 'balancer'],
    ['the outer port', '    cache:', '    exposure: {early-settings: 1300}\n    cache:', 'balancer'],
    ['the image of HAProxy', '    cache:', '    images: {haproxy: "haproxy:3.4.1"}\n    cache:', 'balancer'],
    [
      'the image of BuildKit',
      '    cache:',
      '    images: {buildkit: "moby/buildkit:v0.33.0"}\n    cache:',
      'builders',
    ],
    ['the longest build', '{longest: 2h}', '{longest: 4h}', 'balancer'],
    ['the size of a builder', 'min: 1,', 'min: 1, builder: {memory: 16Gi},', 'builders'],
    ['a folder for the cache', '/mnt/k8s-disks/0/pool', '/mnt/k8s-disks/0/other', 'builders'],
    ['a volume for the cache', '{path: /mnt/k8s-disks/0/pool}', '{kind: volume}', 'immutable'],
    ['the AMI', 'role: nodes', 'role: nodes, ami: al2023@v20260901', 'nodes'],
    ['one more instance type', 'm5d.8xlarge]', 'm5d.8xlarge, m5ad.8xlarge]', 'nothing'],
    ['the working hours', 'role: nodes', 'role: nodes, working-hours: {lasts: 10h}', 'nothing'],
    ['an architecture less', 'amd64:', 'arm64: {}\n      amd64:', 'balancer'],
  ])('%s', (_, from, to, effect) => {
    const [before = [], after = []] = change(from, to);
    expect(gravest(compareObjects(before, after))).toBe(effect);
  });

  test('max that moves a ceiling which is derived: the reason names the remedy', () => {
    const [before = [], after = []] = change('max: 8', 'max: 17');
    const found = compareObjects(before, after).find(
      ({ object }) => object === 'ConfigMap default/default-haproxy',
    );
    expect(found?.reason).toMatch(
      /has 48 lines for builders instead of 32: .* a `ceiling` in pool\.yaml keeps them$/,
    );
    const [old = [], current = []] = change('    cache:', '    balancer: {metrics-port: 9000}\n    cache:');
    const other = compareObjects(old, current).find(
      ({ object }) => object === 'ConfigMap default/default-haproxy',
    );
    expect(other?.reason).not.toContain('ceiling');
  });

  test('what controllers read of metadata', () => {
    const outside = (annotations: string) =>
      composeText(
        BASE.replace(
          '    cache:',
          `    exposure: {service: load-balancer, host: "{arch}.example.com", annotations: ${annotations}}\n    cache:`,
        ),
      );
    const scheme = (to: string) => outside(`{service.beta.kubernetes.io/aws-load-balancer-scheme: ${to}}`);
    for (const [before, after] of [
      [scheme('internal'), scheme('internet-facing')],
      [outside('{}'), scheme('internet-facing')],
      [scheme('internal'), outside('{}')],
    ] as const) {
      const changes = compareObjects(before, after);
      expect(changes).toEqual([
        expect.objectContaining({
          object: 'Service default/default',
          effect: 'balancer',
          reason: expect.stringContaining('builds that run through it may be cut'),
        }),
      ]);
      expect(describeChanges(changes)).toMatch(/Where no reason above says otherwise, running builds end/);
    }
    // Inside of the cluster nobody makes a load balancer from a Service.
    const inside = composeText(BASE.replace('    cache:', '    exposure: {annotations: {a: b}}\n    cache:'));
    expect(gravest(compareObjects(composeText(BASE), inside))).toBe('nothing');
  });

  test('pod-security labels of the namespace', () => {
    const objects = composeText(BASE);
    const labelled = (labels: Readonly<Record<string, string>>) =>
      objects.map((object) =>
        object.kind === 'Namespace'
          ? { ...object, metadata: { ...object.metadata, labels: { ...object.metadata?.labels, ...labels } } }
          : object,
      );
    const changes = compareObjects(objects, labelled({ 'pod-security.kubernetes.io/enforce': 'restricted' }));
    expect(changes.map(({ effect, reason }) => [effect, reason])).toEqual([
      ['builders', 'pods that start from now on are held to it; those that run stay'],
    ]);
    expect(gravest(compareObjects(objects, labelled({ team: 'ci' })))).toBe('nothing');
  });

  test('what goes away is told by what goes with it', () => {
    const objects = composeText(exampleNamed('eks-karpenter').poolYaml);
    const without = (kind: string, name: string) =>
      objects.filter((object) => !(object.kind === kind && object.metadata?.name === name));
    const effectOf = (kind: string, name: string) => gravest(compareObjects(objects, without(kind, name)));
    expect(effectOf('StatefulSet', 'default-arm64-builder')).toBe('builders');
    expect(effectOf('Service', 'default-amd64')).toBe('balancer');
    expect(effectOf('ScaledObject', 'default-arm64')).toBe('nothing');
    expect(gravest(compareObjects(objects, objects))).toBe('nothing');
  });

  test('fields that Kubernetes never changes', () => {
    const objects = composeText(BASE);
    const damaged = (kind: string, edit: (spec: Record<string, unknown>) => void) =>
      objects.map((object) => {
        if (object.kind !== kind) return object;
        const copy = JSON.parse(JSON.stringify(object));
        edit(copy.spec);
        return copy;
      });
    const effects = (kind: string, edit: (spec: Record<string, unknown>) => void) =>
      gravest(compareObjects(objects, damaged(kind, edit)));
    expect(effects('StatefulSet', (spec) => Object.assign(spec, { serviceName: 'x' }))).toBe('immutable');
    expect(effects('StatefulSet', (spec) => Object.assign(spec, { podManagementPolicy: 'x' }))).toBe(
      'immutable',
    );
    expect(effects('StatefulSet', (spec) => Object.assign(spec, { replicas: 3 }))).toBe('nothing');
    expect(effects('Deployment', (spec) => Object.assign(spec, { selector: {} }))).toBe('immutable');
    expect(
      effects('Service', (spec) =>
        Object.assign(spec, { clusterIP: spec['clusterIP'] === 'None' ? '' : 'None' }),
      ),
    ).toBe('immutable');
  });

  test('for people: one line a change, the gravest first, and what it comes to', () => {
    const [before = [], after = []] = change('max: 8', 'max: 16');
    const text = describeChanges(compareObjects(before, after));
    expect(text).toContain(
      'nothing    ScaledObject default/default-amd64  spec.maxReplicaCount: 8 → 16 (taken over in place)',
    );
    expect(text.endsWith('\n\nNo build and no builder notices.')).toBe(true);
    expect(describeChanges([])).toBe('Nothing differs.');
    const [old = [], current = []] = change('{path: /mnt/k8s-disks/0/pool}', '{kind: volume}');
    const lines = describeChanges(compareObjects(old, current)).split('\n');
    expect(lines[0]).toMatch(/^immutable {2}StatefulSet default\/default-amd64-builder {2}spec\./);
    expect(lines.at(-1)).toMatch(/^Builders have to be replaced/);
  });
});
