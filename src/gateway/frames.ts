/**
 * HTTP/2 frames (RFC 9113, sections 4 and 6): constants, serialising, and a scanner that walks over a byte
 * stream in chunks of any size. The scanner never buffers the payload of DATA: it reports it piece by piece,
 * as positions in the chunk it was given, so that a carrier can pass it on without a copy.
 */

/** What an HTTP/2 client sends before its first frame (RFC 9113, section 3.4). */
export const CLIENT_PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** Bytes of a frame header. */
export const FRAME_HEADER_BYTES = 9;

/** Bytes of payload every peer must accept in one frame (the default of SETTINGS_MAX_FRAME_SIZE). */
export const DEFAULT_MAX_FRAME_SIZE = 16_384;

/** Bytes of flow-control window that connections and streams start with. */
export const DEFAULT_WINDOW = 65_535;

/** The largest flow-control window, in bytes (RFC 9113, section 6.9.1). */
export const MAX_WINDOW = 0x7fff_ffff;

export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const Flag = { ack: 0x1, endStream: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;

/** The peer broke HTTP/2; `code` is the error code to tell it (RFC 9113, section 7). */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Writes a frame header of 9 bytes at `offset` of `target`. */
export function writeFrameHeader(
  target: Buffer,
  offset: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  target[offset] = length >>> 16;
  target[offset + 1] = length >>> 8;
  target[offset + 2] = length;
  target[offset + 3] = type;
  target[offset + 4] = flags;
  target.writeUInt32BE(streamId, offset + 5);
}

/** One whole frame. `payload` may be empty. */
export function serialiseFrame(type: number, flags: number, streamId: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  writeFrameHeader(frame, 0, payload.length, type, flags, streamId);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

function serialiseNumber(type: number, streamId: number, value: number): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + 4);
  writeFrameHeader(frame, 0, 4, type, 0, streamId);
  frame.writeUInt32BE(value, FRAME_HEADER_BYTES);
  return frame;
}

/** A WINDOW_UPDATE of `increment` bytes (1 to 2^31 - 1); stream 0 is the connection. */
export function serialiseWindowUpdate(streamId: number, increment: number): Buffer {
  return serialiseNumber(FrameType.windowUpdate, streamId, increment);
}

export function serialiseReset(streamId: number, code: number): Buffer {
  return serialiseNumber(FrameType.rstStream, streamId, code);
}

