import { once } from 'node:events';
import { createServer, type ServerHttp2Session } from 'node:http2';
import { connect } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openingBytes, readGreeting } from '../../../src/queue/preface.ts';
import { PLACE_TICK_MS, placeToken } from '../../../src/queue/token.ts';

const frame = (type: number, flags: number, payload: Buffer, stream = 0) => {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
};
const SETTINGS = frame(4, 0, Buffer.from('000500004000', 'hex'));
const WINDOW_UPDATE = frame(8, 0, Buffer.from('000f0000', 'hex'));
const ACK = frame(4, 1, Buffer.alloc(0));
const GOAWAY = frame(7, 0, Buffer.alloc(8));

test('the token stands where the load balancer reads it: id at byte 33, value at byte 35', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (token) => {
      const bytes = openingBytes(token);
      expect(bytes.subarray(24, 33).toString('hex')).toBe('000006040000000000');
      expect(bytes.readUInt16BE(33)).toBe(0xf000);
      expect(bytes.readUInt32BE(35)).toBe(token);
      expect(bytes.length).toBe(39);
    }),
  );
});

test('tokens never run backwards while builds wait, and fit 32 bits', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1.7e12, max: 2.1e12 }),
      fc.integer({ min: 0, max: 7 * 86_400_000 }),
      (at, wait) => {
        expect(placeToken(at + wait)).toBeGreaterThanOrEqual(placeToken(at));
        expect(placeToken(at + PLACE_TICK_MS)).toBe(placeToken(at) + 1);
        expect(placeToken(at + wait)).toBeLessThan(2 ** 32);
      },
    ),
  );
});

test('an HTTP/2 server other than ours takes the opening for what it is and acknowledges it', async () => {
  const server = createServer();
  const sessions: ServerHttp2Session[] = [];
  server.on('session', (session) => sessions.push(session));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const socket = connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1');
  try {
    socket.write(openingBytes(4711));
    let received = Buffer.alloc(0);
    const greeting = await new Promise<ReturnType<typeof readGreeting>>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        const read = readGreeting(received);
        if (read.kind !== 'waiting') resolve(read);
      });
    });
    expect(greeting.kind).toBe('granted');
  } finally {
    socket.destroy();
    for (const session of sessions) session.destroy();
    server.close();
  }
});

test('a builder is ours at its acknowledgement and not before, however the bytes are cut', () => {
  const rest = Buffer.from('later');
  const whole = Buffer.concat([SETTINGS, WINDOW_UPDATE, ACK, rest]);
  const grantedAt = whole.length - rest.length;
  for (let cut = 0; cut < grantedAt; cut++) {
    expect(readGreeting(whole.subarray(0, cut)).kind).toBe('waiting');
  }
  const greeting = readGreeting(whole);
  expect(greeting).toEqual({ kind: 'granted', preamble: Buffer.concat([SETTINGS, WINDOW_UPDATE]), rest });
});

test('settings that the load balancer sends early grant nothing; a GOAWAY takes the hope away', () => {
  const early = frame(4, 0, Buffer.alloc(0));
  expect(readGreeting(early).kind).toBe('waiting');
  expect(readGreeting(Buffer.concat([early, SETTINGS])).kind).toBe('waiting');
  expect(readGreeting(Buffer.concat([SETTINGS, GOAWAY])).kind).toBe('going-away');
});

test.each([
  ['HTTP/1.1 400 Bad Request\r\n\r\n', 'HTTP/1.1 400 Bad Request'],
  ['SSH-2.0-OpenSSH_9.2\r\n', 'SSH-2.0-OpenSSH_9.2'],
  ['\x15\x03\x01\x00\x02\x02\x46', '......F'],
])('%j is no builder', (text, beginning) => {
  const greeting = readGreeting(Buffer.from(text, 'latin1'));
  expect(greeting.kind).toBe('foreign');
  expect(greeting.kind === 'foreign' && greeting.beginning).toContain(beginning);
});

test('no bytes whatever raise an exception or wait without bound', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(['waiting', 'granted', 'going-away', 'foreign']).toContain(
        readGreeting(Buffer.from(bytes)).kind,
      );
    }),
  );
  const endless = Buffer.concat(Array.from({ length: 6_000 }, () => SETTINGS));
  expect(readGreeting(endless).kind).toBe('foreign');
});
