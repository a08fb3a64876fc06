/**
 * The place token: the time of joining the line, carried in the first SETTINGS frame of a pool connection.
 * The load balancer turns it into a queue priority (src/pool/priority.ts is the other half of this contract);
 * BuildKit ignores it, as HTTP/2 requires of unknown settings (RFC 9113, section 6.5.2).
 */

/** Identifier of the HTTP/2 setting that carries the token. Unassigned by IANA. */
export const PLACE_SETTING_ID = 0xf000;

/** Milliseconds a token tick lasts: builds that join within one tick are served in the order of their arrival. */
export const PLACE_TICK_MS = 256;

const TOKEN_VALUES = 2 ** 32;

/** The token of a build that joined at `joinedAtMs` (ms since the epoch): an unsigned 32-bit count of ticks. */
export function placeToken(joinedAtMs: number): number {
  return Math.floor(joinedAtMs / PLACE_TICK_MS) % TOKEN_VALUES;
}