/** A SETTINGS frame with these parameters, in order: pairs of identifier and value. */
export function serialiseSettings(settings: ReadonlyArray<readonly [id: number, value: number]>): Buffer {
  const payload = Buffer.allocUnsafe(settings.length * 6);
  settings.forEach(([id, value], index) => {
    payload.writeUInt16BE(id, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  });
  return serialiseFrame(FrameType.settings, 0, 0, payload);
}

export const SETTINGS_ACK: Buffer = serialiseFrame(FrameType.settings, Flag.ack, 0, Buffer.alloc(0));

export function parseSettings(payload: Buffer): Array<readonly [id: number, value: number]> {
  if (payload.length % 6 !== 0)
    throw new ProtocolError(ErrorCode.protocolError, 'SETTINGS of a broken length');
  const settings: Array<readonly [number, number]> = [];
  for (let at = 0; at < payload.length; at += 6) {
    settings.push([payload.readUInt16BE(at), payload.readUInt32BE(at + 2)]);
  }
  return settings;
}

/** A header block as HEADERS and as many CONTINUATION frames as `maxFrameSize` (bytes) demands. */
export function serialiseHeaderBlock(
  streamId: number,
  block: Buffer,
  endStream: boolean,
  maxFrameSize: number,
): Buffer {
  const frames: Buffer[] = [];
  let at = 0;
  do {
    const end = Math.min(block.length, at + maxFrameSize);
    const first = at === 0;
    const flags = (end === block.length ? Flag.endHeaders : 0) | (first && endStream ? Flag.endStream : 0);
    const type = first ? FrameType.headers : FrameType.continuation;
    frames.push(serialiseFrame(type, flags, streamId, block.subarray(at, end)));
    at = end;
  } while (at < block.length);
  return frames.length === 1 && frames[0] !== undefined ? frames[0] : Buffer.concat(frames);
}

export function serialiseGoaway(lastStreamId: number, code: number, debug: string | Buffer): Buffer {
  const text = typeof debug === 'string' ? Buffer.from(debug, 'utf8') : debug;
  const payload = Buffer.allocUnsafe(8 + text.length);
  payload.writeUInt32BE(lastStreamId, 0);
  payload.writeUInt32BE(code, 4);
  text.copy(payload, 8);
  return serialiseFrame(FrameType.goaway, 0, 0, payload);
}

/** The payload of HEADERS or DATA without its padding and, for HEADERS, without its priority. */
export function stripPadding(type: number, flags: number, payload: Buffer): Buffer {
  let start = 0;
  let end = payload.length;
  if ((flags & Flag.padded) !== 0) {
    start = 1;
    end -= payload[0] ?? 0;
  }
  if (type === FrameType.headers && (flags & Flag.priority) !== 0) start += 5;
  if (start > end) throw new ProtocolError(ErrorCode.protocolError, 'padding longer than its frame');
  return payload.subarray(start, end);
}

/** What a scanner reports. */
export interface FrameSink {
  /** A whole frame other than DATA. `payload` may be a view of the chunk: copy it to keep it. */
  frame(type: number, flags: number, streamId: number, payload: Buffer): void;
  /**
   * A piece of a DATA frame: the bytes `start` to `end` of `chunk`. `header` is the position of its frame header
   * in `chunk`, or -1 when that header came with an earlier chunk (or in two). `left`: payload bytes of this frame
   * still to come; `length`: payload bytes of the whole frame. A frame without payload gives one empty piece.
   */
  data(piece: DataPiece): void;
}

export interface DataPiece {
  readonly chunk: Buffer;
  readonly header: number;
  readonly start: number;
  readonly end: number;
  readonly first: boolean;
  readonly left: number;
  readonly length: number;
  readonly flags: number;
  readonly streamId: number;
}

class MutablePiece implements DataPiece {
  chunk: Buffer = Buffer.alloc(0);
  header = -1;
  start = 0;
  end = 0;
  first = false;
  left = 0;
  length = 0;
  flags = 0;
  streamId = 0;
}

export interface ScannerLimits {
  /** Bytes a frame other than DATA may have; it is buffered until whole. */
  readonly frameBytes: number;
  /** Bytes a DATA frame may have. */
  readonly dataBytes: number;
}

/** Walks over the frames of one direction of a connection, after the client's preface. */
export class FrameScanner {
  readonly #sink: FrameSink;
  readonly #limits: ScannerLimits;
  /** A header or a payload that did not end with its chunk. */
  #parts: Buffer[] = [];
  #held = 0;
  #length = 0;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  #state: 'header' | 'payload' | 'data' = 'header';
  #dataLeft = 0;
  /** One object for all pieces: a sink must not keep it. At 16 KiB a frame, garbage per frame would show. */
  readonly #piece = new MutablePiece();

  constructor(sink: FrameSink, limits: ScannerLimits) {
    this.#sink = sink;
    this.#limits = limits;
  }

  /** Bytes held back of a header or of a frame other than DATA. */
  get heldBytes(): number {
    return this.#held;
  }

  /** Whether the bytes so far end between two frames. */
  get atBoundary(): boolean {
    return this.#state === 'header' && this.#held === 0;
  }

  /** @throws ProtocolError for a frame over the limits, and whatever the sink throws. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length || this.#state === 'payload') {
      if (this.#state === 'header') {
        const next = this.#readHeader(chunk, at);
        if (next < 0) return;
        at = next;
      } else if (this.#state === 'data') {
        const end = Math.min(chunk.length, at + this.#dataLeft);
        this.#reportData(chunk, -1, at, end, false);
        at = end;
      } else {
        const wanted = this.#length - this.#held;
        if (chunk.length - at < wanted) {
          this.#hold(chunk.subarray(at));
          return;
        }
        const rest = chunk.subarray(at, at + wanted);
        const payload = this.#held === 0 ? rest : Buffer.concat([...this.#parts, rest]);
        at += wanted;
        this.#parts = [];
        this.#held = 0;
        this.#state = 'header';
        this.#sink.frame(this.#type, this.#flags, this.#streamId, payload);
      }
    }
  }

  /** Reads a frame header at `at`; gives the position after it, or -1 when the chunk ends within it. */
  #readHeader(chunk: Buffer, at: number): number {
    const wanted = FRAME_HEADER_BYTES - this.#held;
    if (chunk.length - at < wanted) {
      this.#hold(chunk.subarray(at));
      return -1;
    }
    const whole = this.#held === 0;
    const header = whole ? chunk : Buffer.concat([...this.#parts, chunk.subarray(at, at + wanted)]);
    const from = whole ? at : 0;
    this.#parts = [];
    this.#held = 0;
    this.#length = ((header[from] ?? 0) << 16) | ((header[from + 1] ?? 0) << 8) | (header[from + 2] ?? 0);
    this.#type = header[from + 3] ?? 0;
    this.#flags = header[from + 4] ?? 0;
    this.#streamId = header.readUInt32BE(from + 5) & 0x7fff_ffff;
    const limit = this.#type === FrameType.data ? this.#limits.dataBytes : this.#limits.frameBytes;
    if (this.#length > limit) {
      // FRAME_SIZE_ERROR is 6; nothing else here needs it.
      throw new ProtocolError(
        6,
        `A frame of type ${this.#type} has ${this.#length} bytes, more than ${limit}`,
      );
    }
    const next = at + wanted;
    if (this.#type !== FrameType.data) {
      this.#state = 'payload';
      return next;
    }
    this.#dataLeft = this.#length;
    // A header at the very end of a chunk waits for its payload, unless it has none.
    const end = Math.min(chunk.length, next + this.#length);
    this.#reportData(chunk, whole ? at : -1, next, end, true);
    return end;
  }

  #reportData(chunk: Buffer, header: number, start: number, end: number, first: boolean): void {
    this.#dataLeft -= end - start;
    this.#state = this.#dataLeft > 0 ? 'data' : 'header';
    const piece = this.#piece;
    piece.chunk = chunk;
    piece.header = header;
    piece.start = start;
    piece.end = end;
    piece.first = first;
    piece.left = this.#dataLeft;
    piece.length = this.#length;
    piece.flags = this.#flags;
    piece.streamId = this.#streamId;
    this.#sink.data(piece);
  }

  #hold(part: Buffer): void {
    if (part.length === 0) return;
    this.#parts.push(part);
    this.#held += part.length;
  }
}
