/** Header blocks put together from HEADERS and CONTINUATION frames (RFC 9113, section 4.3). */

import { ErrorCode, Flag, FRAME_HEADER_BYTES, FrameType, ProtocolError, stripPadding } from './frames.ts';

/**
 * Bytes a header block may have. grpc-go takes up to 16 MiB of header list; BuildKit's error details, with the
 * Dockerfile in them, travel in trailers of hundreds of kB.
 */
export const MAX_HEADER_BLOCK_BYTES = 17 * 1024 * 1024;

export interface HeaderBlock {
  readonly streamId: number;
  readonly endStream: boolean;
  readonly block: Buffer;
}

/** Collects the header blocks of one direction of one connection. */
export class HeaderBlockAssembler {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #streamId = 0;
  #endStream = false;

  constructor(maxBytes: number = MAX_HEADER_BLOCK_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Whether a block has begun and not ended: only its CONTINUATION may follow. */
  get open(): boolean {
    return this.#streamId !== 0;
  }

  /**
   * Takes a HEADERS or CONTINUATION frame; gives the block when it is whole.
   * @throws ProtocolError for frames out of order and for blocks over the limit.
   */
  take(type: number, flags: number, streamId: number, payload: Buffer): HeaderBlock | undefined {
    if (type === FrameType.headers) {
      if (this.open || streamId === 0) throw outOfOrder(type);
      this.#streamId = streamId;
      this.#endStream = (flags & Flag.endStream) !== 0;
    } else if (streamId !== this.#streamId || !this.open) {
      throw outOfOrder(type);
    }
    const part = type === FrameType.headers ? stripPadding(type, flags, payload) : payload;
    const whole = (flags & Flag.endHeaders) !== 0;
    if (whole && this.#parts.length === 0) return this.#finish(part);
    // The payload is a view of a chunk that may be reused by its owner. An empty one counts, too: any number may come.
    this.#parts.push(Buffer.from(part));
    this.#bytes += part.length + FRAME_HEADER_BYTES;
    if (this.#bytes > this.#maxBytes) {
      throw new ProtocolError(ErrorCode.enhanceYourCalm, `A header block over ${this.#maxBytes} bytes`);
    }
    return whole ? this.#finish(Buffer.concat(this.#parts)) : undefined;
  }

  #finish(block: Buffer): HeaderBlock {
    const finished = { streamId: this.#streamId, endStream: this.#endStream, block };
    this.#parts = [];
    this.#bytes = 0;
    this.#streamId = 0;
    return finished;
  }
}

function outOfOrder(type: number): ProtocolError {
  return new ProtocolError(ErrorCode.protocolError, `A frame of type ${type} out of order in a header block`);
}
