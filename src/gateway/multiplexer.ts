/**
 * Several clients over one pool connection, at the level of HTTP/2 frames.
 *
 * Stream windows are end to end: the builder's streams start with a window of zero and are granted exactly what the
 * client grants, and the client is told the builder's windows. Connection windows are hop by hop, so a client that
 * is frozen holds up nobody else; what waits for it is bounded by its own stream windows, and by a total above which
 * the builder is no longer read and, if that lasts, the client that holds most is cut.
 * Stream priorities are not carried: RFC 9113 (section 5.3.2) has deprecated them, and gRPC sends none.
 */

import type { Duplex } from 'node:stream';
import { ErrorCode, Flag, FrameType, ProtocolError, serialiseFrame } from './frames.ts';
import { HpackError } from './hpack.ts';
import type { MethodTracker } from './methods.ts';
import { MuxBuilder } from './mux-builder.ts';
import { MuxClient } from './mux-client.ts';
import type { MuxStream } from './mux-stream.ts';
import { Outlet, SOCKET_HIGH_WATER_BYTES } from './outlet.ts';
import { PingRelay } from './ping-relay.ts';
import type { PoolConnection } from './pool-connection.ts';
import type { PoolEnd } from './pool-end.ts';
import type { Refusal, StandIn } from './stand-in.ts';

/** Clients at one time. Each may make us hold CLIENT_WINDOW bytes of its own. */
export const MAX_CLIENTS = 64;

/** Bytes for all clients together that wait for them, above which the builder is not read. */
export const MAX_WAITING_BYTES = 40 * 1024 * 1024;

/**
 * Bytes handed to a socket and not yet taken by the kernel, above which nothing is read that could add to them.
 * DATA stops at half of it by itself: what goes further are frames of the connection and headers, of which a client
 * that asks and does not listen would have any number made (RFC 9113, section 10.5).
 */
export const MAX_UNREAD_BYTES = 2 * SOCKET_HIGH_WATER_BYTES;

/** Milliseconds that state may last before the client with most bytes waiting is cut. */
const STUCK_TIMEOUT_MS = 10_000;

/** Milliseconds a client's PING waits for a frame of the builder before it is answered by us (see ping-relay.ts). */
const PING_TIMEOUT_MS = 1_000;

export interface MultiplexerEvents {
  readonly onClients?: (clients: number) => void;
  readonly onWarning?: (message: string) => void;
  /** A request has begun to wait for a builder, or none waits any more. */
  readonly onWanted?: (wanted: boolean) => void;
  /** Answers what it can while there is no builder; without it, everything waits. */
  readonly standIn?: StandIn;
  /** How long the clients may leave too much unread before the worst is cut, ms; for tests. */
  readonly stuckTimeoutMs?: number;
}

export class Multiplexer {
  readonly #tracker: MethodTracker;
  readonly #events: MultiplexerEvents;
  readonly #clients = new Set<MuxClient>();
  readonly #pings = new PingRelay<MuxClient>();
  #builder: MuxBuilder | undefined;
  /** Where streams wait while there is no builder. */
  #lobby: Outlet<MuxStream> | undefined;
  #nextClient = 1;
  #pingTimer: NodeJS.Timeout | undefined;
  #stuckTimer: NodeJS.Timeout | undefined;
  #wanted = false;

