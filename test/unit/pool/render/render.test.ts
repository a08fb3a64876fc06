import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { KubernetesObject } from '../../../../src/pool/components/object.ts';
import { readPool } from '../../../../src/pool/read.ts';
import { compareFolder } from '../../../../src/pool/render/folder.ts';
import { inspect } from '../../../../src/pool/render/inspect.ts';
import { composePool, renderPool } from '../../../../src/pool/render/render.ts';
import { GENERATED_HEADER, readYaml, writeYaml } from '../../../../src/pool/render/yaml.ts';
import { EXAMPLES, exampleNamed, sizeText } from '../../../support/examples.ts';
import { writtenFiles } from '../../../support/pool-yaml.ts';

describe.each(EXAMPLES)('example $name', ({ folder, poolYaml }) => {
  test('is what its pool.yaml gives', async () => {
    expect(await compareFolder(folder, renderPool(sizeText(poolYaml)))).toEqual([]);
  });

  test('fits together, within all limits', () => {
    expect(inspect(composePool(sizeText(poolYaml)), { foreignSecrets: [] })).toEqual([]);
  });

  test('has one object a file, all in the kustomization', () => {
    const files = renderPool(sizeText(poolYaml));
    const [kustomization, ...objects] = files;
    expect((parse(kustomization?.text ?? '') as { resources: string[] }).resources).toEqual(
      objects.map(({ path }) => path),
    );
    for (const { text } of objects) {
      expect(readYaml(text)).toHaveLength(1);
      expect(text.startsWith(GENERATED_HEADER)).toBe(true);
    }
  });
});

test('any accepted pool file gives objects without a fault, and the same bytes twice', () => {
  let accepted = 0;
  fc.assert(
    fc.property(writtenFiles, (text) => {
      const reading = readPool(text);
      if (reading.kind === 'refused') {
        return;
      }
      accepted += 1;
      const foreignSecrets = reading.file.pools.flatMap(({ tls }) =>
        tls.kind !== 'off' && tls.certificates.kind === 'secrets'
          ? Object.values(tls.certificates.secrets)
          : [],
      );
      expect(inspect(composePool(reading.sizing), { foreignSecrets })).toEqual([]);
      expect(renderPool(sizeText(text))).toEqual(renderPool(reading.sizing));
    }),
    { numRuns: 90 },
  );
  expect(accepted).toBeGreaterThan(10);
}, 120_000);

describe('YAML', () => {
  test('what other readers take for something else is quoted', () => {
    const traps = [
      'on',
      'no',
      'y',
      '~',
      '1e3',
      '0o7',
      '010',
      '1_000',
      '12:30:45',
      '2026-11-23',
      '.inf',
      'null',
      '',
    ];
    const text = writeYaml({
      kind: 'ConfigMap',
      data: Object.fromEntries(traps.map((trap) => [`k${trap}`, trap])),
    });
    for (const version of ['1.1', '1.2'] as const) {
      const read = parse(text, { version }) as { data: Record<string, unknown> };
      expect(Object.values(read.data)).toEqual(traps);
    }
  });

  test('any object is read back as it was, by readers of YAML 1.1 and 1.2', () => {
    const objects = fc.dictionary(
      fc.string({ minLength: 1 }).filter((key) => key !== '__proto__'),
      fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.string()), fc.constant('a\n  b\n\n')),
    );
    fc.assert(
      fc.property(objects, (object) => {
        const text = writeYaml(object);
        const [read] = readYaml(text);
        expect(read).toEqual({ ...object });
        expect(parse(text, { version: '1.1' })).toEqual({ ...object });
      }),
    );
  });

  test('two objects of one kind and name are refused', () => {
    const sizing = sizeText(exampleNamed('kind').poolYaml);
    const [pool] = sizing.pools;
    expect(() => renderPool({ ...sizing, pools: pool === undefined ? [] : [pool, pool] })).toThrow(
      'two objects would be written to networkpolicy-default-haproxy.yaml',
    );
  });
});

