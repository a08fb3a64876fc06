/** What a client that asks and does not listen can make us hold. Its frames are written by hand: no library would send them. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it, vi } from 'vitest';
import {
  CLIENT_PREFACE,
  Flag,
  FrameType,
  serialiseFrame,
  serialiseHeaderBlock,
  serialiseReset,
  serialiseSettings,
} from '../../../src/gateway/frames.ts';
import { HeaderBlockAssembler } from '../../../src/gateway/header-block.ts';
import { encodeHeaders } from '../../../src/gateway/hpack.ts';
import { MethodTracker } from '../../../src/gateway/methods.ts';
import { MAX_UNREAD_BYTES, Multiplexer } from '../../../src/gateway/multiplexer.ts';
import { MAX_WAITING_HEADER_BYTES } from '../../../src/gateway/mux-client.ts';

/** Far more than the kernel's buffers and ours together. */
const FLOOD_BYTES = 40_000_000;
/** One event may add this much to what is held already: the answers to one chunk of frames. */
const ONE_EVENT_BYTES = 512 * 1024;

const opened: { destroy(): void }[] = [];
afterEach(() => {
  for (const socket of opened.splice(0)) socket.destroy();
});

async function socketPair(): Promise<readonly [Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  for (const end of [near, far]) end.on('error', () => {});
  opened.push(near, far);
  return [near, far];
}

/** A multiplexer and a client of it that has said hello and does not read. */
async function deafClient() {
  const mux = new Multiplexer(new MethodTracker());
  opened.push({ destroy: () => mux.close() });
  const [client, ours] = await socketPair();
  client.pause();
  mux.accept(ours);
  client.write(Buffer.concat([CLIENT_PREFACE, serialiseSettings([])]));
  return { mux, client, ours };
}

/** Resolves with whether the frames were taken within a second; a time for which this process stood still counts little. */
async function taken(socket: Socket, frames: Buffer): Promise<boolean> {
  if (socket.write(frames)) return true;
  let drained = false;
  const drain = once(socket, 'drain').then(() => {
    drained = true;
  });
  for (let turn = 0; turn < 50 && !drained; turn += 1) await Promise.race([drain, sleep(20)]);
  return drained;
}

/** Writes until all is written or nothing more is taken; resolves with the bytes that were. */
async function flood(socket: Socket, frames: Buffer): Promise<number> {
  let written = 0;
  while (written < FLOOD_BYTES && (await taken(socket, frames))) written += frames.length;
  return written;
}

const PING = serialiseFrame(FrameType.ping, 0, 0, Buffer.alloc(8));
const REQUEST = [
  [':method', 'POST'],
  [':path', '/'],
].map(([name = '', value = '']) => ({ name, value, sensitive: false }));

it('a client whose PINGs are answered and not read is not read either, until it listens', async () => {
  const { mux, client, ours } = await deafClient();
  const written = await flood(client, Buffer.concat(Array.from({ length: 4_096 }, () => PING)));
  expect(written).toBeLessThan(FLOOD_BYTES);
  expect(mux.waitingBytes).toBeGreaterThan(MAX_UNREAD_BYTES / 2);
  expect(mux.waitingBytes).toBeLessThan(MAX_UNREAD_BYTES + ONE_EVENT_BYTES);
  client.resume();
  // Every one of them is answered in the end: nothing was thrown away.
  await vi.waitFor(() => expect(ours.bytesRead).toBe(client.bytesWritten), { timeout: 60_000 });
  await vi.waitFor(() => expect(mux.waitingBytes).toBe(0), { timeout: 60_000 });
  expect(ours.bytesWritten).toBeGreaterThan(client.bytesWritten - CLIENT_PREFACE.length - 100);
}, 120_000);

it('requests given up as soon as made are not read faster than the builder takes them', async () => {
  const { mux, client, ours } = await deafClient();
  const [connection, builder] = await socketPair();
  builder.pause();
  mux.attach({ socket: connection, preamble: serialiseSettings([]) });
  const block = encodeHeaders(REQUEST, false);
  let id = -1;
  let written = 0;
  for (; written < FLOOD_BYTES; ) {
    const frames = Buffer.concat(
      Array.from({ length: 1_024 }, () => {
        id += 2;
        return Buffer.concat([serialiseHeaderBlock(id, block, false, 16_384), serialiseReset(id, 8)]);
      }),
    );
    if (!(await taken(client, frames))) break;
    written += frames.length;
  }
  expect(written).toBeLessThan(FLOOD_BYTES);
  expect(connection.writableLength).toBeGreaterThan(MAX_UNREAD_BYTES / 2);
  expect(connection.writableLength).toBeLessThan(MAX_UNREAD_BYTES + ONE_EVENT_BYTES);
  builder.resume();
  await vi.waitFor(() => expect(ours.bytesRead).toBe(client.bytesWritten), { timeout: 60_000 });
}, 120_000);

it('requests that wait for a builder with more headers than a build has are refused', async () => {
  const { mux, client } = await deafClient();
  const answers: Buffer[] = [];
  client.on('data', (chunk: Buffer) => answers.push(chunk));
  client.resume();
  const fields = [...REQUEST, { name: 'x-long', value: 'x'.repeat(500_000), sensitive: false }];
  const block = encodeHeaders(fields, false);
  const requests = Math.ceil(MAX_WAITING_HEADER_BYTES / 500_000) + 4;
  for (let index = 0; index < requests; index += 1)
    client.write(serialiseHeaderBlock(1 + 2 * index, block, false, 16_384));
  const refused = serialiseReset(1 + 2 * (requests - 1), 7);
  await vi.waitFor(() => expect(Buffer.concat(answers).includes(refused)).toBe(true), { timeout: 60_000 });
  expect(Buffer.concat(answers).includes(serialiseReset(1, 7))).toBe(false);
  expect(mux.wanted).toBe(true);
}, 120_000);

it('a header block that never ends is refused, be its parts empty or not', () => {
  const blocks = new HeaderBlockAssembler(10_000);
  blocks.take(FrameType.headers, 0, 1, Buffer.from('x'));
  expect(() => {
    for (let part = 0; part < 10_000; part += 1) blocks.take(FrameType.continuation, 0, 1, Buffer.alloc(0));
  }).toThrow('A header block over 10000 bytes');
  const whole = new HeaderBlockAssembler(10_000);
  whole.take(FrameType.headers, 0, 1, Buffer.from('a'));
  expect(whole.take(FrameType.continuation, Flag.endHeaders, 1, Buffer.from('b'))?.block.toString()).toBe(
    'ab',
  );
});