  constructor(tracker: MethodTracker, events: MultiplexerEvents = {}) {
    this.#tracker = tracker;
    this.#events = events;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Whether a request waits for a builder. */
  get wanted(): boolean {
    return this.#wanted;
  }

  /** Bytes that wait for clients. */
  get waitingBytes(): number {
    let bytes = 0;
    for (const client of this.#clients) bytes += client.unreadBytes;
    return bytes;
  }

  accept(socket: Duplex): void {
    if (this.#clients.size >= MAX_CLIENTS) {
      socket.on('error', () => {});
      socket.destroy();
      this.#events.onWarning?.(`A client was refused: there are ${MAX_CLIENTS} already`);
      return;
    }
    const client = new MuxClient(this.#nextClient++, socket, {
      upstream: () => this.#upstream(),
      available: () => this.#builder?.goingAway === false,
      grant: (stream, bytes) => this.#builder?.grant(stream, bytes),
      cancelled: (stream, code) => this.#builder?.cancel(stream, code),
      ping: (payload) => this.#ping(client, payload),
      standIn: (request) => this.#events.standIn?.answer(request) ?? { kind: 'hold' },
    });
    this.#clients.add(client);
    client.greet(this.#builder?.settings);
    client.outlet.flush();
    socket.on('data', (chunk: Buffer) => this.#readClient(client, chunk));
    socket.on('drain', () => this.#do(() => client.outlet.pump()));
    socket.on('error', () => {});
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.#clientLeft(client));
    this.#events.onClients?.(this.#clients.size);
  }

  /**
   * A builder that breaks HTTP/2 in its very first frames is lost as any other: its end says how.
   * @throws Error when a builder is attached that has not been lost.
   */
  attach(connection: PoolConnection): { readonly ended: Promise<PoolEnd> } {
    if (this.#builder !== undefined) throw new Error('The gateway already has a builder');
    this.#tracker.restart();
    const builder = new MuxBuilder(connection, this.#tracker, {
      settings: (settings) => {
        for (const client of this.#clients) client.tell(settings);
      },
      pong: () => this.#pong(this.#pings.answered()),
      spoke: () => this.#pings.builderSpoke(),
      heard: (workers) => this.#events.standIn?.heard(workers),
      goaway: (code, debug, final) => {
        for (const client of this.#clients) client.goaway(code, debug, final);
      },
    });
    this.#builder = builder;
    this.#lobby = undefined;
    const { socket } = connection;
    socket.on('data', (chunk: Buffer) => this.#readBuilder(builder, chunk));
    socket.on('drain', () => this.#do(() => builder.outlet.pump()));
    socket.on('error', (error: Error) => this.#lost(builder, 'error', error));
    socket.on('end', () => this.#lost(builder, 'fin'));
    socket.on('close', () => this.#lost(builder, 'fin'));
    this.#do(() => {
      try {
        builder.start();
      } catch (error) {
        this.#broken(builder, error);
        return;
      }
      this.#adoptWaiting(builder.outlet);
      builder.outlet.pump();
    });
    if (socket.destroyed || socket.readableEnded) queueMicrotask(() => this.#lost(builder, 'fin'));
    socket.resume();
    return builder;
  }

  /** Gives the builder back at once; the clients stay, and what they had begun there is lost. */
  detach(): void {
    if (this.#builder !== undefined) this.#lost(this.#builder, 'closed');
  }

  /** Tells those who wait for a builder that none will come. */
  refuse(refusal: Refusal): void {
    this.#do(() => {
      for (const client of this.#clients) client.refuse(refusal);
    });
  }

  close(): void {
    const builder = this.#builder;
    builder?.finish('closed');
    builder?.connection.socket.destroy();
    this.#builder = undefined;
    for (const client of this.#clients) client.socket.destroy();
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#stuckTimer);
  }

  #upstream(): Outlet<MuxStream> {
    if (this.#builder !== undefined) return this.#builder.outlet;
    this.#lobby ??= lobby();
    return this.#lobby;
  }

  #readClient(client: MuxClient, chunk: Buffer): void {
    this.#do(() => {
      try {
        client.read(chunk);
      } catch (error) {
        client.fail(error instanceof ProtocolError ? error.code : connectionErrorCode(error), String(error));
        this.#events.onWarning?.(`A client was cut: ${String(error)}`);
      }
    });
  }

  #readBuilder(builder: MuxBuilder, chunk: Buffer): void {
    this.#do(() => {
      try {
        builder.read(chunk);
      } catch (error) {
        this.#broken(builder, error);
      }
    });
  }

  #broken(builder: MuxBuilder, error: unknown): void {
    builder.connection.socket.destroy();
    this.#lost(builder, 'error', error instanceof Error ? error : new Error(String(error)));
  }

  /** Performs one event, then hands to the sockets what came of it. */
  #do(event: () => void): void {
    event();
    this.#startPing();
    const builder = this.#builder;
    builder?.outlet.flush();
    for (const client of this.#clients) client.outlet.flush();
    this.#restrain();
    this.#boundWaiting();
    this.#tracker.settle();
    this.#tellWanted();
  }

  #tellWanted(): void {
    // A builder takes everything; only one that goes away takes nothing new.
    const served = this.#builder?.goingAway === false;
    const wanted = !served && [...this.#clients].some((client) => client.waits);
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#events.onWanted?.(wanted);
  }

  #clientLeft(client: MuxClient): void {
    if (!this.#clients.delete(client)) return;
    this.#do(() => {
      for (const stream of [...client.streams.values()]) this.#builder?.cancel(stream, ErrorCode.cancel);
      for (const stream of client.streams.values()) this.#upstream().drop(stream.up);
      client.streams.clear();
    });
    this.#events.onClients?.(this.#clients.size);
  }

  #lost(builder: MuxBuilder, cause: 'fin' | 'error' | 'closed', error?: Error): void {
    if (this.#builder !== builder) return;
    this.#builder = undefined;
    builder.finish(cause, error);
    this.#do(() => {
      this.#pong(this.#pings.giveUpAll());
      const lost = builder.openStreams();
      for (const stream of lost) builder.outlet.drop(stream.up);
      for (const client of this.#clients)
        client.builderLost(lost.filter((stream) => stream.client === client));
      this.#lobby = lobby();
      this.#adoptWaiting(this.#lobby);
    });
    builder.connection.socket.destroy();
  }

  #adoptWaiting(outlet: Outlet<MuxStream>): void {
    for (const client of this.#clients) {
      for (const stream of client.streams.values()) if (stream.up.id === 0) outlet.adopt(stream.up);
    }
  }

