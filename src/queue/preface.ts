import {
  CLIENT_PREFACE,
  DEFAULT_MAX_FRAME_SIZE,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  serialiseSettings,
} from '../gateway/frames.ts';
import { PLACE_SETTING_ID } from './token.ts';

/** A builder's greeting is some 30 bytes; anything near this is not one. */
const MAX_GREETING_BYTES = 64 * 1024;

/**
 * All that is ever sent before a builder is ours: the client preface and one SETTINGS frame with the place token as
 * its first setting, which is where the load balancer looks for it (bytes 33 and 35 of the connection).
 */
export function openingBytes(token: number): Buffer {
  return Buffer.concat([CLIENT_PREFACE, serialiseSettings([[PLACE_SETTING_ID, token]])]);
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
    if (length > DEFAULT_MAX_FRAME_SIZE || (at === 0 && (type !== FrameType.settings || stream !== 0)))
      return foreign(received);
    if (type === FrameType.goaway && stream === 0) return { kind: 'going-away' };
    const next = at + FRAME_HEADER_BYTES + length;
    if (type === FrameType.settings && (flags & Flag.ack) !== 0) {
      return { kind: 'granted', preamble: received.subarray(0, at), rest: received.subarray(next) };
    }
    if (received.length < next) break;
    at = next;
  }
  if (received.length > MAX_GREETING_BYTES) return foreign(received);
  // A short text such as an SSH banner may never fill a frame header.
  if (at === 0 && received.length >= 4 && received.readUInt8(3) !== FrameType.settings)
    return foreign(received);
  return { kind: 'waiting' };
}

function foreign(received: Buffer): Greeting {
  const beginning = received
    .subarray(0, 40)
    .toString('latin1')
    .replace(/[^\x20-\x7e]/g, '.');
  return { kind: 'foreign', beginning };
}
