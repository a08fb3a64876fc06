/**
 * One client and one pool connection, byte for byte. Nothing of HTTP/2 is taken part in beyond the beginning:
 * the client's preface is dropped and the builder's first frames are replayed to it.
 */

import type { Duplex } from 'node:stream';
import { ClientOpening } from './client-opening.ts';
import { DEFAULT_WINDOW, serialiseSettings } from './frames.ts';
import type { MethodTracker } from './methods.ts';
import type { PoolConnection } from './pool-connection.ts';
import { describePoolEnd, type PoolEnd, type PoolEndCause } from './pool-end.ts';
import { ConnectionSniffer } from './sniffer.ts';

/** Bytes taken from a client that has no builder yet: a default window of DATA and room for its header blocks. */
const HELD_BYTES = DEFAULT_WINDOW + 32 * 1024;

/**
 * Bytes handed to a socket and not yet taken by the kernel, above which its source is not read. Node's own mark is
 * one read: stopping and starting after every chunk cost a third of the throughput.
 */
const HIGH_WATER_BYTES = 512 * 1024;

/** Milliseconds the builder has to close its side after the client has left. */
const CLOSE_TIMEOUT_MS = 2_000;

/** The pool connection's half: the builder is ours, its client may not be there yet. */
export class Splice {
  readonly ended: Promise<PoolEnd>;
  readonly #pool: PoolConnection;
  readonly #tracker: MethodTracker;
  #resolve: (end: PoolEnd) => void = () => {};
  #over = false;
  #client: Duplex | undefined;
  #sniffer: ConnectionSniffer | undefined;
  /** What the builder sent before its client came: nothing but SETTINGS in practice. */
  readonly #early: Buffer[] = [];

  constructor(pool: PoolConnection, tracker: MethodTracker) {
    this.#pool = pool;
    this.#tracker = tracker;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const { socket } = pool;
    socket.on('data', (chunk: Buffer) => this.#fromBuilder(chunk));
    socket.on('end', () => {
      this.#finish('fin');
      this.#client?.end();
    });
    socket.on('error', (error: Error) => this.#finish('error', error));
    socket.on('close', () => {
      this.#finish('fin');
      this.#client?.end();
    });
    if (socket.destroyed || socket.readableEnded) queueMicrotask(() => this.#finish('fin'));
    socket.resume();
  }

  get over(): boolean {
    return this.#over;
  }

  /** Whether the pool connection can still take a client. */
  get free(): boolean {
    return !this.#over && this.#client === undefined;
  }

  /** Joins a client. From now on its bytes go to the builder, and back. */
  join(waiting: SplicedClient): void {
    const { socket } = this.#pool;
    const sniffer = new ConnectionSniffer(this.#tracker, 1);
    const client = waiting.socket;
    this.#client = client;
    this.#sniffer = sniffer;
    for (const bytes of [this.#pool.preamble, ...this.#early.splice(0)]) {
      if (bytes.length === 0) continue;
      client.write(bytes);
      sniffer.read('builder', bytes);
    }
    client.on('drain', () => socket.resume());
    socket.on('drain', () => client.resume());
    waiting.release((chunk) => {
      if (!socket.writable) return;
      socket.write(chunk);
      if (socket.writableLength > HIGH_WATER_BYTES) client.pause();
      sniffer.read('client', chunk);
    });
    client.on('end', () => this.#clientLeft());
    client.on('close', () => this.#clientLeft());
    socket.resume();
  }

  /** Gives the builder back at once, whatever is under way. */
  close(): void {
    this.#finish('closed');
    this.#pool.socket.destroy();
  }

  #fromBuilder(chunk: Buffer): void {
    const client = this.#client;
    if (client === undefined) {
      this.#early.push(chunk);
      if (this.#early.reduce((bytes, early) => bytes + early.length, 0) > HELD_BYTES)
        this.#pool.socket.pause();
      return;
    }
    if (client.writable) client.write(chunk);
    if (client.writableLength > HIGH_WATER_BYTES) this.#pool.socket.pause();
    this.#sniffer?.read('builder', chunk);
  }

  /** The client has closed, or half-closed: the builder is told, and has a moment to answer. */
  #clientLeft(): void {
    this.#finish('client-left');
    const { socket } = this.#pool;
    if (socket.destroyed || socket.writableEnded) return;
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS);
    socket.once('close', () => clearTimeout(timer));
    socket.end();
  }

  #finish(cause: PoolEndCause, error?: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#resolve(describePoolEnd(cause, this.#tracker, error));
  }
}

/**
 * A client of a splice. Until it is joined to a builder, it is kept content with a SETTINGS frame (Go clients
 * hang up after 20 s without one) and read only as far as it may send without an answer.
 */
export class SplicedClient {
  readonly socket: Duplex;
  readonly #opening: ClientOpening;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  #sink: ((chunk: Buffer) => void) | undefined;

  /** `waits`: no builder is ours yet. */
  constructor(socket: Duplex, options: { readonly waits: boolean }) {
    this.socket = socket;
    this.#opening = new ClientOpening({ dropAcknowledgement: options.waits });
    // A client's connection error is followed by 'close', which says all that matters.
    socket.on('error', () => {});
    if (options.waits) socket.write(serialiseSettings([]));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    // Nobody will ever answer a client that hung up while it waited.
    socket.on('end', () => {
      if (this.waits) socket.destroy();
    });
  }

  /** Whether it is not joined to a builder. */
  get waits(): boolean {
    return this.#sink === undefined;
  }

  /** Passes what was held, and everything after it, to `sink`. */
  release(sink: (chunk: Buffer) => void): void {
    this.#sink = sink;
    this.socket.resume();
    for (const chunk of this.#held.splice(0)) sink(chunk);
  }

  #take(chunk: Buffer): void {
    if (this.#opening.done && this.#sink !== undefined) {
      this.#sink(chunk);
      return;
    }
    let passed: Buffer[];
    try {
      passed = this.#opening.push(chunk);
    } catch {
      this.socket.destroy();
      return;
    }
    for (const part of passed) {
      if (this.#sink !== undefined) this.#sink(part);
      else this.#hold(part);
    }
  }

  #hold(part: Buffer): void {
    this.#held.push(part);
    this.#heldBytes += part.length;
    if (this.#heldBytes > HELD_BYTES) this.socket.pause();
  }
}
