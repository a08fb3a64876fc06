/**
 * What BuildKit says about itself, written and read by hand: two messages of its control API, of which only
 * a few fields are needed (api/services/control/control.proto and api/types/worker.proto of moby/buildkit 0.32.2).
 * The field numbers have not changed since these fields exist.
 */

/** One worker, as `docker buildx inspect` shows it. */
export interface Worker {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  /** As Docker writes them: `linux/amd64`, `linux/arm/v7`. */
  readonly platforms: readonly string[];
  /** With its `v`: `v0.32.2`. */
  readonly buildkitVersion: string;
}

const WORKERS_RECORD = 1;
const RECORD_ID = 1;
const RECORD_LABELS = 2;
const RECORD_PLATFORMS = 3;
const RECORD_VERSION = 5;
const INFO_VERSION = 1;
const VERSION_PACKAGE = 1;
const VERSION_VERSION = 2;
const ENTRY_KEY = 1;
const ENTRY_VALUE = 2;
const PLATFORM_ARCHITECTURE = 1;
const PLATFORM_OS = 2;
const PLATFORM_VARIANT = 3;

/** Wire types of protobuf: the only ones that occur in these messages today are 0 and 2. */
const WIRE_BYTES: Readonly<Record<number, number>> = { 1: 8, 5: 4 };
const LENGTH_DELIMITED = 2;

/** A `ListWorkersResponse` with one worker. */
export function encodeWorkers(worker: Worker): Buffer {
  const record = [
    text(RECORD_ID, worker.id),
    ...Object.entries(worker.labels).map(([name, value]) =>
      message(RECORD_LABELS, [text(ENTRY_KEY, name), text(ENTRY_VALUE, value)]),
    ),
    ...worker.platforms.map((platform) => message(RECORD_PLATFORMS, encodePlatform(platform))),
    message(RECORD_VERSION, encodeVersion(worker.buildkitVersion)),
  ];
  return message(WORKERS_RECORD, record);
}

/** An `InfoResponse`. */
export function encodeInfo(buildkitVersion: string): Buffer {
  return message(INFO_VERSION, encodeVersion(buildkitVersion));
}

/**
 * The `InfoResponse` of a builder that has given this `ListWorkersResponse`; undefined when it names no version
 * (BuildKit before 0.11), or is no such message.
 */
export function infoOfWorkers(workers: Buffer): Buffer | undefined {
  const record = findField(workers, WORKERS_RECORD);
  const version = record === undefined ? undefined : findField(record, RECORD_VERSION);
  return version === undefined ? undefined : message(INFO_VERSION, [version]);
}

function encodeVersion(version: string): Buffer[] {
  return [text(VERSION_PACKAGE, 'github.com/moby/buildkit'), text(VERSION_VERSION, version)];
}

function encodePlatform(platform: string): Buffer[] {
  const [os = '', architecture = '', variant = ''] = platform.split('/');
  return [
    text(PLATFORM_ARCHITECTURE, architecture),
    text(PLATFORM_OS, os),
    ...(variant === '' ? [] : [text(PLATFORM_VARIANT, variant)]),
  ];
}

function text(field: number, value: string): Buffer {
  return message(field, [Buffer.from(value, 'utf8')]);
}

function message(field: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([varint(field * 8 + LENGTH_DELIMITED), varint(body.length), body]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** The bytes of the first length-delimited field of this number; undefined when there is none, or it is cut off. */
function findField(bytes: Buffer, wanted: number): Buffer | undefined {
  for (let at = 0; at < bytes.length; ) {
    const key = readVarint(bytes, at);
    if (key === undefined) return undefined;
    at = key.next;
    const wire = key.value % 8;
    if (wire !== LENGTH_DELIMITED) {
      const next = wire === 0 ? readVarint(bytes, at)?.next : at + (WIRE_BYTES[wire] ?? Number.NaN);
      if (next === undefined || Number.isNaN(next)) return undefined;
      at = next;
      continue;
    }
    const length = readVarint(bytes, at);
    if (length === undefined || length.next + length.value > bytes.length) return undefined;
    if (Math.floor(key.value / 8) === wanted) {
      return bytes.subarray(length.next, length.next + length.value);
    }
    at = length.next + length.value;
  }
  return undefined;
}

function readVarint(
  bytes: Buffer,
  from: number,
): { readonly value: number; readonly next: number } | undefined {
  let value = 0;
  for (let at = from; at < Math.min(bytes.length, from + 10); at++) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * 2 ** ((at - from) * 7);
    if (byte < 0x80) return { value, next: at + 1 };
  }
  return undefined;
}