  #ping(client: MuxClient, payload: Buffer): void {
    const ping = { client, payload: Buffer.from(payload) };
    if (this.#builder === undefined || !this.#pings.ask(ping)) this.#pong([ping]);
  }

  #startPing(): void {
    if (this.#builder !== undefined && this.#pings.start()) this.#builder.ping();
    if (this.#pings.waiting === 0) {
      clearTimeout(this.#pingTimer);
      this.#pingTimer = undefined;
    } else {
      this.#pingTimer ??= setTimeout(() => {
        this.#pingTimer = undefined;
        this.#do(() => this.#pong(this.#pings.giveUpWaiting()));
      }, PING_TIMEOUT_MS);
    }
  }

  #pong(pings: ReadonlyArray<{ readonly client: MuxClient; readonly payload: Buffer }>): void {
    for (const { client, payload } of pings) {
      client.outlet.control(serialiseFrame(FrameType.ping, Flag.ack, 0, payload));
      client.outlet.flush();
    }
  }

  /** Reads on from those only whose next frames have somewhere to go, and their answers, too. */
  #restrain(): void {
    const upstream = this.#builder?.connection.socket.writableLength ?? 0;
    for (const { socket } of this.#clients) {
      const full = Math.max(upstream, socket.writableLength) > MAX_UNREAD_BYTES;
      if (full && !socket.isPaused()) socket.pause();
      else if (!full && socket.isPaused()) socket.resume();
    }
  }

  #boundWaiting(): void {
    const stuck = this.waitingBytes > MAX_WAITING_BYTES;
    if (stuck && this.#stuckTimer === undefined) {
      this.#builder?.connection.socket.pause();
      this.#stuckTimer = setTimeout(() => {
        this.#stuckTimer = undefined;
        this.#cutFullest();
      }, this.#events.stuckTimeoutMs ?? STUCK_TIMEOUT_MS);
    } else if (!stuck && this.#stuckTimer !== undefined) {
      clearTimeout(this.#stuckTimer);
      this.#stuckTimer = undefined;
      this.#builder?.connection.socket.resume();
    }
  }

  #cutFullest(): void {
    const fullest = [...this.#clients].sort((a, b) => b.unreadBytes - a.unreadBytes)[0];
    if (fullest === undefined) return;
    this.#events.onWarning?.(
      `A client that does not read was cut: ${fullest.unreadBytes} bytes were waiting for it`,
    );
    fullest.socket.destroy();
    this.#builder?.connection.socket.resume();
  }
}

function connectionErrorCode(error: unknown): number {
  return error instanceof HpackError ? ErrorCode.compressionError : ErrorCode.internalError;
}

/** An outlet that leads nowhere: no lane can open in it. */
function lobby(): Outlet<MuxStream> {
  return new Outlet(undefined, {
    sent: (lane, bytes) => lane.owner.client.credit(bytes),
    open: () => false,
    opened: () => {},
    done: () => {},
  });
}
