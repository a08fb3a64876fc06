import { describe, expect, test } from 'vitest';
import { defaultHpaSpec } from '../../../src/autoscaler/hpa.ts';
import { AUTOSCALER_START, type KedaSpec, stepAutoscaler } from '../../../src/autoscaler/keda.ts';

const KEDA: KedaSpec = {
  pollingIntervalMs: 5000,
  cooldownMs: 60_000,
  activationThreshold: 0,
  fallback: { failureThreshold: 3, replicas: 4 },
};

function follow(
  keda: KedaSpec,
  bounds: readonly [number, number],
  start: number,
  usages: readonly (number | null)[],
  everyMs = 5000,
): readonly number[] {
  let state = AUTOSCALER_START;
  let replicas = start;
  const hpa = defaultHpaSpec(bounds[0], bounds[1], 60);
  return usages.map((usage, index) => {
    ({ replicas, state } = stepAutoscaler(hpa, keda, state, replicas, usage, index * everyMs));
    return replicas;
  });
}

const repeat = <Value>(value: Value, times: number): readonly Value[] =>
  Array.from({ length: times }, () => value);

describe('from and to zero', () => {
  test('the first build brings the first builder, the next look all that are needed', () => {
    expect(follow(KEDA, [0, 8], 0, [0, 5, 5])).toEqual([0, 1, 5]);
  });

  test('activation is looked at only once in a polling interval', () => {
    expect(follow(KEDA, [0, 8], 0, [0, 5, 5, 5, 5, 5], 1000)).toEqual([0, 0, 0, 0, 0, 1]);
  });

  test('the last builder goes when the cooldown is over, not before', () => {
    const replicas = follow(KEDA, [0, 8], 0, [1, 1, ...repeat(0, 16)]);
    expect(replicas.slice(0, 14)).toEqual(repeat(1, 14));
    expect(replicas.slice(14)).toEqual(repeat(0, 4));
  });

  test('a pool with a minimum never goes below it', () => {
    expect(follow(KEDA, [2, 8], 2, repeat(0, 40)).every((replicas) => replicas === 2)).toBe(true);
  });
});

describe('while the metric cannot be read', () => {
  test('nothing changes until the failures are more than the threshold', () => {
    expect(follow(KEDA, [1, 8], 2, [2, null, null, null])).toEqual([2, 2, 2, 2]);
  });

  test('the fallback then adds builders', () => {
    expect(follow(KEDA, [1, 8], 2, [2, ...repeat(null, 5)]).at(-1)).toBe(4);
  });

  test('the fallback never shrinks a busy pool (currentReplicasIfHigher)', () => {
    expect(follow(KEDA, [1, 8], 1, [7, ...repeat(null, 400)]).at(-1)).toBe(7);
  });

  test('without a fallback the pool stays as it is', () => {
    expect(follow({ ...KEDA, fallback: null }, [0, 8], 3, repeat(null, 400)).at(-1)).toBe(3);
  });

  test('one good answer ends the count of failures', () => {
    const usages = [2, null, null, null, 2, null, null, null];
    expect(follow(KEDA, [1, 8], 2, usages).at(-1)).toBe(2);
  });
});
