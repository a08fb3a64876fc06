import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import type { PoolConnection } from '../gateway/pool-connection.ts';
import { DIAL_BACKOFF, delayMs } from './backoff.ts';
import type { Endpoint } from './endpoint.ts';
import { dialFailure, LineFailure } from './failure.ts';
import { openingBytes, readGreeting } from './preface.ts';
import { placeToken } from './token.ts';

export interface LineOptions {
  readonly endpoint: Endpoint;
  /** When this build joined, ms since the epoch, if it has a place already: it comes back to that one. */
  readonly joinedAtMs?: number | undefined;
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

/** A builder that is ours for as long as the connection stands. */
export interface Grant {
  readonly connection: PoolConnection & { readonly socket: Socket };
  readonly joinedAtMs: number;
  readonly grantedAtMs: number;
}

/** One attempt to connect, when nobody answers at all. */
const CONNECT_TIMEOUT_MS = 15_000;
/** Silence after which the kernel asks whether the other end is still there. Nothing else is ever sent while waiting. */
const KEEPALIVE_IDLE_MS = 15_000;
/** A connection closed within this time of being accepted was never in a line: the load balancer had no builder for it. */
const NO_BUILDER_WITHIN_MS = 1_000;

/**
 * Joins the line, holds the place for as long as it takes, and resolves the moment a builder is ours.
 *
 * The place is the time of joining: it goes along with every connection, so one that must be dialled again comes back
 * to its own place. Rejects with a `LineFailure` that says what stood in the way, never before the deadline unless no
 * later attempt could differ.
 */
export async function waitInLine(options: LineOptions): Promise<Grant> {
  const { endpoint, onStep = () => {}, random = Math.random } = options;
  const place = new Place(options.joinedAtMs);
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
      grant = await dial(endpoint, place, ended.signal, onStep);
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
        const retryInMs = delayMs(DIAL_BACKOFF, failuresInARow, random());
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

/** The place in line: fixed by the first answer of the pool, for better or worse, and kept from then on. */
class Place {
  /** Whether the load balancer holds the place at this moment. */
  held = false;
  everHeld: boolean;
  #joinedAtMs: number | undefined;

  constructor(joinedAtMs: number | undefined) {
    this.#joinedAtMs = joinedAtMs;
    this.everHeld = joinedAtMs !== undefined;
  }

  /** ms since the epoch. Taken when first asked for: right before the first bytes go out, or when the first dial fails. */
  joinedAtMs(): number {
    this.#joinedAtMs ??= Date.now();
    return this.#joinedAtMs;
  }
}

/** One connection, from dialling to the builder's acknowledgement. */
function dial(
  endpoint: Endpoint,
  place: Place,
  signal: AbortSignal,
  onStep: (step: LineStep) => void,
): Promise<Grant> {
  return new Promise((resolve, reject) => {
    onStep({ kind: 'dialling', atMs: Date.now() });
    const socket = connect({ host: endpoint.host, port: endpoint.port, noDelay: true });
    let connectedAtMs: number | undefined;
    let received: Buffer = Buffer.alloc(0);

    const connecting = setTimeout(() => {
      fail(
        new LineFailure(
          'unreachable',
          `${endpoint.url} can't be reached (no answer in ${CONNECT_TIMEOUT_MS / 1000} s)`,
        ),
      );
    }, CONNECT_TIMEOUT_MS);
    const release = () => {
      clearTimeout(connecting);
      signal.removeEventListener('abort', abandon);
      socket.off('connect', onConnect).off('data', onData).off('error', onError).off('close', onClose);
      place.held = false;
    };
    const fail = (failure: LineFailure) => {
      release();
      // A late error of a socket nobody looks at any more must not end the process.
      socket.on('error', () => {});
      socket.destroy();
      place.joinedAtMs();
      reject(failure);
    };
    const abandon = () => fail(signal.reason as LineFailure);
    const onConnect = () => {
      clearTimeout(connecting);
      connectedAtMs = Date.now();
      socket.setKeepAlive(true, KEEPALIVE_IDLE_MS);
      socket.write(openingBytes(placeToken(place.joinedAtMs())));
      place.held = true;
      onStep({ kind: 'queued', atMs: connectedAtMs, again: place.everHeld });
      place.everHeld = true;
    };
    const onData = (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const greeting = readGreeting(received);
      switch (greeting.kind) {
        case 'waiting':
          return;
        case 'granted':
          release();
          socket.pause();
          if (greeting.rest.length > 0) socket.unshift(greeting.rest);
          // Until the gateway listens; a connection that ends meanwhile shows as destroyed there.
          socket.on('error', () => {});
          resolve({
            connection: { socket, preamble: greeting.preamble },
            joinedAtMs: place.joinedAtMs(),
            grantedAtMs: Date.now(),
          });
          return;
        case 'going-away':
          fail(
            new LineFailure(
              isBrief(connectedAtMs) ? 'no-builder' : 'lost',
              `the builder that ${endpoint.url} led to was going away`,
            ),
          );
          return;
        case 'foreign':
          fail(
            new LineFailure(
              'not-buildkit',
              `${endpoint.url} is no BuildKit endpoint: it answered "${greeting.beginning}" (is TLS or another service on this port?)`,
            ),
          );
      }
    };
    const onError = (error: NodeJS.ErrnoException) => {
      if (connectedAtMs === undefined) fail(dialFailure(endpoint.url, error));
      else fail(lostFailure(endpoint, connectedAtMs, error));
    };
    const onClose = () => fail(lostFailure(endpoint, connectedAtMs ?? Date.now(), undefined));

    socket.on('connect', onConnect).on('data', onData).on('error', onError).on('close', onClose);
    signal.addEventListener('abort', abandon, { once: true });
    if (signal.aborted) abandon();
  });
}

function lostFailure(
  endpoint: Endpoint,
  connectedAtMs: number,
  error: NodeJS.ErrnoException | undefined,
): LineFailure {
  const how = error === undefined ? 'closed by the other end' : (error.code ?? error.message);
  const options = error === undefined ? {} : { cause: error };
  return isBrief(connectedAtMs)
    ? new LineFailure('no-builder', `${endpoint.url} has no builder yet (${how})`, options)
    : new LineFailure(
        'lost',
        `the connection to ${endpoint.url} was lost while waiting in line (${how})`,
        options,
      );
}

function isBrief(connectedAtMs: number | undefined): boolean {
  return connectedAtMs === undefined || Date.now() - connectedAtMs < NO_BUILDER_WITHIN_MS;
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
