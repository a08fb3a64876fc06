/**
 * Exponential backoff with full jitter: any delay between nothing and a doubling bound is as likely as any other,
 * so that a fleet whose load balancer restarts does not come back in waves.
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
 */
export interface Backoff {
  /** Bound of the first delay, ms. */
  readonly baseMs: number;
  /** Bound that is never exceeded, ms. */
  readonly capMs: number;
}

/**
 * For dialling the pool. The cap is part of the contract with the load balancer: after a restart it lets nobody through
 * for a little longer than this, so that all who waited are back in their places before the first is served.
 */
export const DIAL_BACKOFF: Backoff = { baseMs: 250, capMs: 4_000 };

/** The upper bound in ms of the delay after the `failures`-th failure in a row (1 is the first). */
export function delayBoundMs(backoff: Backoff, failures: number): number {
  // 2 ** 40 is far above any cap; the clamp keeps the power finite.
  return Math.min(backoff.capMs, backoff.baseMs * 2 ** Math.min(Math.max(failures, 1) - 1, 40));
}

/** The delay in ms after the `failures`-th failure in a row; `random` is uniform in [0, 1). */
export function delayMs(backoff: Backoff, failures: number, random: number): number {
  return Math.floor(delayBoundMs(backoff, failures) * random);
}
