/**
 * The order of the line: HAProxy rules that turn the place token of a pool connection (src/queue/token.ts is the
 * other half of this contract) into a queue priority, so that builds are served in the order in which they joined,
 * however long they wait and however often they have to dial again. docs/line.md explains it to operators.
 *
 * HAProxy serves the lowest class first and, within a class, the first key at or after `now_ms - 2^19`, taken
 * circularly; a key is `(now_ms at queueing + offset) mod 2^20` (src/queue.c, the same from 2.6 to 3.4). So an order
 * left to HAProxy itself turns round after 524 s. Here both class and key depend on the token alone.
 */

import { PLACE_SETTING_ID, PLACE_TICK_MS } from '../queue/token.ts';

/** Ticks of the place token that share one priority class: 512 ticks of 256 ms are 131 s. A power of two. */
export const CLASS_TICKS = 512;

/** HAProxy's classes go from -2047 to 2047; the lowest is left to the plug that holds the placeholder's slot. */
export const LOWEST_CLASS = -2046;
export const PRIORITY_CLASSES = 2047 - LOWEST_CLASS + 1;

/** Classes kept below the time of the origin, for builds that joined before it: 24 h. */
export const OLDER_CLASSES = 660;

/**
 * Distance of two neighbouring keys in ms. HAProxy's two clocks, that of `date()` and that of the queue, differ by a
 * fraction of 1 ms, so 1 would be too few.
 */
export const KEY_STEP_MS = 2;

/**
 * The same before HAProxy 3.1, whose queue clock loses the time for which the process stood still (src/clock.c): at
 * real time a loss of 100 ms exchanges builds that joined within 100 ms, at 2 ms a tick it would be 13 s.
 */
export const OLD_KEY_STEP_MS = PLACE_TICK_MS;

/**
 * How far the keys of a class lie behind the point where HAProxy starts to read, in ms, when the class begins: just
 * passed, so that the point comes to them as late as it can, with room for a small jump of the clocks.
 */
export const KEY_MARGIN_MS = 4096;

/** How long a client that says nothing at all is listened to, before it is queued by its time of arrival. */
const INSPECT_DELAY = '5s';

const CLASS_MS = CLASS_TICKS * PLACE_TICK_MS;
const KEYS = 2 ** 20;
const OLDER_TICKS = OLDER_CLASSES * CLASS_TICKS;
const UINT32 = 2 ** 32 - 1;
const HALF_UINT32 = 2 ** 31;

/** What the line of one pool goes by. */
export interface PriorityOptions {
  /** `arrival`: nothing is read of what the client sends, and its place is the time at which it dialled. */
  readonly places: 'token' | 'arrival';
  /**
   * Builds that come through the socket with this identifier count as having joined so much earlier: they are served
   * before those who joined up to then, and in the order of joining among themselves. Nobody starves: whoever has
   * waited longer than the head start is ahead of all newcomers.
   */
  readonly headStarts: ReadonlyArray<{ readonly socketId: number; readonly headStartMs: number }>;
}

const PLAIN_LINE: PriorityOptions = { places: 'token', headStarts: [] };

/**
 * The lines of a HAProxy TCP frontend, without indentation, that give each client its place in the line of `backend`.
 * They leave the token as it was sent in `sess.place` (eight upper-case hexadecimal digits; not set for a client that
 * sent none) and the token that counts, in ticks, in `sess.tick`. Works with HAProxy 2.6 to 3.4.
 */
export function priorityRules(backend: string, options: PriorityOptions = PLAIN_LINE): readonly string[] {
  const origin = `proc.origin_${backend.replaceAll(/[^A-Za-z0-9]/g, '_')}`;
  // The origin is moved only while nobody is queued, so that all who wait are always measured from the same one.
  const setOrigin = `tcp-request content set-var(${origin}) var(sess.now),div(${CLASS_MS}),sub(${OLDER_CLASSES}),mul(${CLASS_TICKS})`;
  const setKey = (stepMs: number): string =>
    `tcp-request content set-var(sess.key) var(sess.tick),and(${CLASS_TICKS - 1}),mul(${stepMs}),sub(${KEY_MARGIN_MS})`;
  return [
    `tcp-request connection set-var(sess.tick) date(0,ms),div(${PLACE_TICK_MS}),and(${UINT32})`,
    ...(options.places === 'token' ? [`tcp-request inspect-delay ${INSPECT_DELAY}`, READ_PLACE] : []),
    'tcp-request content set-var(sess.now) date(0,ms)',
    ...(options.places === 'token' ? USE_PLACE : []),
    ...options.headStarts.map(
      ({ socketId, headStartMs }) =>
        `tcp-request content set-var(sess.tick) var(sess.tick),sub(${Math.round(headStartMs / PLACE_TICK_MS)}),and(${UINT32}) if { so_id ${socketId} }`,
    ),
    // Class: whole classes since the origin.
    `${setOrigin} unless { var(${origin}) -m found }`,
    `tcp-request content set-var(sess.age) var(sess.now),div(${PLACE_TICK_MS}),sub(${origin}),and(${UINT32})`,
    `${setOrigin} if { queue(${backend}) eq 0 } { var(sess.age) -m int ge ${2 * OLDER_TICKS} }`,
    `${setOrigin} if { var(sess.age) -m int ge ${PRIORITY_CLASSES * CLASS_TICKS} }`,
    `tcp-request content set-var(sess.since) var(sess.tick),sub(${origin}),and(${UINT32})`,
    `tcp-request content set-var(sess.since) int(0) if { var(sess.since) -m int ge ${HALF_UINT32} }`,
    `tcp-request content set-priority-class var(sess.since),div(${CLASS_TICKS}),add(${LOWEST_CLASS})`,
    // Offset: the key wanted, less the time, so that HAProxy's own addition of the time restores it.
    '.if version_atleast(3.1)',
    setKey(KEY_STEP_MS),
    '.else',
    setKey(OLD_KEY_STEP_MS),
    '.endif',
    `tcp-request content set-priority-offset var(sess.tick),div(${CLASS_TICKS}),mul(${CLASS_MS}),add(sess.key),sub(sess.now),and(${KEYS - 1}),sub(${KEYS / 2})`,
  ];
}

// Bytes 24 to 32 are the header of the first frame. An empty SETTINGS frame ends there, and a client that sent it says
// no more until it is served: byte 33 is asked for only if the header promises it.
const READ_PLACE = `tcp-request content set-var(sess.place) req.payload(35,4),hex if { req.payload(27,1),hex -m str 04 } !{ req.payload(24,3),hex -m str 000000 } { req.payload(33,2),hex -m str ${PLACE_SETTING_ID.toString(16).toUpperCase()} }`;

/** A place later than the arrival (a runner whose clock is ahead, or nonsense) counts as the arrival. */
const USE_PLACE: readonly string[] = [
  'tcp-request content set-var(sess.token) var(sess.place),hex2i if { var(sess.place) -m found }',
  `tcp-request content set-var(sess.ahead) var(sess.tick),sub(sess.token),and(${UINT32}) if { var(sess.token) -m found }`,
  `tcp-request content set-var(sess.tick) var(sess.token) if { var(sess.ahead) -m int lt ${HALF_UINT32} }`,
];
