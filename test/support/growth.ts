/** A line that begins without a builder, and builders that come one, then 39, then 360 at a time. */

import { setTimeout as sleep } from 'node:timers/promises';
import { vi } from 'vitest';
import { type BalancerModel, GATHERING_MS } from '../../src/pool/haproxy.ts';
import { hostOf } from './balancer-model.ts';
import { HAPROXY_COUNTS_EVERY_BUILD } from './haproxy-version.ts';
import { AMD64, type Build, joinTimes, type LoadBalancer, type Rig, type StandIn } from './server-line.ts';

/** Numbers of builders, one after another. */
const STEPS = [1, 40, 400] as const;
/** Of the second step; the others are stand-ins. */
const REAL_ORDINALS = [1, 2, 3, 4, 5, 6, 7, 8] as const;
/** Builds beyond the number of builders. */
const SURPLUS = 5;
/** Names are asked for in vain all the time; their absence is remembered as CoreDNS does, here for this long, in milliseconds. */
export const NEGATIVE_CACHE_MS = 2_000;
/** A builder has its build this soon after its name can be had, on a machine with nothing else to do, in milliseconds. */
export const WITHIN_MS = 3_000;
const WAIT = { timeout: 90_000, interval: 50 };
/** Before HAProxy 3.2 a builder that is taken for dead for a moment is given a second build, which no gate turns away. */
const SLOW_CHECKS: Partial<BalancerModel> = { checkIntervalMs: 20_000 };

/** What of the load balancer is other than in a cluster: a check may last longer, as hundreds of stand-ins answer from one process. */
export const GROWTH_CHANGE: Partial<BalancerModel> = HAPROXY_COUNTS_EVERY_BUILD ? {} : SLOW_CHECKS;

export interface Step {
  readonly builders: number;
  /** Builds, in the order of joining, that were building when all of the step's builders were taken. */
  readonly building: readonly string[];
  readonly expected: readonly string[];
  /** What the scaler reads, before and after, less the builds that there are. */
  readonly demandErrors: readonly number[];
  /** From the moment at which no cache can deny the names any more to each build's builder, ascending. */
  readonly afterNamesMs: readonly number[];
  /** From the first answer with a stand-in's name to its build, ascending. */
  readonly afterAnswerMs: readonly number[];
}

export interface Growth {
  readonly steps: readonly Step[];
  readonly builds: readonly Build[];
  readonly standIns: readonly StandIn[];
}

/** With a pool AMD64 of at least 400 server lines, without TLS, NEGATIVE_CACHE_MS and GROWTH_CHANGE; nobody is there yet. */
export async function grow(rig: Rig, balancer: LoadBalancer): Promise<Growth> {
  const isReal = (ordinal: number): boolean => REAL_ORDINALS.some((real) => real === ordinal);
  const ordinals = Array.from({ length: STEPS.at(-1) ?? 0 }, (_, ordinal) => ordinal);
  const standIns = await rig.startStandIns(
    AMD64,
    ordinals.filter((ordinal) => !isReal(ordinal)),
  );
  await Promise.all([
    ...REAL_ORDINALS.map((ordinal) => rig.startBuilder(AMD64, ordinal, null)),
    // Until then the load balancer asks for no name.
    sleep(GATHERING_MS),
  ]);
  const times = joinTimes(ordinals.length + SURPLUS);
  const builds: Build[] = [];
  const steps: Step[] = [];
  const error = async (): Promise<number> => (await balancer.scalerDemand(AMD64)) - builds.length;
  for (const [index, builders] of STEPS.entries()) {
    const before = STEPS[index - 1] ?? 0;
    for (const joined of times.slice(builds.length, builders + SURPLUS))
      builds.push(rig.join(`${builds.length}`, rig.door(AMD64), joined));
    await until(async () => (await balancer.counters(AMD64)).queued === builds.length - before);
    const errorBefore = await error();
    const appeared = ordinals.slice(before, builders);
    for (const ordinal of appeared) rig.announce(AMD64, ordinal);
    const knownAt = performance.now() + NEGATIVE_CACHE_MS;
    const building = (): readonly Build[] => builds.filter(({ state }) => state === 'building');
    await until(() => building().length >= builders);
    steps.push({
      builders,
      building: building().map(({ name }) => name),
      expected: builds.slice(0, builders).map(({ name }) => name),
      demandErrors: [errorBefore, await error()],
      afterNamesMs: ascending(
        builds.slice(before, builders).map(({ grantedAt }) => (grantedAt ?? Number.NaN) - knownAt),
      ),
      afterAnswerMs: ascending(
        standIns
          .filter(({ ordinal }) => appeared.includes(ordinal))
          .map(({ ordinal, stays }) => {
            const answeredAt = rig.dns.firstAnswerAt(hostOf(AMD64, ordinal)) ?? Number.NaN;
            return (stays[0]?.from ?? Number.NaN) - answeredAt;
          }),
      ),
    });
  }
  return { steps, builds, standIns };
}

/** One line a step, for people. */
export function describeGrowth({ steps }: Growth): string {
  const figures = (values: readonly number[]): string =>
    `median ${Math.round(values[Math.floor(values.length / 2)] ?? 0)} ms, longest ${Math.round(values.at(-1) ?? 0)} ms`;
  return steps
    .map(
      ({ builders, afterNamesMs, afterAnswerMs }) =>
        `to ${builders} builders: a build after the names are known ${figures(afterNamesMs)}; after the answer ${figures(afterAnswerMs)}`,
    )
    .join('\n');
}

function ascending(values: readonly number[]): readonly number[] {
  return values.toSorted((one, other) => one - other);
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  await vi.waitUntil(condition, WAIT);
}
