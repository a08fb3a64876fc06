import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  defaultHpaSpec,
  HPA_DEFAULT_TOLERANCE,
  HPA_START,
  type HpaSpec,
  type HpaState,
  stepHpa,
} from '../../../src/autoscaler/hpa.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** Kubernetes' own behaviour without our rules, except for what the test is about. */
function plainSpec(change: Partial<HpaSpec>): HpaSpec {
  const rules = {
    stabilizationWindowSeconds: 0,
    selectPolicy: 'Max',
    policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
    tolerance: HPA_DEFAULT_TOLERANCE,
  } as const;
  return { minReplicas: 1, maxReplicas: 1000, targetAverage: 1, scaleUp: rules, scaleDown: rules, ...change };
}

/** Looks every `everyMs` at a usage that may change, and tells the replicas after each look. */
function follow(
  spec: HpaSpec,
  start: number,
  usages: readonly (number | null)[],
  everyMs = 15 * SECOND,
): readonly number[] {
  let state: HpaState = HPA_START;
  let replicas = start;
  return usages.map((usage, index) => {
    ({ replicas, state } = stepHpa(spec, state, replicas, usage, index * everyMs));
    return replicas;
  });
}

const repeat = (usage: number, times: number): readonly number[] =>
  Array.from({ length: times }, () => usage);

describe('tolerance', () => {
  test.each([
    [50, 55],
    [100, 110],
    [360, 396],
  ])(
    'at target 1 and %i builders, %i builds are within 10 %% and the surplus waits for ever',
    (builders, builds) => {
      expect(follow(plainSpec({}), builders, repeat(builds, 100)).at(-1)).toBe(builders);
    },
  );

  test.each([50, 100, 360])('target 0.9 leaves no build waiting at %i builders', (builders) => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), (builds) => {
        const last = follow(plainSpec({ targetAverage: 0.9 }), builders, repeat(builds, 20)).at(-1);
        expect(last).toBeGreaterThanOrEqual(builds);
      }),
    );
  });

  test('tolerance 0 at target 1 goes to exactly the demand', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 500 }), (builders, builds) => {
        const spec = plainSpec({
          scaleUp: { ...plainSpec({}).scaleUp, tolerance: 0 },
          scaleDown: { ...plainSpec({}).scaleDown, tolerance: 0 },
        });
        expect(follow(spec, builders, repeat(builds, 20)).at(-1)).toBe(builds);
      }),
    );
  });

  test('a surplus just beyond the tolerance is not within it', () => {
    expect(follow(plainSpec({}), 50, [56])).toEqual([56]);
  });
});

describe('our defaults', () => {
  test('go straight to the demand, whatever it is, within max', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 50, max: 400 }),
        fc.integer({ min: 50, max: 1000 }),
        (min, max, builds) => {
          expect(follow(defaultHpaSpec(min, max), min, [builds])).toEqual([Math.min(builds, max)]);
        },
      ),
    );
  });

  test('remove a builder only when it was not needed at any moment of the last 20 minutes', () => {
    const usages = [...repeat(9, 4), ...repeat(3, 200)];
    const replicas = follow(defaultHpaSpec(1, 20), 1, usages);
    const lastNeeded = 3;
    // A recommendation counts while it is younger than the window: 80 looks of 15 s.
    expect(replicas[lastNeeded + 79]).toBe(9);
    expect(replicas[lastNeeded + 80]).toBe(3);
  });

  test('remove at most 10 builders or 20 %, whichever is more, in one period', () => {
    const small = follow(defaultHpaSpec(0, 400), 40, repeat(1, 400));
    expect([...new Set(small)]).toEqual([40, 30, 20, 10, 1]);
    const large = follow(defaultHpaSpec(0, 400), 360, repeat(1, 161));
    expect([...new Set(large)]).toEqual([360, 288, 230]);
  });

  test('never leave min and max', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 20, max: 60 }),
        fc.array(fc.integer({ min: 0, max: 100 }), { maxLength: 300 }),
        (min, max, usages) => {
          for (const replicas of follow(defaultHpaSpec(min, max), min, usages)) {
            expect(replicas).toBeGreaterThanOrEqual(min);
            expect(replicas).toBeLessThanOrEqual(max);
          }
        },
      ),
    );
  });

  test('never hold fewer builders than the demand of this moment allows', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 300 }), (usages) => {
        follow(defaultHpaSpec(1, 40), 1, usages).forEach((replicas, index) => {
          expect(replicas).toBeGreaterThanOrEqual(Math.min(usages[index] ?? 0, 40));
        });
      }),
    );
  });
});

