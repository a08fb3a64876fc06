/** Feeds a method view from the two directions of a spliced connection. It reads along and never stands in the way. */

import { type DataPiece, Flag, FrameScanner, FrameType, type ScannerLimits } from './frames.ts';
import { HeaderBlockAssembler, MAX_HEADER_BLOCK_BYTES } from './header-block.ts';
import { type HeaderField, HpackDecoder } from './hpack.ts';
import type { MethodTracker } from './methods.ts';

/** The two ends agree on their own limits; these only keep a broken stream from using memory. */
const LIMITS: ScannerLimits = { frameBytes: 16 * 1024 * 1024, dataBytes: 0xff_ffff };
const TABLE_BYTES = 1024 * 1024;

export class ConnectionSniffer {
  readonly #tracker: MethodTracker;
  readonly #client: number;
  readonly #scanners: Readonly<Record<'client' | 'builder', FrameScanner>>;
  #failure: Error | undefined;

  constructor(tracker: MethodTracker, client: number) {
    this.#tracker = tracker;
    this.#client = client;
    this.#scanners = { client: this.#scanner('client'), builder: this.#scanner('builder') };
  }

  /** Why the sniffer has stopped reading along, if it has: bytes that are not HTTP/2. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** The next bytes of one direction, without the client's preface. Never throws. */
  read(from: 'client' | 'builder', chunk: Buffer): void {
    if (this.#failure !== undefined) return;
    try {
      this.#scanners[from].push(chunk);
      this.#tracker.settle();
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    }
  }

  #scanner(from: 'client' | 'builder'): FrameScanner {
    const decoder = new HpackDecoder({ tableBytes: TABLE_BYTES, listBytes: 2 * MAX_HEADER_BLOCK_BYTES });
    const blocks = new HeaderBlockAssembler();
    const tracker = this.#tracker;
    return new FrameScanner(
      {
        frame: (type, flags, streamId, payload) => {
          if (type === FrameType.headers || type === FrameType.continuation) {
            const block = blocks.take(type, flags, streamId, payload);
            if (block === undefined) return;
            const fields = decoder.decode(block.block);
            if (from === 'client') {
              const path = fieldValue(fields, ':path');
              // Without a path they are trailers of a request, which gRPC does not use.
              if (path !== undefined) tracker.opened(block.streamId, this.#client, path);
            } else if (block.endStream) {
              tracker.ended(block.streamId, grpcStatus(fields));
            }
          } else if (type === FrameType.rstStream) {
            tracker.reset(streamId, from, payload.readUInt32BE(0));
          } else if (type === FrameType.goaway && from === 'builder') {
            tracker.goawayReceived();
          }
        },
        data: (piece: DataPiece) => {
          if (from === 'builder' && piece.left === 0 && (piece.flags & Flag.endStream) !== 0) {
            tracker.ended(piece.streamId, undefined);
          }
        },
      },
      LIMITS,
    );
  }
}

export function fieldValue(fields: readonly HeaderField[], name: string): string | undefined {
  return fields.find((field) => field.name === name)?.value;
}

/** The gRPC status in a list of trailers, or undefined where there is none. */
export function grpcStatus(fields: readonly HeaderField[]): number | undefined {
  const value = fieldValue(fields, 'grpc-status');
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}
