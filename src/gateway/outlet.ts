/**
 * The sending side of one connection of the multiplexer: many streams, each with its own window and its own order,
 * over one connection window. What can go out at once is not copied: the header of a DATA frame is rewritten where
 * it stands in the chunk that was read, and frames that follow each other there leave as one write.
 */

import type { Writable } from 'node:stream';
import {
  type DataPiece,
  DEFAULT_MAX_FRAME_SIZE,
  DEFAULT_WINDOW,
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  MAX_WINDOW,
  ProtocolError,
  serialiseHeaderBlock,
  serialiseReset,
  writeFrameHeader,
} from './frames.ts';
import { encodeHeaders, type HeaderField } from './hpack.ts';

/** Bytes handed to a socket and not yet taken by the kernel, above which DATA waits in its lanes. */
export const SOCKET_HIGH_WATER_BYTES = 256 * 1024;

type Item =
  | { readonly kind: 'data'; readonly bytes: Buffer; readonly endStream: boolean }
  | { readonly kind: 'headers'; readonly fields: readonly HeaderField[]; readonly endStream: boolean }
  | { readonly kind: 'reset'; readonly code: number };

/** One stream in one direction. Frames leave in the order in which they were given. */
export class Lane<Owner> {
  readonly owner: Owner;
  /** Stream id on the connection it leads to; 0 while it has none. */
  id: number;
  /** Bytes of DATA the far end takes on this stream; below zero after it has shrunk its windows. */
  window: number;
  /** END_STREAM or RST_STREAM has gone out: nothing may follow. */
  ended = false;
  /** END_STREAM or RST_STREAM has been given, and may still wait. */
  closing = false;
  /** RST_STREAM has been given. */
  broken = false;
  readonly queue: Item[] = [];

  constructor(owner: Owner, id: number, window: number) {
    this.owner = owner;
    this.id = id;
    this.window = window;
  }

  get idle(): boolean {
    return this.queue.length === 0;
  }

  /** Bytes of the headers that wait here. */
  get headerBytes(): number {
    let bytes = 0;
    for (const item of this.queue) {
      if (item.kind !== 'headers') continue;
      for (const { name, value } of item.fields) bytes += name.length + value.length;
    }
    return bytes;
  }
}

export interface OutletEvents<Owner> {
  /** DATA has left, or was thrown away; its sender may send as much again. */
  sent(lane: Lane<Owner>, bytes: number): void;
  /** A lane without an id has something to send: gives it one, or says that it can't have one yet. */
  open(lane: Lane<Owner>): boolean;
  /** The lane has got its id, and its first HEADERS have gone out. */
  opened(lane: Lane<Owner>): void;
  /** The lane has sent its last frame. */
  done(lane: Lane<Owner>): void;
}

export class Outlet<Owner> {
  readonly #socket: Writable | undefined;
  readonly #events: OutletEvents<Owner>;
  /** Lanes with something to send, the one whose turn it is first. */
  readonly #waiting = new Set<Lane<Owner>>();
  #window = DEFAULT_WINDOW;
  #queuedBytes = 0;
  #opening = true;
  #corked = false;
  #pumping = false;
  /** Something changed while pumping: a lane that was passed over may be able to go on. */
  #pumpAgain = false;
  /** A stretch of a chunk that goes out as it stands. */
  #run: Buffer | undefined;
  #runStart = 0;
  #runEnd = 0;

  /** Without a socket, everything waits. */
  constructor(socket: Writable | undefined, events: OutletEvents<Owner>) {
    this.#socket = socket;
    this.#events = events;
  }

  /** Bytes of DATA that wait. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Whether anything waits. */
  get waits(): boolean {
    return this.#waiting.size > 0;
  }

  /** Takes over a lane that waited for an earlier connection. */
  adopt(lane: Lane<Owner>): void {
    if (!lane.idle) this.#waiting.add(lane);
    for (const item of lane.queue) if (item.kind === 'data') this.#queuedBytes += item.bytes.length;
  }

  /** Sends a frame of the connection itself, ahead of all that waits. */
  control(frame: Buffer): void {
    this.#write(frame);
  }