describe('stepHpa', () => {
  test('freezes while the metric cannot be read', () => {
    expect(follow(plainSpec({}), 7, [null, null, null])).toEqual([7, 7, 7]);
  });

  test('does nothing at 0 replicas', () => {
    expect(follow(plainSpec({ minReplicas: 0 }), 0, [5, 50])).toEqual([0, 0]);
  });

  test('brings a workload outside of its bounds back at once, whatever the policies', () => {
    const disabled = { ...plainSpec({}).scaleUp, selectPolicy: 'Disabled' } as const;
    const spec = plainSpec({ minReplicas: 3, maxReplicas: 5, scaleUp: disabled, scaleDown: disabled });
    expect(follow(spec, 9, [9])).toEqual([5]);
    expect(follow(spec, 1, [1])).toEqual([3]);
  });

  test('a disabled direction does not move', () => {
    const disabled = { ...plainSpec({}).scaleUp, selectPolicy: 'Disabled' } as const;
    expect(follow(plainSpec({ scaleUp: disabled }), 4, [100, 100])).toEqual([4, 4]);
    expect(follow(plainSpec({ scaleDown: disabled }), 4, [1, 1])).toEqual([4, 4]);
  });

  test('scale-up stabilisation waits for the lowest wish of its window', () => {
    const scaleUp = { ...plainSpec({}).scaleUp, stabilizationWindowSeconds: 60, tolerance: 0 };
    const replicas = follow(plainSpec({ scaleUp }), 2, [2, 4, 4, 4, 4, 4]);
    expect(replicas).toEqual([2, 2, 2, 2, 4, 4]);
  });

  test('policies count from where the workload stood when their period began', () => {
    const scaleUp = {
      ...plainSpec({}).scaleUp,
      policies: [{ type: 'Pods', value: 4, periodSeconds: 60 }],
    } as const;
    const replicas = follow(plainSpec({ scaleUp }), 1, repeat(100, 9), 20 * SECOND);
    // 4 in any 60 s: at 0, then when the first four are 60 s old.
    expect(replicas).toEqual([5, 5, 5, 9, 9, 9, 13, 13, 13]);
  });

  test('Min selects the policy that changes least', () => {
    const policies = [
      { type: 'Pods', value: 1, periodSeconds: 15 },
      { type: 'Percent', value: 100, periodSeconds: 15 },
    ] as const;
    const rules = { ...plainSpec({}).scaleUp, selectPolicy: 'Min', policies } as const;
    expect(follow(plainSpec({ scaleUp: rules }), 8, [100])).toEqual([9]);
    expect(follow(plainSpec({ scaleDown: rules }), 8, [1])).toEqual([7]);
  });

  test('percentages are rounded up upwards and cut off downwards', () => {
    const policies = [{ type: 'Percent', value: 10, periodSeconds: 15 }] as const;
    const rules = { ...plainSpec({}).scaleUp, policies } as const;
    expect(follow(plainSpec({ scaleUp: rules }), 11, [100])).toEqual([13]);
    expect(follow(plainSpec({ scaleDown: rules }), 11, [1])).toEqual([9]);
  });

  test('remembers no more than its windows and periods need', () => {
    let state: HpaState = HPA_START;
    let replicas = 1;
    for (let look = 0; look < 2000; look += 1) {
      const usage = 1 + (look % 30);
      ({ replicas, state } = stepHpa(defaultHpaSpec(1, 40), state, replicas, usage, look * SECOND));
    }
    expect(state.recommendations.length).toBeLessThanOrEqual((20 * MINUTE) / SECOND + 1);
  });
});
