/** A client of the multiplexer: its connection, its streams, and what it has been told. */

import type { Duplex } from 'node:stream';
import {
  CLIENT_PREFACE,
  type DataPiece,
  DEFAULT_MAX_FRAME_SIZE,
  DEFAULT_WINDOW,
  ErrorCode,
  Flag,
  FrameScanner,
  FrameType,
  MAX_WINDOW,
  ProtocolError,
  parseSettings,
  SETTINGS_ACK,
  Setting,
  serialiseGoaway,
  serialiseSettings,
  serialiseWindowUpdate,
} from './frames.ts';
import { HeaderBlockAssembler } from './header-block.ts';
import { DEFAULT_TABLE_SIZE, type HeaderField, HpackDecoder } from './hpack.ts';
import { BRIDGE_PATH, SOLVE_PATH } from './methods.ts';
import { MuxStream } from './mux-stream.ts';
import { grantLane, Outlet } from './outlet.ts';
import { PaddedData } from './padded-data.ts';
import { fieldValue } from './sniffer.ts';
import { GrpcStatus, type Refusal, type Request, type StandInAnswer } from './stand-in.ts';

/** Bytes of DATA a client may send that have not gone on to the builder. */
export const CLIENT_WINDOW = 512 * 1024;

/** Bytes of a request's headers. */
const MAX_REQUEST_HEADER_BYTES = 1024 * 1024;

/** Open streams of one client. */
const MAX_STREAMS = 1_000;

/** Bytes of headers of a client's requests that wait for a builder; a build's are a few kB. */
export const MAX_WAITING_HEADER_BYTES = 4 * 1024 * 1024;

const BUILDER_LOST: Refusal = {
  status: GrpcStatus.unavailable,
  message: 'the connection to the builder was lost',
};

/** The builder's SETTINGS that clients have to know, by identifier. */
export type BuilderSettings = ReadonlyMap<number, number>;

export interface MuxClientEvents {
  /** Where requests go. */
  upstream(): Outlet<MuxStream>;
  /** Whether there is a builder that takes new streams. */
  available(): boolean;
  /** The client takes so many more bytes of a stream. */
  grant(stream: MuxStream, bytes: number): void;
  /** The client has reset a stream. */
  cancelled(stream: MuxStream, code: number): void;
  ping(payload: Buffer): void;
  /** What becomes of a request while there is no builder that takes it. */
  standIn(request: Request): StandInAnswer;
}

