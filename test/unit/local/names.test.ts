import { Resolver } from 'node:dns/promises';
import { createConnection } from 'node:net';
import dnsPacket from 'dns-packet';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { answerQuery, type NameServerHandle, startNameServer } from '../../../src/local/names.ts';

/** An address that no other process of this machine has. */
const ADDRESS = `127.79.${1 + (process.pid % 250)}.${1 + (Math.floor(process.pid / 250) % 250)}`;
const PORT = 5353;
const NXDOMAIN = 3;

let server: NameServerHandle;

beforeEach(async () => {
  server = await startNameServer(ADDRESS, PORT);
});
afterEach(() => server.close());

function resolver(): Resolver {
  const asker = new Resolver({ timeout: 20_000, tries: 1 });
  asker.setServers([`${ADDRESS}:${PORT}`]);
  return asker;
}

test('a name resolves from the moment it is added until it is removed', async () => {
  await expect(resolver().resolve4('builder-0.amd64.pool.internal')).rejects.toThrow('ENOTFOUND');
  server.add('builder-0.amd64.pool.internal', '127.77.3.1');
  await expect(resolver().resolve4('builder-0.amd64.pool.internal')).resolves.toEqual(['127.77.3.1']);
  await expect(resolver().resolve4('builder-1.amd64.pool.internal')).rejects.toThrow('ENOTFOUND');
  server.remove('builder-0.amd64.pool.internal');
  await expect(resolver().resolve4('builder-0.amd64.pool.internal')).rejects.toThrow('ENOTFOUND');
});

test('a name exists even when it has no address of the kind asked for', async () => {
  server.add('builder-0.amd64.pool.internal', '127.77.3.1');
  await expect(resolver().resolve6('builder-0.amd64.pool.internal')).rejects.toThrow('ENODATA');
});

test('TCP queries may come in pieces and several at once', async () => {
  server.add('a.pool.internal', '127.77.3.1');
  const socket = createConnection(PORT, ADDRESS);
  const ask = (id: number) =>
    dnsPacket.streamEncode({ type: 'query', id, questions: [{ type: 'A', name: 'a.pool.internal' }] });
  const bytes = Buffer.concat([ask(1), ask(2)]);
  socket.write(bytes.subarray(0, 5));
  setTimeout(() => socket.write(bytes.subarray(5)), 20);
  const answers: Buffer[] = [];
  const ids = await new Promise<readonly (number | undefined)[]>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      answers.push(chunk);
      const all = Buffer.concat(answers);
      const first = 2 + all.readUInt16BE(0);
      if (all.length >= 2 * first) {
        resolve([all.subarray(0, first), all.subarray(first)].map((one) => dnsPacket.streamDecode(one).id));
      }
    });
  });
  socket.destroy();
  expect(ids).toEqual([1, 2]);
});

test('nonsense is survived', async () => {
  const socket = createConnection(PORT, ADDRESS);
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(Buffer.from([0, 3, 1, 2, 3]));
  await closed;
  server.add('a.pool.internal', '127.77.3.1');
  await expect(resolver().resolve4('a.pool.internal')).resolves.toEqual(['127.77.3.1']);
});

test('an absence carries an SOA, so that resolvers know how long it counts', () => {
  const query = dnsPacket.decode(
    dnsPacket.encode({ type: 'query', id: 9, questions: [{ type: 'A', name: 'Nobody.Pool.Internal' }] }),
  );
  const answer = dnsPacket.decode(dnsPacket.encode(answerQuery(new Map(), query)));
  expect((answer.flags ?? 0) & 0xf).toBe(NXDOMAIN);
  expect(answer.answers).toEqual([]);
  expect(answer.authorities?.[0]).toMatchObject({ type: 'SOA', ttl: 1 });
});

test('a second server at the same address is refused', async () => {
  await expect(startNameServer(ADDRESS, PORT)).rejects.toMatchObject({ code: 'EADDRINUSE' });
});
