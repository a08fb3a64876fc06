/** The beginning of a spliced client's bytes: what must not reach a builder that already had a beginning. */

import { CLIENT_PREFACE, ErrorCode, Flag, FRAME_HEADER_BYTES, FrameType, ProtocolError } from './frames.ts';

/**
 * Drops the client's 24-byte preface and, when the gateway has sent it a SETTINGS frame of its own, the one
 * acknowledgement of that frame; gives everything else as it is. An endpoint acknowledges SETTINGS in the order
 * in which they came (RFC 9113, section 6.5.3), so the first acknowledgement is the gateway's.
 */
export class ClientOpening {
  #prefaceLeft = CLIENT_PREFACE.length;
  #acknowledgement: boolean;
  #header: Buffer = Buffer.alloc(0);
  #payloadLeft = 0;

  constructor(options: { readonly dropAcknowledgement: boolean }) {
    this.#acknowledgement = options.dropAcknowledgement;
  }

  /** Whether all further bytes pass as they are. */
  get done(): boolean {
    return this.#prefaceLeft === 0 && !this.#acknowledgement && this.#header.length === 0;
  }

  /** @throws ProtocolError when the client speaks no HTTP/2. */
  push(chunk: Buffer): Buffer[] {
    let rest = this.#dropPreface(chunk);
    const passed: Buffer[] = [];
    while (this.#acknowledgement && rest.length > 0) {
      if (this.#payloadLeft > 0) {
        const payload = rest.subarray(0, this.#payloadLeft);
        this.#payloadLeft -= payload.length;
        rest = rest.subarray(payload.length);
        passed.push(payload);
        continue;
      }
      const missing = FRAME_HEADER_BYTES - this.#header.length;
      this.#header = Buffer.concat([this.#header, rest.subarray(0, missing)]);
      rest = rest.subarray(missing);
      if (this.#header.length < FRAME_HEADER_BYTES) break;
      const header = this.#header;
      this.#header = Buffer.alloc(0);
      if (header[3] === FrameType.settings && ((header[4] ?? 0) & Flag.ack) !== 0) {
        this.#acknowledgement = false;
      } else {
        this.#payloadLeft = header.readUIntBE(0, 3);
        passed.push(header);
      }
    }
    if (rest.length > 0) passed.push(rest);
    return passed;
  }

  #dropPreface(chunk: Buffer): Buffer {
    if (this.#prefaceLeft === 0) return chunk;
    const from = CLIENT_PREFACE.length - this.#prefaceLeft;
    const part = chunk.subarray(0, this.#prefaceLeft);
    if (!part.equals(CLIENT_PREFACE.subarray(from, from + part.length))) {
      throw new ProtocolError(ErrorCode.protocolError, 'The client does not speak HTTP/2');
    }
    this.#prefaceLeft -= part.length;
    return chunk.subarray(part.length);
  }
}
