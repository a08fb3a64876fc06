import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { ArchitectureSizing } from '../../../../src/pool/sizing/model.ts';
import { accept } from '../../../support/pool-yaml.ts';

const GIB = 2 ** 30;
const HOUR_MS = 3_600_000;

function architectures(example: string): readonly ArchitectureSizing[] {
  const { sizing } = accept(readFileSync(`manifests/${example}/pool.yaml`, 'utf8'));
  return sizing.pools.flatMap((pool) => pool.architectures);
}

/** What a person checks first: does it fit, how many, how long. Worked out by hand from the numbers of the machines. */
function gist({ line, builder, autoscaler, shrink, nodePools }: ArchitectureSizing) {
  return {
    ceiling: line.ceiling.value,
    cores: builder.cpuMillis.value / 1000,
    memoryGib: Math.floor(builder.memoryBytes.value / GIB),
    diskGib: Math.floor(builder.diskBytes.value / GIB),
    fallback: autoscaler?.fallbackReplicas.value,
    nodes: nodePools?.pools[0]?.nodes.value,
    shrinkHours: (shrink?.durationMs.value ?? 0) / HOUR_MS,
  };
}

test('staging: 2 builders on an m6id.24xlarge, 4 on an m7gd.16xlarge', () => {
  expect(architectures('eks-karpenter').map(gist)).toEqual([
    // 96 cores less 310m for the kubelet and 500m for DaemonSets, halved, less 100m for the gate. 384 GiB less 7.5 %,
    // 8.2 GiB for 737 pods and 1.1 GiB, halved. 3,600 GB, the smaller disk: 98 % of 85 % less 30 GiB, halved.
    { ceiling: 32, cores: 47.4, memoryGib: 171, diskGib: 1381, fallback: 2, nodes: 5, shrinkHours: 1 / 3 },
    { ceiling: 32, cores: 15.7, memoryGib: 56, diskGib: 729, fallback: 4, nodes: 3, shrinkHours: 1 / 3 },
  ]);
});

test('production: 32 to 360 and 8 to 30, fallback 32 and 8', () => {
  const sized = architectures('eks-production');
  expect(sized.map(gist)).toMatchObject([
    // 360, 288, 230, 184, 147, 117, 93, 74, 59, 47, 37, 32: eleven steps of 20 minutes.
    { ceiling: 768, fallback: 32, nodes: 198, shrinkHours: 11 / 3 },
    // 30, 20, 10, 8.
    { ceiling: 64, fallback: 8, nodes: 9, shrinkHours: 1 },
  ]);
  expect(sized[0]?.shrink?.durationMs.reason).toContain(
    '360, 288, 230, 184, 147, 117, 93, 74, 59, 47, 37, 32',
  );
});
