/** Mutual TLS that ends in the load balancer, on a real HAProxy. */
import { copyFileSync, mkdirSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../src/queue/endpoint.ts';
import { LineFailure } from '../../src/queue/failure.ts';
import { type LineStep, waitInLine } from '../../src/queue/line.ts';
import type { TlsMaterial } from '../../src/queue/tls.ts';
import { placeToken } from '../../src/queue/token.ts';
import { Certificates } from '../support/certificate-authority.ts';
import { countersOf, eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';

type Pool = Awaited<ReturnType<typeof openLocalPool>>;

let pool: Pool;
let plain: Pool;
const certificates = new Certificates();
const authority = certificates.authority();
const stranger = certificates.authority();
const server = authority.issue('DNS:pool.test');
// Chosen by the name that the client asks for.
const oldServer = authority.issue('DNS:old.test', { expired: true });
const client = authority.issue('DNS:client');
const good: TlsMaterial = { ca: authority.pem, cert: client.cert, key: client.key, serverName: 'pool.test' };

/** Both certificates of the server; without a name it knows, the first one counts. */
const served = joinPath(certificates.folder, 'served');

beforeAll(async () => {
  mkdirSync(served);
  copyFileSync(server.path, joinPath(served, '1.pem'));
  copyFileSync(oldServer.path, joinPath(served, '2.pem'));
  pool = await openLocalPool({
    minBuilders: 1,
    maxBuilders: 1,
    tls: {
      serverName: 'pool.test',
      certificatePath: served,
      clientCaPath: authority.path,
    },
  });
  plain = await openLocalPool({ minBuilders: 1, maxBuilders: 1 });
  await pool.untilReady(1);
  await plain.untilReady(1);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  await plain[Symbol.asyncDispose]();
  certificates[Symbol.dispose]();
});

const join = (
  tls: TlsMaterial | undefined,
  options: {
    joinedAtMs?: number;
    signal?: AbortSignal;
    steps?: LineStep[];
    to?: Pool;
    queueTimeoutMs?: number;
    random?: () => number;
  } = {},
) => {
  const result = parseEndpoint((options.to ?? pool).endpoint, 'amd64');
  if (result.kind === 'problem') throw new Error(result.problem);
  return waitInLine({
    endpoint: result.endpoint,
    tls,
    joinedAtMs: options.joinedAtMs,
    queueTimeoutMs: options.queueTimeoutMs ?? 120_000,
    signal: options.signal ?? new AbortController().signal,
    onStep: (step) => options.steps?.push(step),
    ...(options.random === undefined ? {} : { random: options.random }),
  });
};
const idle = () => eventually('nobody in line', async () => (await sessionsOf(pool)) === 0);
afterEach(idle);

describe('with the right certificates', () => {
  test('the place token reaches the line, and the line is served in the order of joining', async () => {
    const nowMs = Date.now();
    const places: (number | null)[] = [];
    pool.events.on('record', ({ place }) => places.push(place));
    const first = await join(good, { joinedAtMs: nowMs - 60_000 });
    const order: string[] = [];
    const later = join(good, { joinedAtMs: nowMs - 10_000 }).then((grant) => {
      order.push('later');
      grant.connection.socket.destroy();
    });
    await eventually('the later one is in line', async () => (await countersOf(pool)).queued === 1);
    const earlier = join(good, { joinedAtMs: nowMs - 30_000 }).then((grant) => {
      order.push('earlier');
      grant.connection.socket.destroy();
    });
    await eventually('both are in line', async () => (await countersOf(pool)).queued === 2);
    first.connection.socket.destroy();
    await Promise.all([later, earlier]);
    expect(order).toEqual(['earlier', 'later']);
    await eventually('all are logged', () => places.length === 3);
    expect(places).toEqual([60_000, 30_000, 10_000].map((ms) => placeToken(nowMs - ms)));
  });

  test('one that gives up leaves the line at once', async () => {
    const first = await join(good);
    const cancelled = new AbortController();
    const waiting = join(good, { signal: cancelled.signal });
    waiting.catch(() => {});
    await eventually('in line', async () => (await countersOf(pool)).queued === 1);
    cancelled.abort();
    expect(await eventually('left', async () => (await sessionsOf(pool)) === 1)).toBeLessThan(10_000);
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    first.connection.socket.destroy();
  });

  test('the decrypted side carries what BuildKit says after its acknowledgement', async () => {
    const { connection } = await join(good);
    // SETTINGS first, whole.
    expect(connection.preamble[3]).toBe(4);
    let received = '';
    connection.socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('hex');
    });
    connection.socket.resume();
    // PING, which BuildKit answers.
    connection.socket.write(Buffer.from(`0000080600000000000102030405060708`, 'hex'));
    await eventually('its answer', () => received.includes('0000080601000000000102030405060708'));
    connection.socket.destroy();
  });
});

describe('a fault ends the search at once and says which it is', () => {
  const without = (name: keyof TlsMaterial): TlsMaterial => {
    const { [name]: _, ...rest } = good;
    return rest;
  };
  const { cert: _cert, key: _key, ...nobody } = good;
  const theirs = stranger.issue('DNS:client');
  const old = authority.issue('DNS:client', { expired: true });

  test.each<[string, TlsMaterial, string, string]>([
    [
      'expired certificate of the pool',
      { ...good, serverName: 'old.test' },
      'tls-untrusted',
      'has a certificate that has expired',
    ],
    [
      'wrong authority',
      { ...good, ca: stranger.pem },
      'tls-untrusted',
      'signed by another authority than the one in `ca`',
    ],
    ['no authority at all', without('ca'), 'tls-untrusted', 'give the pool’s authority as `ca`'],
    [
      'wrong name',
      { ...good, serverName: 'elsewhere.test' },
      'tls-untrusted',
      'for another name than elsewhere.test, namely for DNS:pool.test: set `server-name`',
    ],
    [
      'no name, for an address',
      without('serverName'),
      'tls-untrusted',
      'for another name than the host that was dialled, namely for DNS:pool.test',
    ],
    [
      'no client certificate',
      nobody,
      'tls-refused',
      'lets nobody in without a client certificate: give `cert` and `key`',
    ],
    [
      'client certificate of another authority',
      { ...good, ...theirs },
      'tls-refused',
      '`cert` is signed by another authority',
    ],
    ['expired client certificate', { ...good, ...old }, 'tls-refused', 'because it has expired'],
  ])('%s', async (_, material, code, message) => {
    const steps: LineStep[] = [];
    const failure = await join(material, { steps }).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(LineFailure);
    expect(failure).toMatchObject({ code, temporary: false });
    expect(String(failure)).toContain(message);
    expect(steps.filter(({ kind }) => kind === 'dialling')).toHaveLength(1);
    expect(String(failure)).not.toContain('PRIVATE');
  });

  test('TLS to a port without', async () => {
    const steps: LineStep[] = [];
    await expect(join(good, { to: plain, steps })).rejects.toMatchObject({
      code: 'tls-refused',
      message: expect.stringContaining('does not speak TLS') as string,
    });
    expect(steps.filter(({ kind }) => kind === 'dialling')).toHaveLength(1);
  });

  test('no TLS to a port with, which closes without a word: dialled again, and the message says what to look at', async () => {
    // Dials after 0, 0.25, 0.75 and 1.75 s: the end comes between two of them, far from both.
    await expect(join(undefined, { queueTimeoutMs: 2_750, random: () => 0.999 })).rejects.toMatchObject({
      code: 'queue-timeout',
      message: expect.stringContaining('see whether the port is one for TLS') as string,
    });
  });
});