  /** @throws ProtocolError when the far end grants more than 2^31 - 1. */
  grantConnection(bytes: number): void {
    this.#window += bytes;
    if (this.#window > MAX_WINDOW) throw windowOverflow();
  }

  /** Sends a piece of a DATA frame as a frame of its own; only the last piece carries the end of the stream. */
  data(lane: Lane<Owner>, piece: DataPiece): void {
    const bytes = piece.end - piece.start;
    const endStream = piece.left === 0 && (piece.flags & Flag.endStream) !== 0;
    // A header at the very end of a chunk: its payload comes with the next.
    if (bytes === 0 && !endStream) return;
    if (!lane.idle || lane.id === 0 || !this.#fits(lane, bytes)) {
      const view = piece.chunk.subarray(piece.start, piece.end);
      // A small view would keep its whole chunk in memory.
      this.queueData(lane, view.length * 2 < piece.chunk.length ? Buffer.from(view) : view, endStream);
      return;
    }
    if (piece.header >= 0) {
      writeFrameHeader(
        piece.chunk,
        piece.header,
        bytes,
        FrameType.data,
        endStream ? Flag.endStream : 0,
        lane.id,
      );
      this.#extendRun(piece.chunk, piece.header, piece.end);
    } else {
      this.#write(dataHeader(bytes, endStream, lane.id));
      this.#extendRun(piece.chunk, piece.start, piece.end);
    }
    this.#account(lane, bytes);
    if (endStream) this.#end(lane);
  }

  /** DATA that is no view of a chunk, or can't go out yet. */
  queueData(lane: Lane<Owner>, bytes: Buffer, endStream: boolean): void {
    this.#queuedBytes += bytes.length;
    this.#queue(lane, { kind: 'data', bytes, endStream });
  }

  headers(lane: Lane<Owner>, fields: readonly HeaderField[], endStream: boolean): void {
    this.#queue(lane, { kind: 'headers', fields, endStream });
  }

  /** RST_STREAM, after all that the lane still has to send. */
  reset(lane: Lane<Owner>, code: number): void {
    this.#queue(lane, { kind: 'reset', code });
  }

  /** Throws away what the lane has not sent. */
  drop(lane: Lane<Owner>): void {
    this.#waiting.delete(lane);
    let bytes = 0;
    for (const item of lane.queue.splice(0)) if (item.kind === 'data') bytes += item.bytes.length;
    this.#queuedBytes -= bytes;
    if (bytes > 0) this.#events.sent(lane, bytes);
  }

  /** Sends what can be sent, one frame of each lane in turn. */
  pump(): void {
    if (this.#pumping) {
      this.#pumpAgain = true;
      return;
    }
    this.#pumping = true;
    do {
      this.#pumpAgain = false;
      for (const lane of this.#waiting) {
        if (this.#full) break;
        if (!this.#advance(lane)) continue;
        this.#waiting.delete(lane);
        if (!lane.idle) this.#waiting.add(lane);
      }
    } while (this.#pumpAgain);
    this.#pumping = false;
  }

  /** Hands everything to the socket; to be called at the end of each event. */
  flush(): void {
    this.#endRun();
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket?.uncork();
  }

  get #full(): boolean {
    return this.#socket === undefined || this.#socket.writableLength >= SOCKET_HIGH_WATER_BYTES;
  }

  #queue(lane: Lane<Owner>, item: Item): void {
    // After END_STREAM only a reset may follow: gRPC servers send one after early trailers.
    if (lane.broken || (lane.closing && item.kind !== 'reset')) return;
    if (item.kind === 'reset') lane.broken = true;
    if (item.kind === 'reset' || item.endStream) lane.closing = true;
    lane.queue.push(item);
    this.#waiting.add(lane);
    if (lane.queue.length === 1 && this.#advance(lane) && lane.idle) this.#waiting.delete(lane);
  }

  /** Sends one frame of a lane; false when it has to wait. */
  #advance(lane: Lane<Owner>): boolean {
    const item = lane.queue[0];
    if (item === undefined) return true;
    const opening = lane.id === 0;
    if (opening && !this.#events.open(lane)) return false;
    if (item.kind === 'data') return this.#advanceData(lane, item.bytes, item.endStream);
    lane.queue.shift();
    if (item.kind === 'reset') {
      this.#write(serialiseReset(lane.id, item.code));
      this.#end(lane);
      return true;
    }
    const block = encodeHeaders(item.fields, this.#opening);
    this.#opening = false;
    this.#write(serialiseHeaderBlock(lane.id, block, item.endStream, DEFAULT_MAX_FRAME_SIZE));
    if (opening) this.#events.opened(lane);
    if (item.endStream) this.#end(lane);
    return true;
  }

  #advanceData(lane: Lane<Owner>, bytes: Buffer, endStream: boolean): boolean {
    if (this.#full) return false;
    const room = Math.min(DEFAULT_MAX_FRAME_SIZE, lane.window, this.#window);
    if (bytes.length > 0 && room <= 0) return false;
    const part = bytes.subarray(0, Math.max(0, room));
    const whole = part.length === bytes.length;
    if (whole) lane.queue.shift();
    else lane.queue[0] = { kind: 'data', bytes: bytes.subarray(part.length), endStream };
    this.#queuedBytes -= part.length;
    this.#write(dataHeader(part.length, whole && endStream, lane.id));
    this.#write(part);
    this.#account(lane, part.length);
    if (whole && endStream) this.#end(lane);
    return true;
  }

  #fits(lane: Lane<Owner>, bytes: number): boolean {
    if (this.#full) return false;
    return bytes === 0 || (bytes <= lane.window && bytes <= this.#window);
  }

  #account(lane: Lane<Owner>, bytes: number): void {
    lane.window -= bytes;
    this.#window -= bytes;
    if (bytes > 0) this.#events.sent(lane, bytes);
  }

  #end(lane: Lane<Owner>): void {
    lane.ended = true;
    lane.closing = true;
    this.#events.done(lane);
  }

  #extendRun(chunk: Buffer, start: number, end: number): void {
    if (this.#run !== chunk || this.#runEnd !== start) {
      this.#endRun();
      this.#run = chunk;
      this.#runStart = start;
    }
    this.#runEnd = end;
  }

  #endRun(): void {
    const run = this.#run;
    if (run === undefined) return;
    this.#run = undefined;
    this.#put(run.subarray(this.#runStart, this.#runEnd));
  }

  #write(bytes: Buffer): void {
    this.#endRun();
    this.#put(bytes);
  }

  #put(bytes: Buffer): void {
    if (bytes.length === 0 || this.#socket?.writable !== true) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
    }
    this.#socket.write(bytes);
  }
}

/** Adds to a lane's window what the far end grants. @throws ProtocolError above 2^31 - 1. */
export function grantLane(lane: { window: number }, bytes: number): void {
  lane.window += bytes;
  if (lane.window > MAX_WINDOW) throw windowOverflow();
}

function windowOverflow(): ProtocolError {
  return new ProtocolError(ErrorCode.flowControlError, 'A window above 2^31 - 1 bytes');
}

function dataHeader(bytes: number, endStream: boolean, streamId: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  writeFrameHeader(header, 0, bytes, FrameType.data, endStream ? Flag.endStream : 0, streamId);
  return header;
}