describe('what schemas do not see is found', () => {
  /** The objects of an example, with the value at `path` of one of them replaced. */
  function damage([kind, name, example = 'eks-karpenter']: Target, path: string, value: unknown) {
    return composePool(sizeText(exampleNamed(example).poolYaml)).map((object) => {
      if (object.kind !== kind || object.metadata?.name !== name) {
        return object;
      }
      const copy = JSON.parse(JSON.stringify(object)) as Record<string, unknown>;
      const keys = path.split('.');
      const last = keys.pop() ?? '';
      const parent = keys.reduce<Record<string, unknown>>(
        (node, key) => node[key] as Record<string, unknown>,
        copy,
      );
      if (value === undefined) {
        delete parent[last];
      } else {
        parent[last] = value;
      }
      return copy as unknown as KubernetesObject;
    });
  }

  type Target = readonly [kind: string, name: string, example?: string];

  const SET = ['StatefulSet', 'default-amd64-builder'] as const;
  const FIXED_SET = [...SET, 'no-karpenter'] as const;
  const BALANCER = ['Deployment', 'default-haproxy'] as const;
  const SCALER = ['ScaledObject', 'default-amd64'] as const;
  const NODES = ['NodePool', 'default-amd64-m6id-24xlarge'] as const;
  const BUILDERS = ['Service', 'default-amd64-builders'] as const;
  const CERTIFICATE = ['Certificate', 'default-haproxy-tls'] as const;
  const BEHAVIOR = 'spec.advanced.horizontalPodAutoscalerConfig.behavior';

  const ROWS: readonly (readonly [target: Target, path: string, value: unknown, fault: string])[] = [
    [SCALER, `${BEHAVIOR}.scaleDown.stabilizationWindowSeconds`, 3601, 'a window of 3601 s'],
    [SCALER, `${BEHAVIOR}.scaleDown.policies.0.periodSeconds`, 1801, 'a period of 1801 s'],
    [SCALER, `${BEHAVIOR}.scaleDown.stabilizationWindowSeconds`, 60, 'shorter than the period'],
    [SCALER, 'spec.minReplicaCount', 9, 'min 9 is more than max 8'],
    [SCALER, 'spec.scaleTargetRef.name', 'other', 'what it scales, other, is not there'],
    [SCALER, 'spec.fallback.behavior', 'static', 'may shrink a busy pool'],
    [SCALER, 'spec.advanced.scalingModifiers', { target: '0.9' }, 'fallback is silently off'],
    [SCALER, 'spec.triggers.0.metadata.url', 'http://x.buildkit.svc:1/metrics', 'nothing answers at'],
    [SCALER, `${BEHAVIOR}.scaleDown.policies.0.value`, 0, 'scaleDown: a policy that allows nothing'],
    [SCALER, 'metadata.name', 'x'.repeat(55), 'its HPA would have a name of more than 63 characters'],
    [SCALER, 'spec.fallback.replicas', 9, 'its fallback is more than max'],
    [SCALER, 'spec.advanced.restoreToOriginalReplicaCount', true, 'deleting it would reset the pool'],
    [SET, 'metadata.name', 'x'.repeat(53), 'longer than 52 characters'],
    [FIXED_SET, 'spec.replicas', undefined, 'it is not scaled and names no replicas'],
    [
      FIXED_SET,
      'spec.template.spec.securityContext.fsGroupChangePolicy',
      undefined,
      'change the group of every file',
    ],
    [
      FIXED_SET,
      'spec.template.spec.securityContext.fsGroupChangePolicy',
      'Always',
      'change the group of every file',
    ],
    [SET, 'spec.template.spec.containers.1.name', 'buildkitd', 'two containers have one name'],
    [SET, 'spec.template.spec.containers.1.ports.1.name', 'builds', 'two ports of its pods have one name'],
    [SET, 'spec.template.spec.terminationGracePeriodSeconds', undefined, 'no time to end in'],
    [
      SET,
      'spec.template.spec.containers.0.volumeMounts.1.mountPath',
      '/etc/buildkit-pool',
      'two volumes of buildkitd are mounted at one path',
    ],
    [SET, 'spec.template.spec.containers.1.resources.limits', undefined, 'gate has no limit of memory'],
    [SET, 'spec.replicas', 4, 'every apply would reset the pool'],
    [SET, 'spec.updateStrategy.type', 'RollingUpdate', 'must leave running builders alone'],
    [SET, 'spec.podManagementPolicy', 'OrderedReady', 'must start all ordinals at once'],
    [SET, 'spec.serviceName', 'default-amd64', 'is not there, or has an address'],
    [SET, 'spec.template.metadata.labels', { a: 'b' }, 'does not select its own pods'],
    [SET, 'spec.template.spec.automountServiceAccountToken', undefined, 'mount a token'],
    [SET, 'spec.template.spec.volumes.0.configMap.name', 'gone', 'the ConfigMap `gone` is not there'],
    [SET, 'spec.template.spec.containers.0.volumeMounts.0.name', 'gone', 'which is no volume'],
    [SET, 'spec.template.spec.containers.0.image', 'moby/buildkit:latest', 'whatever that is today'],
    [SET, 'spec.template.spec.containers.0.image', 'moby/buildkit', 'whatever that is today'],
    [BALANCER, 'spec.template.spec.containers.0.readinessProbe.httpGet.port', 'http', 'which has no name'],
    [BALANCER, 'spec.template.spec.volumes.2.secret.secretName', 'gone', 'nobody makes the Secret `gone`'],
    [BALANCER, 'spec.template.spec.serviceAccountName', 'default', 'ServiceAccount `default` is not there'],
    [NODES, 'spec.weight', 101, 'its weight is 101'],
    [NODES, 'spec.disruption.consolidationPolicy', 'WhenEmptyOrUnderutilized', 'while builders run on them'],
    [NODES, 'spec.disruption.budgets.2.nodes', '10%', 'drift is allowed in working hours'],
    [NODES, 'spec.disruption.budgets.2.reasons', ['Empty'], 'drift is allowed in working hours'],
    [
      NODES,
      'spec.template.spec.requirements.0.key',
      'kubernetes.io/hostname',
      'Karpenter keeps the label kubernetes.io/hostname to itself',
    ],
    [NODES, 'spec.template.spec.expireAfter', '720h', 'its nodes expire'],
    [NODES, 'spec.template.spec.terminationGracePeriod', '1h', 'before their own grace period'],
    [NODES, 'spec.disruption.budgets.2.duration', undefined, 'needs schedule and duration, or neither'],
    [NODES, 'spec.template.spec.nodeClassRef.name', 'gone', 'EC2NodeClass gone is not there'],
    [NODES, 'spec.template.metadata.labels', { other: 'x' }, 'no builders would run on its nodes'],
    [['Service', 'default-haproxy'], 'spec.ports.0.targetPort', 'http', 'do not listen on http'],
    [BUILDERS, 'spec.ports.1.name', 'builds', 'two of its ports have one name'],
    [BUILDERS, 'spec.ports.1.port', 1234, 'two of its ports have one number'],
    [['Service', 'default-amd64'], 'spec.selector', { a: 'b' }, 'it leads to no pods'],
    [
      ['PodDisruptionBudget', 'default-haproxy'],
      'spec.selector.matchLabels',
      { a: 'b' },
      'it guards no pods',
    ],
    [
      ['ServiceMonitor', 'default-haproxy'],
      'spec.endpoints.0.port',
      'http',
      'not that of exactly one Service',
    ],
    [CERTIFICATE, 'spec.secretName', 'default-builders-tls', 'write one Secret'],
    [CERTIFICATE, 'spec.renewBefore', '9999h', 'it would be renewed before it is issued'],
    [CERTIFICATE, 'spec.issuerRef.name', 'gone', 'its issuer gone is not there'],
    [['ConfigMap', 'default-haproxy'], 'data.more', 'x'.repeat(1_000_001), 'more than Kubernetes takes'],
    [
      ['NetworkPolicy', 'default-builder'],
      'spec.egress.1.to.1.ipBlock.except',
      ['fc00::/7', '::ffff:0:0/96'],
      '::ffff:0:0/96 is no part of ::/0',
    ],
    [
      ['NetworkPolicy', 'default-builder'],
      'spec.egress.1.to.0.ipBlock.cidr',
      '11.0.0.0/8',
      '10.0.0.0/8 is no part of 11.0.0.0/8',
    ],
    [['Service', 'default-document'], 'metadata.name', 'x'.repeat(64), 'is no DNS label'],
    [['Service', 'default-document'], 'metadata.labels', { a: 'x'.repeat(64) }, 'cannot have the value'],
    [
      ['NodePool', 'default-amd64-m6id-24xlarge'],
      'metadata.namespace',
      'x',
      'must have a namespace, or none',
    ],
  ];

  /** What is found in the objects of a row that its fault is about. */
  function found([target, path, value, fault]: (typeof ROWS)[number]): readonly string[] {
    return inspect(damage(target, path, value), { foreignSecrets: [] }).filter((one) => one.includes(fault));
  }

  test.each(ROWS)('%j %s', (...row) => {
    expect(found(row)).not.toEqual([]);
  });

  test('there is a row for every fault that is looked for', () => {
    const source = readFileSync('src/pool/render/inspect.ts', 'utf8');
    // Keys of what is checked, and what the items of a list become; the very first is the line around a fault.
    const [, ...faults] = [
      ...source.matchAll(/^ +(?:\[`(.*)`\]|'(.*)'):|^ *(?:.* => |return )?`(.*)`\),?;?$/gm),
    ].map(([, computed, plain, mapped]) => computed ?? plain ?? mapped ?? '');
    expect(faults.length).toBeGreaterThan(50);
    expect(new Set(faults).size).toBe(faults.length);
    const shown = ROWS.flatMap(found);
    const patterns = faults.map((fault) => {
      const parts = fault.replaceAll('\\`', '`').split(/\$\{[^}]*\}/);
      return new RegExp(
        `: ${parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`,
        's',
      );
    });
    expect(faults.filter((_, index) => !shown.some((one) => patterns[index]?.test(one)))).toEqual([]);
  });
});
