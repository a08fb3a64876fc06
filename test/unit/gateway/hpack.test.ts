import http2 from 'node:http2';
import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CLIENT_PREFACE,
  FrameScanner,
  FrameType,
  SETTINGS_ACK,
  serialiseHeaderBlock,
  serialiseSettings,
} from '../../../src/gateway/frames.ts';
import { HeaderBlockAssembler } from '../../../src/gateway/header-block.ts';
import { encodeHeaders, type HeaderField, HpackDecoder, HpackError } from '../../../src/gateway/hpack.ts';

const LIMITS = { tableBytes: 4096, listBytes: 1024 * 1024 };

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const pairs = (fields: readonly HeaderField[]) => fields.map(({ name, value }) => `${name}: ${value}`);

describe('the examples of RFC 7541, appendix C', () => {
  it('C.2: single fields', () => {
    const decode = (text: string) => new HpackDecoder(LIMITS).decode(hex(text));
    expect(pairs(decode('400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'))).toEqual([
      'custom-key: custom-header',
    ]);
    expect(pairs(decode('040c 2f73 616d 706c 652f 7061 7468'))).toEqual([':path: /sample/path']);
    expect(decode('1008 7061 7373 776f 7264 0673 6563 7265 74')).toEqual([
      { name: 'password', value: 'secret', sensitive: true },
    ]);
    expect(pairs(decode('82'))).toEqual([':method: GET']);
  });

  const requests = [
    [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'],
    [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com', 'cache-control: no-cache'],
    [
      ':method: GET',
      ':scheme: https',
      ':path: /index.html',
      ':authority: www.example.com',
      'custom-key: custom-value',
    ],
  ];
  const date = (second: number) => `date: Mon, 21 Oct 2013 20:13:${second} GMT`;
  const responses = [
    [':status: 302', 'cache-control: private', date(21), 'location: https://www.example.com'],
    [':status: 307', 'cache-control: private', date(21), 'location: https://www.example.com'],
    [
      ':status: 200',
      'cache-control: private',
      date(22),
      'location: https://www.example.com',
      'content-encoding: gzip',
      'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
    ],
  ];

  it.each([
    [
      'C.3',
      4096,
      requests,
      164,
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ],
    ],
    [
      'C.4',
      4096,
      requests,
      164,
      [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ],
    ],
    [
      'C.5',
      256,
      responses,
      215,
      [
        '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '4803 3330 37c1 c0bf',
        '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31',
      ],
    ],
    [
      'C.6',
      256,
      responses,
      215,
      [
        '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
        '4883 640e ffc1 c0bf',
        '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
      ],
    ],
  ])('%s: three header lists on one connection', (_name, tableBytes, lists, tableAtEnd, blocks) => {
    const decoder = new HpackDecoder({ ...LIMITS, tableBytes });
    expect(blocks.map((block) => pairs(decoder.decode(hex(block))))).toEqual(lists);
    expect(decoder.tableBytes).toBe(tableAtEnd);
  });
});

const bytes = (max: number) =>
  fc.uint8Array({ minLength: 0, maxLength: max }).map((value) => Buffer.from(value).toString('latin1'));
const fields = fc.array(
  fc.record({
    name: fc.oneof(fc.constantFrom(':path', 'x-a', 'cookie', 'content-type'), bytes(20)),
    value: bytes(300),
    sensitive: fc.boolean(),
  }),
  { maxLength: 20 },
);

describe('the encoder', () => {
  it('loses nothing, keeps repeated names apart, and leaves the table of the decoder empty', () => {
    fc.assert(
      fc.property(fields, fc.boolean(), (list, opening) => {
        const decoder = new HpackDecoder(LIMITS);
        expect(decoder.decode(encodeHeaders(list, opening))).toEqual(list);
        expect(decoder.table).toEqual([]);
      }),
    );
  });

  it('carries a value of a megabyte', () => {
    const value = 'é'.repeat(1_000_000);
    const field = { name: 'grpc-status-details-bin', value, sensitive: false };
    expect(new HpackDecoder({ ...LIMITS, listBytes: 2_000_000 }).decode(encodeHeaders([field]))).toEqual([
      field,
    ]);
  });
});

describe('broken header blocks', () => {
  it.each([
    ['an index beyond the tables', 'ff80 01'],
    ['index 0', '80'],
    ['a string longer than the block', '0005 61'],
    ['a table size over the limit', '3fe2 1f'],
    ['a table size update after a field', '8220'],
    ['an endless integer', 'ffff ffff ffff ffff ffff'],
    ['padding of more than 7 bits', '0082 ffff 00'],
    ['a block that ends within a field', '40'],
  ])('%s is refused', (_name, text) => {
    expect(() => new HpackDecoder(LIMITS).decode(hex(text))).toThrow(HpackError);
  });

  it('any bytes either decode or are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (block) => {
        try {
          new HpackDecoder(LIMITS).decode(Buffer.from(block));
        } catch (error) {
          expect(error).toBeInstanceOf(HpackError);
        }
      }),
    );
  });

  it('refuses a header list over its limit', () => {
    const list = Array.from({ length: 100 }, () => ({ name: 'a', value: 'b', sensitive: false }));
    expect(() => new HpackDecoder({ ...LIMITS, listBytes: 1000 }).decode(encodeHeaders(list))).toThrow(
      /1000 bytes/,
    );
  });
});

it('understands node:http2 and is understood by it', async () => {
  const [near, far] = duplexPair();
  const decoder = new HpackDecoder(LIMITS);
  const blocks = new HeaderBlockAssembler();
  const answers: string[][] = [];
  let opening = true;
  const scanner = new FrameScanner(
    {
      frame(type, flags, streamId, payload) {
        if (type === FrameType.settings && flags === 0) far.write(SETTINGS_ACK);
        if (type !== FrameType.headers && type !== FrameType.continuation) return;
        const block = blocks.take(type, flags, streamId, payload);
        if (block === undefined) return;
        const list = decoder.decode(block.block);
        answers.push(pairs(list));
        const answer = [
          { name: ':status', value: '200', sensitive: false },
          ...list.filter(({ name }) => name.startsWith('x-')),
        ];
        far.write(serialiseHeaderBlock(streamId, encodeHeaders(answer, opening), true, 16_384));
        opening = false;
      },
      data() {},
    },
    { frameBytes: 16_384, dataBytes: 16_384 },
  );
  let skip = CLIENT_PREFACE.length;
  far.on('data', (chunk: Buffer) => {
    const part = chunk.subarray(Math.min(skip, chunk.length));
    skip -= Math.min(skip, chunk.length);
    scanner.push(part);
  });
  far.write(serialiseSettings([]));
  const client = http2.connect('http://localhost', { createConnection: () => near });
  for (let round = 0; round < 3; round++) {
    const request = client.request({
      ':path': `/p${round}`,
      'x-list': ['one', 'two'],
      'x-long': 'y'.repeat(20_000),
      'x-secret': 's',
      [http2.sensitiveHeaders]: ['x-secret'],
    });
    const headers = await new Promise<http2.IncomingHttpHeaders>((resolve, reject) => {
      request.on('response', resolve).on('error', reject);
    });
    expect(headers['x-list']).toBe('one, two');
    expect(headers['x-long']).toHaveLength(20_000);
    request.close();
  }
  client.destroy();
  expect(answers).toHaveLength(3);
  for (const list of answers)
    expect(list.filter((line) => line.startsWith('x-list'))).toEqual(['x-list: one', 'x-list: two']);
});
