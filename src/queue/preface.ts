import { PLACE_SETTING_ID } from './token.ts';

/** RFC 9113, section 3.4. */
const CLIENT_PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const FRAME_HEADER_BYTES = 9;
const SETTING_BYTES = 6;
const TYPE_SETTINGS = 0x4;
const TYPE_GOAWAY = 0x7;
const FLAG_ACK = 0x1;
/** SETTINGS_MAX_FRAME_SIZE before anybody raised it: RFC 9113, section 6.5.2. */
const MAX_FRAME_BYTES = 16_384;
/** A builder's greeting is some 30 bytes; anything near this is not one. */
const MAX_GREETING_BYTES = 64 * 1024;

/**
 * All that is ever sent before a builder is ours: the client preface and one SETTINGS frame with the place token as
 * its first setting, which is where the load balancer looks for it (bytes 33 and 35 of the connection).
 */
export function openingBytes(token: number): Buffer {
  const bytes = Buffer.alloc(CLIENT_PREFACE.length + FRAME_HEADER_BYTES + SETTING_BYTES);
  const frame = bytes.write(CLIENT_PREFACE, 'latin1');
  bytes.writeUIntBE(SETTING_BYTES, frame, 3);
  bytes.writeUInt8(TYPE_SETTINGS, frame + 3);
  bytes.writeUInt16BE(PLACE_SETTING_ID, frame + FRAME_HEADER_BYTES);
  bytes.writeUInt32BE(token, frame + FRAME_HEADER_BYTES + 2);
  return bytes;
}

/**
 * What the bytes received so far mean.
 * - `waiting`: nothing, or settings that a load balancer may have sent early.
 * - `granted`: our SETTINGS are acknowledged, which only a builder does. `preamble` holds its frames before that, `rest` the bytes after.
 * - `going-away`: a GOAWAY instead; another builder will do.
 * - `foreign`: this is no HTTP/2 server.
 */
export type Greeting =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'granted'; readonly preamble: Buffer; readonly rest: Buffer }
  | { readonly kind: 'going-away' }
  | { readonly kind: 'foreign'; readonly beginning: string };

/** Reads the builder's side of a pool connection from its first byte. */
export function readGreeting(received: Buffer): Greeting {
  let at = 0;
  while (received.length - at >= FRAME_HEADER_BYTES) {
    const length = received.readUIntBE(at, 3);
    const type = received.readUInt8(at + 3);
    const flags = received.readUInt8(at + 4);
    const stream = received.readUInt32BE(at + 5) & 0x7fff_ffff;
    if (length > MAX_FRAME_BYTES || (at === 0 && (type !== TYPE_SETTINGS || stream !== 0)))
      return foreign(received);
    if (type === TYPE_GOAWAY && stream === 0) return { kind: 'going-away' };
    const next = at + FRAME_HEADER_BYTES + length;
    if (type === TYPE_SETTINGS && (flags & FLAG_ACK) !== 0) {
      return { kind: 'granted', preamble: received.subarray(0, at), rest: received.subarray(next) };
    }
    if (received.length < next) break;
    at = next;
  }
  if (received.length > MAX_GREETING_BYTES) return foreign(received);
  // A short text such as an SSH banner may never fill a frame header.
  if (at === 0 && received.length >= 4 && received.readUInt8(3) !== TYPE_SETTINGS) return foreign(received);
  return { kind: 'waiting' };
}

function foreign(received: Buffer): Greeting {
  const beginning = received
    .subarray(0, 40)
    .toString('latin1')
    .replace(/[^\x20-\x7e]/g, '.');
  return { kind: 'foreign', beginning };
}
