/** How a builder ends: never under a build. */
import { formatDuration } from '../../action/duration.ts';
import type { Architecture, ScaleDown } from '../config/model.ts';
import { derived, MINUTE_MS } from './derived.ts';
import type { DrainSizing } from './model.ts';

/** A build can still arrive for about 7 s after the pod has left DNS (answers' time to live plus the balancer's interval). */
const FIRST_LOOK_SECONDS = 15;
const LOOK_INTERVAL_SECONDS = 5;
const IDLE_LOOKS = 2;
/** buildkitd itself, after the drain: it closes its stores. */
export const STOP_SECONDS = 60;

export function sizeDrain(scaleDown: ScaleDown, { builds }: Architecture): DrainSizing {
  const least = leastGraceSeconds(builds.longestMs);
  const margin = Math.ceil(Math.max(builds.longestMs / 10, 5 * MINUTE_MS) / 1000);
  const grace = scaleDown.graceMs === null ? least + margin : Math.ceil(scaleDown.graceMs / 1000);
  const deadline = Math.max(grace - STOP_SECONDS, 0);
  const longestSeconds = Math.ceil(builds.longestMs / 1000);
  return {
    graceSeconds: derived(
      grace,
      scaleDown.graceMs === null
        ? `a build that arrives as the builder is told to end (${FIRST_LOOK_SECONDS} s), the longest build (${formatDuration(builds.longestMs)}), the last looks and the stop, and ${formatDuration(margin * 1000)} to spare`
        : '`scale-down.grace`',
    ),
    firstLookSeconds: derived(FIRST_LOOK_SECONDS, 'builds arrive by old DNS answers for about 7 s'),
    lookIntervalSeconds: derived(
      LOOK_INTERVAL_SECONDS,
      'often enough: an ended builder waits for nothing else',
    ),
    idleLooks: derived(IDLE_LOOKS, 'one look may fall between two connections of one build'),
    deadlineSeconds: derived(deadline, `the grace period less ${STOP_SECONDS} s in which buildkitd stops`),
    alertAfterSeconds: derived(
      Math.min(FIRST_LOOK_SECONDS + longestSeconds + 60, Math.max(deadline - 1, 1)),
      'the longest build should have ended: either it is longer than told, or the drain sees a ghost',
    ),
  };
}

/** The shortest grace period in which the longest build ends, whenever it came. */
export function leastGraceSeconds(longestMs: number): number {
  return FIRST_LOOK_SECONDS + Math.ceil(longestMs / 1000) + IDLE_LOOKS * LOOK_INTERVAL_SECONDS + STOP_SECONDS;
}
