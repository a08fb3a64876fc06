/**
 * HPACK (RFC 7541): a full decoder, and an encoder that keeps no state.
 *
 * The encoder uses the static table and literals only, so header blocks of several clients can be sent over one
 * connection in any order. Strings are latin1: one character is one byte, whatever the bytes mean. Repeated names
 * stay separate fields, because BuildKit's `Control/Session` depends on it.
 */

import { huffmanDecode } from './huffman.ts';

export interface HeaderField {
  readonly name: string;
  readonly value: string;
  /** Never to be put into any table (RFC 7541, section 6.2.3); kept as such when encoded again. */
  readonly sensitive: boolean;
}

/** A header block that can't be decoded: the whole connection is lost (RFC 9113, section 4.3). */
export class HpackError extends Error {
  override readonly name = 'HpackError';
}

/** Bytes of dynamic table that a decoder allows unless told otherwise (SETTINGS_HEADER_TABLE_SIZE). */
export const DEFAULT_TABLE_SIZE = 4096;

/** What a table entry counts beyond its name and value (RFC 7541, section 4.1), in bytes. */
const ENTRY_OVERHEAD = 32;

const STATIC_TABLE: ReadonlyArray<readonly [name: string, value: string]> = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language', ''],
  ['accept-ranges', ''],
  ['accept', ''],
  ['access-control-allow-origin', ''],
  ['age', ''],
  ['allow', ''],
  ['authorization', ''],
  ['cache-control', ''],
  ['content-disposition', ''],
  ['content-encoding', ''],
  ['content-language', ''],
  ['content-length', ''],
  ['content-location', ''],
  ['content-range', ''],
  ['content-type', ''],
  ['cookie', ''],
  ['date', ''],
  ['etag', ''],
  ['expect', ''],
  ['expires', ''],
  ['from', ''],
  ['host', ''],
  ['if-match', ''],
  ['if-modified-since', ''],
  ['if-none-match', ''],
  ['if-range', ''],
  ['if-unmodified-since', ''],
  ['last-modified', ''],
  ['link', ''],
  ['location', ''],
  ['max-forwards', ''],
  ['proxy-authenticate', ''],
  ['proxy-authorization', ''],
  ['range', ''],
  ['referer', ''],
  ['refresh', ''],
  ['retry-after', ''],
  ['server', ''],
  ['set-cookie', ''],
  ['strict-transport-security', ''],
  ['transfer-encoding', ''],
  ['user-agent', ''],
  ['vary', ''],
  ['via', ''],
  ['www-authenticate', ''],
];

const STATIC_NAMES = new Map<string, number>();
const STATIC_FIELDS = new Map<string, number>();
STATIC_TABLE.forEach(([name, value], index) => {
  if (!STATIC_NAMES.has(name)) STATIC_NAMES.set(name, index + 1);
  if (value !== '') STATIC_FIELDS.set(`${name}\0${value}`, index + 1);
});

export interface DecoderLimits {
  /** Bytes of dynamic table the peer's encoder may use (our SETTINGS_HEADER_TABLE_SIZE). */
  readonly tableBytes: number;
  /** Bytes of one decoded header list, each field counted with 32 bytes more. */
  readonly listBytes: number;
}

