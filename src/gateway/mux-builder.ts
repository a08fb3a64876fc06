/** The builder's side of the multiplexer: one pool connection and the streams that are open on it. */

import {
  type DataPiece,
  DEFAULT_MAX_FRAME_SIZE,
  DEFAULT_WINDOW,
  ErrorCode,
  Flag,
  FrameScanner,
  FrameType,
  MAX_WINDOW,
  parseSettings,
  SETTINGS_ACK,
  Setting,
  serialiseFrame,
  serialiseReset,
  serialiseSettings,
  serialiseWindowUpdate,
} from './frames.ts';
import { HeaderBlockAssembler, MAX_HEADER_BLOCK_BYTES } from './header-block.ts';
import { DEFAULT_TABLE_SIZE, HpackDecoder } from './hpack.ts';
import type { MethodTracker } from './methods.ts';
import type { BuilderSettings } from './mux-client.ts';
import type { MuxStream } from './mux-stream.ts';
import { grantLane, type Lane, Outlet } from './outlet.ts';
import { PaddedData } from './padded-data.ts';
import type { PoolConnection } from './pool-connection.ts';
import { describePoolEnd, type PoolEnd, type PoolEndCause } from './pool-end.ts';
import { grpcStatus } from './sniffer.ts';
import { LIST_WORKERS_PATH } from './stand-in.ts';

/** Bytes the builder may send on the connection ahead of us; what a stream may send is for its client to say. */
const POOL_WINDOW = 16 * 1024 * 1024;

/** Settings of the builder that are meant for whoever opens streams. */
const FORWARDED: ReadonlySet<number> = new Set([
  Setting.maxConcurrentStreams,
  Setting.initialWindowSize,
  Setting.maxHeaderListSize,
]);

/** Bytes of an answer that is listened to; a worker's record has about one kB. */
const MAX_HEARD_BYTES = 64 * 1024;

const PING_PAYLOAD = Buffer.from('bkp-ping', 'latin1');

export interface MuxBuilderEvents {
  settings(settings: BuilderSettings): void;
  /** Our PING was answered. */
  pong(): void;
  /** HEADERS or DATA came. */
  spoke(): void;
  /** A ListWorkers was answered with this protobuf message. */
  heard(workers: Buffer): void;
  /** `final`, when the builder has named its last stream: whether it will still answer a stream. */
  goaway(code: number, debug: Buffer, final: ((stream: MuxStream) => boolean) | undefined): void;
}