export class MuxClient {
  readonly id: number;
  readonly socket: Duplex;
  readonly outlet: Outlet<MuxStream>;
  readonly streams = new Map<number, MuxStream>();
  readonly #events: MuxClientEvents;
  readonly #scanner: FrameScanner;
  readonly #blocks = new HeaderBlockAssembler(MAX_REQUEST_HEADER_BYTES);
  readonly #padded = new PaddedData();
  readonly #decoder = new HpackDecoder({
    tableBytes: DEFAULT_TABLE_SIZE,
    listBytes: 2 * MAX_REQUEST_HEADER_BYTES,
  });
  /** What the client has been told of the builder's settings. */
  readonly #told = new Map<number, number>();
  #prefaceLeft = CLIENT_PREFACE.length;
  /** SETTINGS_INITIAL_WINDOW_SIZE of the client. */
  #initialWindow = DEFAULT_WINDOW;
  #lastStreamId = 0;
  /** DATA the client has sent and may not yet send again. */
  #unacknowledged = 0;
  #toCredit = 0;
  #goneAway = false;
  #failed = false;
  /** What all its requests are answered until there is a builder: see builderLost and refuse. */
  #refusal: Refusal | undefined;

  constructor(id: number, socket: Duplex, events: MuxClientEvents) {
    this.id = id;
    this.socket = socket;
    this.#events = events;
    this.outlet = new Outlet<MuxStream>(socket, {
      sent: () => {},
      open: () => true,
      opened: () => {},
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

  /** What waits for it: DATA in its lanes, and whatever its socket has not taken yet. */
  get unreadBytes(): number {
    return this.outlet.queuedBytes + this.socket.writableLength;
  }

  /** The first frames a client gets: they keep it content until there is a builder. */
  greet(settings: BuilderSettings | undefined): void {
    const wanted = [...(settings ?? [])];
    for (const [id, value] of wanted) this.#told.set(id, value);
    this.outlet.control(serialiseSettings(wanted));
    this.outlet.control(serialiseWindowUpdate(0, CLIENT_WINDOW - DEFAULT_WINDOW));
  }

  /** Passes on the builder's settings, as far as the client does not know them. */
  tell(settings: BuilderSettings): void {
    this.#refusal = undefined;
    const news = [...settings].filter(([id, value]) => this.#told.get(id) !== value);
    if (news.length === 0) return;
    for (const [id, value] of news) this.#told.set(id, value);
    this.outlet.control(serialiseSettings(news));
  }

  /** @throws ProtocolError or HpackError when the client breaks HTTP/2. */
  read(chunk: Buffer): void {
    if (this.#failed) return;
    let frames = chunk;
    if (this.#prefaceLeft > 0) {
      const from = CLIENT_PREFACE.length - this.#prefaceLeft;
      const part = chunk.subarray(0, this.#prefaceLeft);
      if (!part.equals(CLIENT_PREFACE.subarray(from, from + part.length))) {
        throw new ProtocolError(ErrorCode.protocolError, 'it does not speak HTTP/2');
      }
      this.#prefaceLeft -= part.length;
      frames = chunk.subarray(part.length);
    }
    this.#scanner.push(frames);
  }

  /** DATA of this client has gone on: it may send as much again. */
  credit(bytes: number): void {
    this.#toCredit += bytes;
    if (this.#toCredit < CLIENT_WINDOW / 4) return;
    this.outlet.control(serialiseWindowUpdate(0, this.#toCredit));
    this.#unacknowledged -= this.#toCredit;
    this.#toCredit = 0;
  }

  /**
   * The builder takes no more streams. `final` tells which of its streams it will still answer; without it, all.
   * Streams that it will not answer are for the client to send again, on a connection of its own choice.
   */
  goaway(code: number, debug: Buffer, final: ((stream: MuxStream) => boolean) | undefined): void {
    this.#goneAway = true;
    let last = MAX_WINDOW;
    if (final !== undefined) {
      last = 0;
      for (const [id, stream] of this.streams) if (final(stream)) last = Math.max(last, id);
      for (const [id, stream] of [...this.streams]) {
        if (final(stream)) continue;
        if (id < last) this.outlet.reset(stream.down, ErrorCode.refusedStream);
        this.#events.upstream().drop(stream.up);
        this.streams.delete(id);
      }
    }
    this.outlet.control(serialiseGoaway(last, code, debug));
  }

  /**
   * The builder is gone, and with it `lost` of this client's streams. A client that had begun something there has
   * all of it answered UNAVAILABLE, and whatever it still asks for until there is a builder: what it began can't be
   * ended elsewhere, and it must not wait for another builder only to be told so. One that had begun nothing is
   * refused, which gRPC clients take as leave to send the request again, once, by themselves.
   */
  builderLost(lost: readonly MuxStream[]): void {
    const open = lost.filter((stream) => !stream.builderClosed);
    if (open.some((stream) => stream.answered || stream.path === SOLVE_PATH)) this.#refusal = BUILDER_LOST;
    for (const stream of lost) {
      const clientEnded = stream.up.closing;
      stream.up.closing = true;
      stream.up.ended = true;
      if (stream.builderClosed) this.#forget(stream);
      else if (this.#refusal !== undefined) this.#refuse(stream, this.#refusal, clientEnded);
      else this.outlet.reset(stream.down, ErrorCode.refusedStream);
      stream.builderClosed = true;
    }
    if (this.#refusal !== undefined) this.#refuseWaiting(this.#refusal);
  }

  /** Whether a request of it waits for a builder. */
  get waits(): boolean {
    for (const { up } of this.streams.values()) if (up.id === 0 && !up.idle) return true;
    return false;
  }

  /**
   * No builder will come for what waits: it is answered, and so is whatever the client asks for until there is one.
   * buildx answers a ListWorkers that fails with an Info of its own, and shows what becomes of that.
   */
  refuse(refusal: Refusal): void {
    if (!this.waits) return;
    this.#refusal = refusal;
    this.#refuseWaiting(refusal);
  }

  #refuseWaiting(refusal: Refusal): void {
    for (const stream of [...this.streams.values()]) {
      if (stream.up.id !== 0 || stream.down.closing) continue;
      const clientEnded = stream.up.closing;
      this.#events.upstream().drop(stream.up);
      stream.up.closing = true;
      this.#refuse(stream, refusal, clientEnded);
    }
  }

  #refuse(stream: MuxStream, refusal: Refusal, clientEnded: boolean): void {
    const trailers = [
      field('grpc-status', String(refusal.status)),
      field('grpc-message', encodeStatusMessage(refusal.message)),
    ];
    this.outlet.headers(stream.down, stream.responded ? trailers : [...RESPONSE, ...trailers], true);
    if (!clientEnded) this.outlet.reset(stream.down, ErrorCode.noError);
  }

  /** Answers a unary call in the builder's stead. */
  #reply(stream: MuxStream, message: Buffer, clientEnded: boolean): void {
    // A gRPC message: not compressed, its length, itself.
    const framed = Buffer.alloc(5 + message.length);
    framed.writeUInt32BE(message.length, 1);
    message.copy(framed, 5);
    this.outlet.headers(stream.down, RESPONSE, false);
    this.outlet.queueData(stream.down, framed, false);
    this.outlet.headers(stream.down, [field('grpc-status', '0')], true);
    if (!clientEnded) this.outlet.reset(stream.down, ErrorCode.noError);
  }

  /** The client broke HTTP/2: it is told, and hung up on. */
  fail(code: number, message: string): void {
    this.#failed = true;
    this.outlet.control(serialiseGoaway(this.#lastStreamId, code, message));
    this.outlet.flush();
    this.socket.end(() => this.socket.destroy());
  }

  #frame(type: number, flags: number, streamId: number, payload: Buffer): void {
    if (this.#blocks.open && type !== FrameType.continuation) {
      throw new ProtocolError(ErrorCode.protocolError, 'a frame within a header block');
    }
    switch (type) {
      case FrameType.headers:
      case FrameType.continuation: {
        const block = this.#blocks.take(type, flags, streamId, payload);
        if (block !== undefined) this.#headers(streamId, this.#decoder.decode(block.block), block.endStream);
        return;
      }
      case FrameType.rstStream:
        this.#reset(streamId, readNumber(payload));
        return;
      case FrameType.settings:
        if ((flags & Flag.ack) === 0) this.#settings(payload);
        return;
      case FrameType.ping:
        if (payload.length !== 8)
          throw new ProtocolError(ErrorCode.protocolError, 'a PING of a broken length');
        if ((flags & Flag.ack) === 0) this.#events.ping(payload);
        return;
      case FrameType.windowUpdate:
        this.#windowUpdate(streamId, readNumber(payload) & MAX_WINDOW);
        return;
      default:
        // PRIORITY and unknown types mean nothing here; a client's GOAWAY is followed by its hanging up.
        return;
    }
  }

  #headers(streamId: number, fields: readonly HeaderField[], endStream: boolean): void {
    const known = this.streams.get(streamId);
    if (known !== undefined) {
      this.#events.upstream().headers(known.up, fields, endStream);
      this.#forget(known);
      return;
    }
    // A stream that was reset by us, in answer to which its trailers have crossed.
    if (streamId <= this.#lastStreamId) return;
    if (streamId % 2 === 0) throw new ProtocolError(ErrorCode.protocolError, 'a stream with an even id');
    this.#lastStreamId = streamId;
    const stream = new MuxStream(this, streamId, fieldValue(fields, ':path') ?? '', this.#initialWindow);
    if (
      this.streams.size >= MAX_STREAMS ||
      this.#goneAway ||
      this.#waitingHeaderBytes() > MAX_WAITING_HEADER_BYTES
    ) {
      this.outlet.reset(stream.down, ErrorCode.refusedStream);
      return;
    }
    this.streams.set(streamId, stream);
    if (!this.#events.available()) {
      // A call of a build whose Solve went over another connection, to a builder that is gone or going.
      if (stream.path.startsWith(BRIDGE_PATH) && !this.#solving()) this.#refusal = BUILDER_LOST;
      const answer: StandInAnswer =
        this.#refusal === undefined
          ? this.#events.standIn({
              path: stream.path,
              hasDeadline: fieldValue(fields, 'grpc-timeout') !== undefined,
              traced: fieldValue(fields, 'traceparent') !== undefined,
            })
          : { kind: 'refuse', ...this.#refusal };
      if (answer.kind !== 'hold') {
        stream.up.closing = true;
        if (answer.kind === 'refuse') this.#refuse(stream, answer, endStream);
        else this.#reply(stream, answer.message, endStream);
        return;
      }
    }
    this.#events.upstream().headers(stream.up, fields, endStream);
  }

  #waitingHeaderBytes(): number {
    let bytes = 0;
    for (const { up } of this.streams.values()) if (up.id === 0) bytes += up.headerBytes;
    return bytes;
  }

  #solving(): boolean {
    for (const { path } of this.streams.values()) if (path === SOLVE_PATH) return true;
    return false;
  }

  #data(piece: DataPiece): void {
    if (this.#blocks.open) throw new ProtocolError(ErrorCode.protocolError, 'DATA within a header block');
    const bytes = piece.end - piece.start;
    this.#unacknowledged += bytes;
    if (this.#unacknowledged > CLIENT_WINDOW) {
      throw new ProtocolError(ErrorCode.flowControlError, 'more DATA than its window');
    }
    if ((piece.flags & Flag.padded) === 0) {
      this.#sendUp(piece);
      return;
    }
    const unpadded = this.#padded.take(piece);
    if (unpadded === undefined) return;
    this.#sendUp(unpadded.piece);
    this.credit(unpadded.paddingBytes);
    if (this.streams.has(piece.streamId)) {
      this.outlet.control(serialiseWindowUpdate(piece.streamId, unpadded.paddingBytes));
    }
  }

  #sendUp(piece: DataPiece): void {
    const stream = this.streams.get(piece.streamId);
    if (stream === undefined || stream.up.closing) {
      this.credit(piece.end - piece.start);
      return;
    }
    this.#events.upstream().data(stream.up, piece);
    this.#forget(stream);
  }

  #reset(streamId: number, code: number): void {
    const stream = this.streams.get(streamId);
    if (stream === undefined) return;
    this.streams.delete(streamId);
    this.outlet.drop(stream.down);
    this.#events.upstream().drop(stream.up);
    this.#events.cancelled(stream, code);
  }

  #settings(payload: Buffer): void {
    for (const [id, value] of parseSettings(payload)) {
      if (id !== Setting.initialWindowSize) continue;
      if (value > MAX_WINDOW) throw new ProtocolError(ErrorCode.flowControlError, 'a window above 2^31 - 1');
      const change = value - this.#initialWindow;
      this.#initialWindow = value;
      for (const stream of this.streams.values()) {
        grantLane(stream.down, change);
        this.#events.grant(stream, change);
      }
    }
    this.outlet.control(SETTINGS_ACK);
    this.outlet.pump();
  }

  #windowUpdate(streamId: number, bytes: number): void {
    if (streamId === 0) {
      this.outlet.grantConnection(bytes);
    } else {
      const stream = this.streams.get(streamId);
      if (stream === undefined) return;
      grantLane(stream.down, bytes);
      this.#events.grant(stream, bytes);
    }
    if (this.outlet.waits) this.outlet.pump();
  }

  /** A stream is done with when both sides have said their last. */
  #forget(stream: MuxStream): void {
    if (stream.down.broken || (stream.down.ended && stream.up.closing)) this.streams.delete(stream.clientId);
  }
}

function readNumber(payload: Buffer): number {
  if (payload.length !== 4) throw new ProtocolError(ErrorCode.protocolError, 'a frame of a broken length');
  return payload.readUInt32BE(0);
}

const RESPONSE: readonly HeaderField[] = [field(':status', '200'), field('content-type', 'application/grpc')];

function field(name: string, value: string): HeaderField {
  return { name, value, sensitive: false };
}

/** grpc-message is percent-encoded UTF-8 (gRPC over HTTP/2, "Responses"). */
function encodeStatusMessage(message: string): string {
  return [...Buffer.from(message, 'utf8')]
    .map((byte) =>
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('');
}