/** Decodes the header blocks of one direction of one connection; each block must be given, whole and in order. */
export class HpackDecoder {
  readonly #limits: DecoderLimits;
  /** Newest entry last. */
  readonly #entries: HeaderField[] = [];
  #tableBytes = 0;
  #tableLimit: number;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(limits: DecoderLimits) {
    this.#limits = limits;
    this.#tableLimit = Math.min(DEFAULT_TABLE_SIZE, limits.tableBytes);
  }

  /** The dynamic table, newest entry first; for tests. */
  get table(): readonly HeaderField[] {
    return [...this.#entries].reverse();
  }

  /** Bytes of the dynamic table as the peer counts them. */
  get tableBytes(): number {
    return this.#tableBytes;
  }

  /** @throws HpackError when the block is broken or over the limits; the decoder is then of no further use. */
  decode(block: Buffer): HeaderField[] {
    this.#block = block;
    this.#at = 0;
    const fields: HeaderField[] = [];
    let listBytes = 0;
    while (this.#at < block.length) {
      const first = block[this.#at] ?? 0;
      if ((first & 0xe0) === 0x20) {
        if (fields.length > 0) throw new HpackError('A table size update within a header block');
        this.#resize(this.#readInteger(5));
        continue;
      }
      const field = this.#readField(first);
      listBytes += fieldBytes(field);
      if (listBytes > this.#limits.listBytes) {
        throw new HpackError(`A header list of more than ${this.#limits.listBytes} bytes`);
      }
      fields.push(field);
    }
    return fields;
  }

  #readField(first: number): HeaderField {
    if ((first & 0x80) !== 0) return this.#lookUp(this.#readInteger(7));
    const indexed = (first & 0x40) !== 0;
    const nameIndex = this.#readInteger(indexed ? 6 : 4);
    const name = nameIndex === 0 ? this.#readString() : this.#lookUp(nameIndex).name;
    const value = this.#readString();
    const field = { name, value, sensitive: !indexed && (first & 0x10) !== 0 };
    if (indexed) this.#insert(field);
    return field;
  }

  #lookUp(index: number): HeaderField {
    const fixed = STATIC_TABLE[index - 1];
    if (fixed !== undefined) return { name: fixed[0], value: fixed[1], sensitive: false };
    const entry = this.#entries[this.#entries.length - (index - STATIC_TABLE.length)];
    if (index === 0 || entry === undefined) throw new HpackError(`No table entry ${index}`);
    return entry;
  }

  #insert(field: HeaderField): void {
    const bytes = fieldBytes(field);
    this.#evict(this.#tableLimit - bytes);
    // An entry larger than the table empties it and is not an error (RFC 7541, section 4.4).
    if (bytes > this.#tableLimit) return;
    this.#entries.push(field);
    this.#tableBytes += bytes;
  }

  #resize(limit: number): void {
    if (limit > this.#limits.tableBytes) {
      throw new HpackError(`A table of ${limit} bytes, more than the ${this.#limits.tableBytes} allowed`);
    }
    this.#tableLimit = limit;
    this.#evict(limit);
  }

  #evict(limit: number): void {
    while (this.#tableBytes > limit) {
      const oldest = this.#entries.shift();
      if (oldest === undefined) return;
      this.#tableBytes -= fieldBytes(oldest);
    }
  }

  #readInteger(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = this.#readByte() & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      // 28 bits beyond the prefix are far more than any length or index here.
      if (shift > 21) throw new HpackError('An integer that is too large');
      const byte = this.#readByte();
      value += (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value;
    }
  }

  #readString(): string {
    const huffman = ((this.#block[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#readInteger(7);
    const end = this.#at + length;
    if (end > this.#block.length) throw new HpackError('A string longer than its header block');
    const from = this.#at;
    this.#at = end;
    if (!huffman) return this.#block.toString('latin1', from, end);
    const text = huffmanDecode(this.#block.subarray(from, end));
    if (text === undefined) throw new HpackError('A string with a broken Huffman code');
    return text;
  }

  #readByte(): number {
    const byte = this.#block[this.#at];
    if (byte === undefined) throw new HpackError('A header block that ends too early');
    this.#at += 1;
    return byte;
  }
}

/**
 * Encodes a header list without any state. `opening` puts a table size update to zero before it: said once, in the
 * first block of a connection, it is valid whatever SETTINGS_HEADER_TABLE_SIZE the peer announces later.
 */
export function encodeHeaders(fields: readonly HeaderField[], opening = false): Buffer {
  let room = opening ? 1 : 0;
  for (const { name, value } of fields) room += name.length + value.length + 14;
  const target = Buffer.allocUnsafe(room);
  let at = 0;
  if (opening) target[at++] = 0x20;
  for (const { name, value, sensitive } of fields) {
    const exact = sensitive ? undefined : STATIC_FIELDS.get(`${name}\0${value}`);
    if (exact !== undefined) {
      at = writeInteger(target, at, 0x80, 7, exact);
      continue;
    }
    const nameIndex = STATIC_NAMES.get(name) ?? 0;
    at = writeInteger(target, at, sensitive ? 0x10 : 0, 4, nameIndex);
    if (nameIndex === 0) at = writeString(target, at, name);
    at = writeString(target, at, value);
  }
  return target.subarray(0, at);
}

function writeInteger(
  target: Buffer,
  at: number,
  pattern: number,
  prefixBits: number,
  value: number,
): number {
  const mask = (1 << prefixBits) - 1;
  if (value < mask) {
    target[at] = pattern | value;
    return at + 1;
  }
  target[at] = pattern | mask;
  let rest = value - mask;
  let next = at + 1;
  while (rest >= 0x80) {
    target[next++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[next] = rest;
  return next + 1;
}

function writeString(target: Buffer, at: number, text: string): number {
  const next = writeInteger(target, at, 0, 7, text.length);
  return next + target.write(text, next, 'latin1');
}

function fieldBytes(field: HeaderField): number {
  return field.name.length + field.value.length + ENTRY_OVERHEAD;
}
