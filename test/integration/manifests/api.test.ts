/** Every example by the API server's own validation code, the HPA that KEDA makes of a ScaledObject included. */
import { spawn } from 'node:child_process';
import { beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { ensurePrograms } from '../../../src/local/programs.ts';
import type { KubernetesObject } from '../../../src/pool/components/object.ts';
import { composeText, EXAMPLES, exampleNamed, type Tree } from '../../support/examples.ts';

let program = '';

beforeAll(async () => {
  const programs = await ensurePrograms(['kube-validate'], {
    install: true,
    log: (line) => console.error(line),
  });
  program = programs['kube-validate'];
}, 3_600_000);

/** What it says of the objects. */
function judge(objects: readonly unknown[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    child.once('error', reject);
    child.once('close', () => resolve(output));
    child.stdin.end(
      objects.map((object) => stringify(object, { aliasDuplicateObjects: false })).join('---\n'),
    );
  });
}

/** As KEDA makes it: pkg/scaling/resolver and controllers/keda/hpa.go of KEDA 2.20. */
function horizontalPodAutoscaler({ metadata, spec }: Tree): Tree {
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: `keda-hpa-${metadata.name}`, namespace: metadata.namespace },
    spec: {
      scaleTargetRef: spec.scaleTargetRef,
      minReplicas: Math.max(spec.minReplicaCount, 1),
      maxReplicas: spec.maxReplicaCount,
      behavior: spec.advanced.horizontalPodAutoscalerConfig.behavior,
      metrics: [
        {
          type: 'External',
          external: {
            metric: { name: 'composite-metric' },
            target: { type: 'AverageValue', averageValue: spec.advanced.scalingModifiers.target },
          },
        },
      ],
    },
  };
}

function scalers(objects: readonly KubernetesObject[]): readonly Tree[] {
  return objects.filter(({ kind }) => kind === 'ScaledObject').map(horizontalPodAutoscaler);
}

test.each(EXAMPLES)('$name', async ({ poolYaml }) => {
  const objects = composeText(poolYaml);
  const output = await judge([...objects, ...scalers(objects)]);
  expect(output).toMatch(/^\d+ objects, \d+ foreign, 0 faults\n$/);
  expect(Number.parseInt(output, 10)).toBeGreaterThanOrEqual(20);
});

describe('what the API server refuses and schemas take', () => {
  const objects = composeText(exampleNamed('kind').poolYaml);
  const [scaler] = scalers(objects);

  test.each([
    [
      'a window of more than an hour',
      (spec: Tree) => Object.assign(spec.behavior.scaleDown, { stabilizationWindowSeconds: 3601 }),
      'must be less than or equal to 3600',
    ],
    [
      'a period of more than half an hour',
      (spec: Tree) => Object.assign(spec.behavior.scaleDown.policies[0], { periodSeconds: 1801 }),
      'must be less than or equal to 1800',
    ],
    [
      'min above max',
      (spec: Tree) => Object.assign(spec, { minReplicas: 9 }),
      'must be greater than or equal to `minReplicas`',
    ],
  ])('%s', async (_, damage, message) => {
    const copy = structuredClone(scaler);
    damage(copy.spec);
    expect(await judge([copy])).toContain(message);
  });

  test('an exception that is no part of its range', async () => {
    const policy = objects.find(
      ({ kind, metadata }) => kind === 'NetworkPolicy' && metadata?.name === 'default-builder',
    );
    const text = JSON.stringify(policy).replace('"fc00::/7"', '"::ffff:0:0/96"');
    expect(await judge([JSON.parse(text)])).toContain('must be a strict subset of `cidr`');
  });
});
