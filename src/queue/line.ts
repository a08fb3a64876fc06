import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import { type Backoff, DIAL_BACKOFF, delayMs } from './backoff.ts';
import { dial, type Grant } from './dial.ts';
import type { Endpoint } from './endpoint.ts';
import { LineFailure } from './failure.ts';
import { Place } from './place.ts';
import type { TlsMaterial } from './tls.ts';

export type { Grant };

export interface LineOptions {
  readonly endpoint: Endpoint;
  /** When this build joined, ms since the epoch, if it has a place already: it comes back to that one. */
  readonly joinedAtMs?: number | undefined;
  /** Whether this line has held that place before; when left out, it has if there is one. */
  readonly rejoins?: boolean | undefined;
  /** Left out: plain TCP. */
  readonly tls?: TlsMaterial | undefined;
  /** How long one attempt to connect may last; 15 s when left out. */
  readonly connectTimeoutMs?: number | undefined;
  readonly backoff?: Backoff | undefined;
  /** How long to wait for a builder. The only bound: attempts are not counted. */
  readonly queueTimeoutMs: number;
  /** When that time is over, ms since the epoch, if the search began before now. */
  readonly deadlineAtMs?: number | undefined;
  /** Gives the place up. */
  readonly signal: AbortSignal;
  /** Told of every step, at once. */
  readonly onStep?: (step: LineStep) => void;
  /** Uniform in [0, 1); for tests. */
  readonly random?: () => number;
}

/**
 * A step on the way to a builder.
 * - `queued`: the load balancer has our place; `again` when it had it before.
 * - `failed`: not reached or lost, and dialled again after `retryInMs`.
 */
export type LineStep =
  | { readonly kind: 'dialling'; readonly atMs: number }
  | { readonly kind: 'queued'; readonly atMs: number; readonly again: boolean }
  | {
      readonly kind: 'failed';
      readonly atMs: number;
      readonly failure: LineFailure;
      readonly retryInMs: number;
    };

/** One attempt to connect, when nobody answers at all. */
export const CONNECT_TIMEOUT_MS = 15_000;

/**
 * Joins the line, holds the place for as long as it takes, and resolves the moment a builder is ours.
 *
 * The place is the time of joining: it goes along with every connection, so one that must be dialled again comes back
 * to its own place. Rejects with a `LineFailure` that says what stood in the way, never before the deadline unless no
 * later attempt could differ.
 */
export async function waitInLine(options: LineOptions): Promise<Grant> {
  const { endpoint, onStep = () => {}, random = Math.random, backoff = DIAL_BACKOFF } = options;
  const place = new Place(options.joinedAtMs, options.rejoins ?? options.joinedAtMs !== undefined);
  const ended = new AbortController();
  let last: LineFailure | undefined;
  let failuresInARow = 0;
  let grant: Grant | undefined;

  const cancel = () => ended.abort(new LineFailure('cancelled', 'cancelled while waiting for a builder'));
  const deadline = setTimeout(
    () => ended.abort(deadlineFailure(options, place, last)),
    // Node's timers hold 31 bits of ms; the inputs refuse more.
    options.deadlineAtMs === undefined
      ? options.queueTimeoutMs
      : Math.max(options.deadlineAtMs - Date.now(), 0),
  );
  options.signal.addEventListener('abort', cancel, { once: true });
  if (options.signal.aborted) cancel();
  try {
    const dialOnce = async () => {
      onStep({ kind: 'dialling', atMs: Date.now() });
      grant = await dial({
        endpoint,
        tls: options.tls,
        connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
        place,
        signal: ended.signal,
        onQueued: (atMs, again) => onStep({ kind: 'queued', atMs, again }),
      });
      return grant;
    };
    return await pRetry(dialOnce, {
      retries: Number.POSITIVE_INFINITY,
      // The delays are ours: p-retry's own jitter never falls below the full delay.
      minTimeout: 0,
      maxTimeout: 0,
      signal: ended.signal,
      shouldRetry: ({ error }) => error instanceof LineFailure && error.temporary,
      onFailedAttempt: async ({ error }) => {
        if (!(error instanceof LineFailure) || !error.temporary || ended.signal.aborted) return;
        last = error;
        // A place that was held for a while counts as reached: the first step back to it is a quick one.
        failuresInARow = error.code === 'lost' ? 1 : failuresInARow + 1;
        const retryInMs = delayMs(backoff, failuresInARow, random());
        onStep({ kind: 'failed', atMs: Date.now(), failure: error, retryInMs });
        await sleep(retryInMs, undefined, { signal: ended.signal }).catch(() => {});
      },
    });
  } catch (error) {
    // Given up in the very moment the builder became ours: it goes back at once.
    grant?.connection.socket.destroy();
    throw ended.signal.aborted ? ended.signal.reason : error;
  } finally {
    clearTimeout(deadline);
    options.signal.removeEventListener('abort', cancel);
  }
}

function deadlineFailure(options: LineOptions, place: Place, last: LineFailure | undefined): LineFailure {
  const seconds = Math.round(options.queueTimeoutMs / 1000);
  if (last === undefined && !place.everHeld) {
    return new LineFailure(
      'unreachable',
      `${options.endpoint.url} can't be reached (no answer in ${seconds} s)`,
    );
  }
  if (place.held || last === undefined) {
    return new LineFailure(
      'queue-timeout',
      `no builder became free within ${seconds} s: the pool is full, or ${options.endpoint.url} accepts connections without passing them on`,
    );
  }
  if (last.code === 'no-builder' || last.code === 'lost') {
    return new LineFailure('queue-timeout', `no builder within ${seconds} s: ${last.message}`, {
      cause: last,
    });
  }
  return new LineFailure('unreachable', `the pool was not reached within ${seconds} s: ${last.message}`, {
    cause: last,
  });
}
