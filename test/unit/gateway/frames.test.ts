import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClientOpening } from '../../../src/gateway/client-opening.ts';
import {
  CLIENT_PREFACE,
  type DataPiece,
  Flag,
  FrameScanner,
  FrameType,
  ProtocolError,
  parseSettings,
  SETTINGS_ACK,
  serialiseFrame,
  serialiseHeaderBlock,
  serialiseSettings,
} from '../../../src/gateway/frames.ts';
import { HeaderBlockAssembler } from '../../../src/gateway/header-block.ts';

const frame = fc.record({
  type: fc.constantFrom(...Object.values(FrameType), 0xbe),
  flags: fc.integer({ min: 0, max: 255 }),
  streamId: fc.integer({ min: 0, max: 0x7fff_ffff }),
  payload: fc.uint8Array({ maxLength: 200 }),
});
const LIMITS = { frameBytes: 16_384, dataBytes: 16_384 };

/** Cuts bytes into chunks at these places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const edges = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge));
}

describe('the scanner', () => {
  it('sees the same frames however the bytes are cut, and DATA only as it stands in the chunks', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 20 }),
        fc.array(fc.nat(5000), { maxLength: 30 }),
        (frames, places) => {
          const bytes = Buffer.concat(
            frames.map((f) => serialiseFrame(f.type, f.flags, f.streamId, f.payload)),
          );
          const seen: unknown[] = [];
          let data: Buffer[] = [];
          const scanner = new FrameScanner(
            {
              frame: (type, flags, streamId, payload) =>
                seen.push({ type, flags, streamId, payload: Uint8Array.from(payload) }),
              data(piece: DataPiece) {
                if (piece.first) data = [];
                if (piece.header >= 0) expect(piece.start).toBe(piece.header + 9);
                data.push(piece.chunk.subarray(piece.start, piece.end));
                if (piece.left > 0) return;
                const payload = Uint8Array.from(Buffer.concat(data));
                expect(payload).toHaveLength(piece.length);
                seen.push({ type: FrameType.data, flags: piece.flags, streamId: piece.streamId, payload });
              },
            },
            LIMITS,
          );
          for (const chunk of cut(bytes, places)) scanner.push(chunk);
          expect(seen).toEqual(frames);
          expect(scanner.atBoundary).toBe(true);
        },
      ),
    );
  });

  it('refuses a frame over its limit before it is there', () => {
    const scanner = new FrameScanner({ frame() {}, data() {} }, LIMITS);
    const header = serialiseFrame(FrameType.headers, 0, 1, Buffer.alloc(16_385)).subarray(0, 9);
    expect(() => scanner.push(header)).toThrow(ProtocolError);
  });
});

it('header blocks survive being cut into frames', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 5000 }),
      fc.integer({ min: 1, max: 700 }),
      fc.boolean(),
      (block, size, endStream) => {
        const blocks = new HeaderBlockAssembler();
        const whole: unknown[] = [];
        const scanner = new FrameScanner(
          { frame: (...args) => whole.push(blocks.take(...args)), data() {} },
          { frameBytes: size, dataBytes: 0 },
        );
        scanner.push(serialiseHeaderBlock(5, Buffer.from(block), endStream, size));
        expect(whole.filter((b) => b !== undefined)).toEqual([
          { streamId: 5, endStream, block: Buffer.from(block) },
        ]);
      },
    ),
  );
});

it('padding and priority are taken off HEADERS', () => {
  const blocks = new HeaderBlockAssembler();
  const payload = Buffer.from([2, 0, 0, 0, 0, 16, 0x82, 0x86, 0, 0]);
  const flags = Flag.padded | Flag.priority | Flag.endHeaders;
  expect(blocks.take(FrameType.headers, flags, 1, payload)?.block).toEqual(Buffer.from([0x82, 0x86]));
  expect(() => blocks.take(FrameType.headers, Flag.padded, 1, Buffer.from([9, 0]))).toThrow(ProtocolError);
});

it('settings are read as they were written', () => {
  expect(
    parseSettings(
      serialiseSettings([
        [4, 0],
        [0xf000, 0xffff_ffff],
      ]).subarray(9),
    ),
  ).toEqual([
    [4, 0],
    [0xf000, 0xffff_ffff],
  ]);
});

describe('the opening of a spliced client', () => {
  const other = frame.filter((f) => !(f.type === FrameType.settings && (f.flags & Flag.ack) !== 0));

  it('loses the preface and exactly one acknowledgement, wherever it stands and however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(other, { maxLength: 5 }),
        fc.array(frame, { maxLength: 5 }),
        fc.array(fc.nat(3000), { maxLength: 20 }),
        (before, after, places) => {
          const bytesOf = (frames: typeof before) =>
            frames.map((f) => serialiseFrame(f.type, f.flags, f.streamId, f.payload));
          const all = Buffer.concat([CLIENT_PREFACE, ...bytesOf(before), SETTINGS_ACK, ...bytesOf(after)]);
          const opening = new ClientOpening({ dropAcknowledgement: true });
          const passed = cut(all, places).flatMap((chunk) => opening.push(chunk));
          expect(Buffer.concat(passed)).toEqual(Buffer.concat([...bytesOf(before), ...bytesOf(after)]));
          expect(opening.done).toBe(true);
        },
      ),
    );
  });

  it('passes everything but the preface when the gateway has sent nothing', () => {
    const opening = new ClientOpening({ dropAcknowledgement: false });
    expect(Buffer.concat(opening.push(Buffer.concat([CLIENT_PREFACE, SETTINGS_ACK])))).toEqual(SETTINGS_ACK);
  });

  it('refuses what is not HTTP/2', () => {
    expect(() =>
      new ClientOpening({ dropAcknowledgement: false }).push(Buffer.from('GET / HTTP/1.1')),
    ).toThrow(ProtocolError);
  });
});
