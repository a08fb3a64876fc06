import { connect, type Socket } from 'node:net';
import type { PoolConnection } from '../gateway/pool-connection.ts';
import type { Endpoint } from './endpoint.ts';
import { dialFailure, LineFailure } from './failure.ts';
import type { Place } from './place.ts';
import { openingBytes, readGreeting } from './preface.ts';
import { startTls, type TlsMaterial, tlsFailure } from './tls.ts';
import { placeToken } from './token.ts';

/** A builder that is ours for as long as the connection stands. */
export interface Grant {
  readonly connection: PoolConnection & { readonly socket: Socket };
  readonly joinedAtMs: number;
  readonly grantedAtMs: number;
}

export interface DialOptions {
  readonly endpoint: Endpoint;
  /** Left out: plain TCP. */
  readonly tls: TlsMaterial | undefined;
  /** For TCP and TLS together, until the connection stands. */
  readonly connectTimeoutMs: number;
  readonly place: Place;
  /** Its reason is the `LineFailure` to end with. */
  readonly signal: AbortSignal;
  /** The load balancer has our place; `again` when it had it before. */
  readonly onQueued: (atMs: number, again: boolean) => void;
}

/** Silence after which the kernel asks whether the other end is still there. Nothing else is ever sent while waiting. */
const KEEPALIVE_IDLE_MS = 15_000;
/** A connection closed within this time of being accepted was never in a line: the load balancer had no builder for it. */
const NO_BUILDER_WITHIN_MS = 1_000;

/** One connection, from dialling to the builder's acknowledgement. Rejects with a `LineFailure`. */
export function dial(options: DialOptions): Promise<Grant> {
  const { endpoint, tls, place, signal } = options;
  return new Promise((resolve, reject) => {
    const tcp = connect({ host: endpoint.host, port: endpoint.port, noDelay: true });
    /** What bytes are read from and written to: with TLS, the decrypted side. */
    let socket: Socket = tcp;
    let connectedAtMs: number | undefined;
    let received: Buffer = Buffer.alloc(0);

    const connecting = setTimeout(() => {
      const what = socket === tcp ? 'no answer' : 'no end of the TLS handshake';
      const seconds = options.connectTimeoutMs / 1000;
      fail(new LineFailure('unreachable', `${endpoint.url} can't be reached (${what} in ${seconds} s)`));
    }, options.connectTimeoutMs);
    const listen = () => socket.on('data', onData).on('error', onError).on('close', onClose);
    const ignore = () => socket.off('data', onData).off('error', onError).off('close', onClose);
    const release = () => {
      clearTimeout(connecting);
      signal.removeEventListener('abort', abandon);
      ignore();
      place.held = false;
    };
    const fail = (failure: LineFailure) => {
      release();
      // A late error of a socket nobody looks at any more must not end the process.
      socket.on('error', () => {});
      socket.destroy();
      tcp.destroy();
      place.joinedAtMs();
      reject(failure);
    };
    const abandon = () => fail(signal.reason as LineFailure);
    const onTcp = () => {
      tcp.setKeepAlive(true, KEEPALIVE_IDLE_MS);
      if (tls === undefined) {
        onConnected();
        return;
      }
      ignore();
      tcp.on('error', () => {});
      try {
        socket = startTls(tcp, endpoint.host, tls).once('secureConnect', onConnected);
      } catch (error) {
        fail(new LineFailure('tls-refused', `TLS to ${endpoint.url} can't be begun: ${String(error)}`));
        return;
      }
      listen();
    };
    const onConnected = () => {
      clearTimeout(connecting);
      connectedAtMs = Date.now();
      socket.write(openingBytes(placeToken(place.joinedAtMs())));
      place.held = true;
      options.onQueued(connectedAtMs, place.everHeld);
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
              `${endpoint.url} is no BuildKit endpoint: it answered "${greeting.beginning}" (${tls === undefined ? 'is TLS or another service on this port?' : 'is another service on this port?'})`,
            ),
          );
      }
    };
    const onError = (error: NodeJS.ErrnoException) => {
      const untrusted = tls === undefined ? undefined : tlsFailure(endpoint.url, tls, error);
      if (untrusted !== undefined) fail(untrusted);
      else if (connectedAtMs === undefined) fail(dialFailure(endpoint.url, error));
      else fail(lostFailure(options, connectedAtMs, error));
    };
    const onClose = () => fail(lostFailure(options, connectedAtMs, undefined));

    tcp.once('connect', onTcp);
    listen();
    signal.addEventListener('abort', abandon, { once: true });
    if (signal.aborted) abandon();
  });
}

function lostFailure(
  { endpoint, tls }: DialOptions,
  connectedAtMs: number | undefined,
  error: NodeJS.ErrnoException | undefined,
): LineFailure {
  const how = error === undefined ? 'closed by the other end' : (error.code ?? error.message);
  const options = error === undefined ? {} : { cause: error };
  if (!isBrief(connectedAtMs)) {
    return new LineFailure(
      'lost',
      `the connection to ${endpoint.url} was lost while waiting in line (${how})`,
      options,
    );
  }
  // What a port for TLS does with a client that speaks none; and with one whose certificate it wants and does not get,
  // where the network loses the alert that should have said so.
  const hint =
    tls === undefined
      ? '; should this go on, see whether the port is one for TLS'
      : tls.cert === undefined
        ? '; should this go on, give `cert` and `key`'
        : '';
  return new LineFailure('no-builder', `${endpoint.url} has no builder yet (${how}${hint})`, options);
}

function isBrief(connectedAtMs: number | undefined): boolean {
  return connectedAtMs === undefined || Date.now() - connectedAtMs < NO_BUILDER_WITHIN_MS;
}