export class MuxBuilder {
  readonly connection: PoolConnection;
  readonly outlet: Outlet<MuxStream>;
  readonly ended: Promise<PoolEnd>;
  readonly #tracker: MethodTracker;
  readonly #events: MuxBuilderEvents;
  readonly #streams = new Map<number, MuxStream>();
  readonly #settings = new Map<number, number>();
  readonly #scanner: FrameScanner;
  readonly #blocks = new HeaderBlockAssembler();
  readonly #padded = new PaddedData();
  readonly #decoder = new HpackDecoder({
    tableBytes: DEFAULT_TABLE_SIZE,
    listBytes: 2 * MAX_HEADER_BLOCK_BYTES,
  });
  #nextStreamId = 1;
  #goaway = false;
  #toCredit = 0;
  #resolve: (end: PoolEnd) => void = () => {};

  constructor(connection: PoolConnection, tracker: MethodTracker, events: MuxBuilderEvents) {
    this.connection = connection;
    this.#tracker = tracker;
    this.#events = events;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.outlet = new Outlet<MuxStream>(connection.socket, {
      sent: (lane, bytes) => lane.owner.client.credit(bytes),
      open: (lane) => this.#open(lane),
      opened: (lane) => this.#grantOpened(lane),
      done: (lane) => this.#forget(lane.owner),
    });
    this.#scanner = new FrameScanner(
      {
        frame: (type, flags, streamId, payload) => this.#frame(type, flags, streamId, payload),
        data: (piece) => this.#data(piece),
      },
      { frameBytes: DEFAULT_MAX_FRAME_SIZE, dataBytes: DEFAULT_MAX_FRAME_SIZE },
    );
  }

  /** What clients have to be told. */
  get settings(): BuilderSettings {
    return this.#settings;
  }

  /** Whether it has said that it takes no new streams. */
  get goingAway(): boolean {
    return this.#goaway;
  }

  /** Our first frames, and the answer to the builder's. */
  start(): void {
    this.outlet.control(serialiseSettings([[Setting.initialWindowSize, 0]]));
    this.outlet.control(serialiseWindowUpdate(0, POOL_WINDOW - DEFAULT_WINDOW));
    // A new builder starts from the defaults, whatever the one before had said.
    this.#settings.set(Setting.initialWindowSize, DEFAULT_WINDOW);
    this.#settings.set(Setting.maxConcurrentStreams, 0xffff_ffff);
    this.#scanner.push(Buffer.from(this.connection.preamble));
    this.#events.settings(this.#settings);
  }

  /** @throws ProtocolError or HpackError when the builder breaks HTTP/2. */
  read(chunk: Buffer): void {
    this.#scanner.push(chunk);
  }

  openStreams(): MuxStream[] {
    return [...this.#streams.values()];
  }

  /** The client takes so many more bytes of a stream; fewer, when `bytes` is negative. */
  grant(stream: MuxStream, bytes: number): void {
    // A stream that is not open yet is granted all at once when it opens.
    if (stream.up.id === 0 || stream.builderClosed) return;
    stream.debt -= bytes;
    if (stream.debt >= 0) return;
    this.outlet.control(serialiseWindowUpdate(stream.up.id, -stream.debt));
    stream.debt = 0;
  }

  /** The client has given up a stream. */
  cancel(stream: MuxStream, code: number): void {
    const { id } = stream.up;
    if (id === 0 || this.#streams.get(id) !== stream) return;
    this.#streams.delete(id);
    this.outlet.drop(stream.up);
    this.#tracker.reset(id, 'client', code);
    stream.up.closing = true;
    stream.up.ended = true;
    this.outlet.control(serialiseReset(id, code));
    this.outlet.pump();
  }

  ping(): void {
    this.outlet.control(serialiseFrame(FrameType.ping, 0, 0, PING_PAYLOAD));
  }

  /** Settles how it ended; the first cause counts. */
  finish(cause: PoolEndCause, error?: Error): void {
    this.#resolve(describePoolEnd(cause, this.#tracker, error));
  }

  #open(lane: Lane<MuxStream>): boolean {
    const limit = this.#settings.get(Setting.maxConcurrentStreams) ?? 0;
    // The last ids of a connection are left alone: 2^30 streams are more than any build has.
    if (this.#goaway || this.#streams.size >= limit || this.#nextStreamId > 0x7fff_fff0) return false;
    const stream = lane.owner;
    lane.id = this.#nextStreamId;
    this.#nextStreamId += 2;
    lane.window = this.#settings.get(Setting.initialWindowSize) ?? DEFAULT_WINDOW;
    this.#streams.set(lane.id, stream);
    this.#tracker.opened(lane.id, stream.client.id, stream.path);
    if (stream.path === LIST_WORKERS_PATH) stream.heard = [];
    stream.debt = Math.max(0, -stream.down.window);
    return true;
  }

  /** The window of a stream that has just opened: all that its client has granted so far. */
  #grantOpened(lane: Lane<MuxStream>): void {
    const { window } = lane.owner.down;
    if (window > 0) this.outlet.control(serialiseWindowUpdate(lane.id, window));
  }

  #frame(type: number, flags: number, streamId: number, payload: Buffer): void {
    switch (type) {
      case FrameType.headers:
      case FrameType.continuation:
        this.#headers(type, flags, streamId, payload);
        return;
      case FrameType.rstStream:
        this.#reset(streamId, payload.readUInt32BE(0));
        return;
      case FrameType.settings:
        if ((flags & Flag.ack) === 0) this.#takeSettings(payload);
        return;
      case FrameType.ping:
        if ((flags & Flag.ack) === 0) {
          this.outlet.control(serialiseFrame(FrameType.ping, Flag.ack, 0, payload));
          this.outlet.flush();
        } else if (payload.equals(PING_PAYLOAD)) this.#events.pong();
        return;
      case FrameType.windowUpdate:
        this.#windowUpdate(streamId, payload.readUInt32BE(0) & MAX_WINDOW);
        return;
      case FrameType.goaway:
        this.#takeGoaway(payload);
        return;
      default:
        return;
    }
  }

  #headers(type: number, flags: number, streamId: number, payload: Buffer): void {
    const block = this.#blocks.take(type, flags, streamId, payload);
    if (block === undefined) return;
    // Decoded even when nobody wants them: the table must stay in step.
    const fields = this.#decoder.decode(block.block);
    this.#events.spoke();
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.answered = true;
    stream.responded = true;
    stream.client.outlet.headers(stream.down, fields, block.endStream);
    if (!block.endStream) return;
    const status = grpcStatus(fields);
    this.#tracker.ended(streamId, status);
    if (status === 0) this.#hear(stream);
    this.#builderEnded(stream);
  }

  /** The answer of a call that is listened to is whole. */
  #hear(stream: MuxStream): void {
    if (stream.heard === undefined) return;
    const framed = Buffer.concat(stream.heard);
    stream.heard = undefined;
    // One message, not compressed (gRPC over HTTP/2, "Length-Prefixed-Message").
    if (framed.length < 5 || framed[0] !== 0 || framed.readUInt32BE(1) !== framed.length - 5) return;
    this.#events.heard(framed.subarray(5));
  }

  #data(piece: DataPiece): void {
    this.#events.spoke();
    this.#credit(piece.end - piece.start);
    const stream = this.#streams.get(piece.streamId);
    if (stream === undefined) return;
    stream.answered = true;
    let carried: DataPiece = piece;
    if ((piece.flags & Flag.padded) !== 0) {
      const unpadded = this.#padded.take(piece);
      if (unpadded === undefined) return;
      carried = unpadded.piece;
      this.outlet.control(serialiseWindowUpdate(piece.streamId, unpadded.paddingBytes));
    }
    if (stream.heard !== undefined) {
      stream.heard.push(Buffer.from(carried.chunk.subarray(carried.start, carried.end)));
      if (stream.heard.reduce((bytes, part) => bytes + part.length, 0) > MAX_HEARD_BYTES)
        stream.heard = undefined;
    }
    stream.client.outlet.data(stream.down, carried);
    if (piece.left > 0 || (piece.flags & Flag.endStream) === 0) return;
    this.#tracker.ended(piece.streamId, undefined);
    this.#builderEnded(stream);
  }

  #credit(bytes: number): void {
    this.#toCredit += bytes;
    if (this.#toCredit < POOL_WINDOW / 4) return;
    this.outlet.control(serialiseWindowUpdate(0, this.#toCredit));
    this.#toCredit = 0;
  }

  #reset(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#streams.delete(streamId);
    this.#tracker.reset(streamId, 'builder', code);
    stream.builderClosed = true;
    this.outlet.drop(stream.up);
    stream.up.closing = true;
    stream.up.ended = true;
    stream.client.outlet.reset(stream.down, code);
    this.outlet.pump();
  }

  #takeSettings(payload: Buffer): void {
    const changed = new Map<number, number>();
    for (const [id, value] of parseSettings(payload)) {
      if (!FORWARDED.has(id)) continue;
      if (id === Setting.initialWindowSize) {
        const change = value - (this.#settings.get(id) ?? DEFAULT_WINDOW);
        for (const stream of this.#streams.values()) grantLane(stream.up, change);
      }
      this.#settings.set(id, value);
      changed.set(id, value);
    }
    this.outlet.control(SETTINGS_ACK);
    if (changed.size > 0) this.#events.settings(changed);
    this.outlet.pump();
  }

  #windowUpdate(streamId: number, bytes: number): void {
    if (streamId === 0) {
      this.outlet.grantConnection(bytes);
    } else {
      const stream = this.#streams.get(streamId);
      if (stream === undefined) return;
      grantLane(stream.up, bytes);
      if (!stream.up.closing || !stream.up.idle) {
        stream.client.outlet.control(serialiseWindowUpdate(stream.clientId, bytes));
      }
    }
    if (this.outlet.waits) this.outlet.pump();
  }

  #takeGoaway(payload: Buffer): void {
    this.#goaway = true;
    this.#tracker.goawayReceived();
    const last = payload.readUInt32BE(0) & MAX_WINDOW;
    const debug = Buffer.from(payload.subarray(8));
    const final = (stream: MuxStream) => stream.up.id !== 0 && stream.up.id <= last;
    this.#events.goaway(payload.readUInt32BE(4), debug, last === MAX_WINDOW ? undefined : final);
    for (const [id, stream] of this.#streams) {
      if (id <= last) continue;
      this.#streams.delete(id);
      this.#tracker.reset(id, 'builder', ErrorCode.refusedStream);
      stream.builderClosed = true;
    }
  }

  #builderEnded(stream: MuxStream): void {
    stream.builderClosed = true;
    this.#forget(stream);
  }

  /** A stream is done with when both sides have said their last. */
  #forget(stream: MuxStream): void {
    if (!stream.builderClosed || !stream.up.ended) return;
    this.#streams.delete(stream.up.id);
    // A place under MAX_CONCURRENT_STREAMS may have become free.
    if (this.outlet.waits) this.outlet.pump();
  }
}
