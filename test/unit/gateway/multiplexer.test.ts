import { once } from 'node:events';
import http2 from 'node:http2';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { MethodTracker } from '../../../src/gateway/methods.ts';
import {
  MAX_CLIENTS,
  MAX_WAITING_BYTES,
  Multiplexer,
  type MultiplexerEvents,
} from '../../../src/gateway/multiplexer.ts';
import { CLIENT_WINDOW } from '../../../src/gateway/mux-client.ts';
import type { PoolConnection } from '../../../src/gateway/pool-connection.ts';
import { openingBytes, readGreeting } from '../../../src/queue/preface.ts';

/** However slow this machine is, what is to happen happens within this time. */
const until = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 10 });

const SOLVE = '/moby.buildkit.v1.Control/Solve';

type Handler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

/** Two ends of a connection on loopback: node:http2 trips over its own asserts on streams that are no sockets. */
async function socketPair(): Promise<readonly [Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', noDelay: true });
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  for (const end of [near, far]) end.on('error', () => {});
  opened.push(near, far);
  return [near, far];
}

/** node:http2 as the builder, and the pool connection to it. */
async function builder(handler: Handler, settings: http2.Settings = {}) {
  const [near, far] = await socketPair();
  const session = http2.performServerHandshake(far, { settings });
  session.on('error', () => {});
  session.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    handler(stream, headers);
  });
  near.write(openingBytes(1));
  const connection = await new Promise<PoolConnection>((resolve) => {
    let received: Buffer = Buffer.alloc(0);
    const read = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const greeting = readGreeting(received);
      if (greeting.kind !== 'granted') return;
      near.off('data', read).pause();
      if (greeting.rest.length > 0) near.unshift(greeting.rest);
      resolve({ socket: near, preamble: greeting.preamble });
    };
    near.on('data', read);
  });
  return { session, connection, far };
}

const echo: Handler = (stream) => {
  stream.respond({ ':status': 200 }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.pipe(stream);
};

const opened: Array<{ close(): void } | { destroy(): void }> = [];
afterEach(() => {
  for (const it of opened.splice(0).reverse()) 'close' in it ? it.close() : it.destroy();
});

function multiplexer(events: MultiplexerEvents = {}) {
  const tracker = new MethodTracker();
  const warnings: string[] = [];
  const ends = new Map<http2.ClientHttp2Session, Socket>();
  const mux = new Multiplexer(tracker, { onWarning: (message) => warnings.push(message), ...events });
  opened.push(mux);
  /** node:http2 as a client; `shape` stands between it and the multiplexer. */
  const client = async (settings: http2.Settings = {}, shape = async (end: Socket) => end) => {
    const [near, far] = await socketPair();
    mux.accept(await shape(far));
    const session = http2.connect('http://localhost', { createConnection: () => near, settings });
    session.on('error', () => {});
    opened.push(session);
    ends.set(session, near);
    await once(session, 'remoteSettings');
    return session;
  };
  /** The client is gone without a word. */
  const vanish = (session: http2.ClientHttp2Session) => ends.get(session)?.destroy();
  return { mux, tracker, warnings, client, vanish };
}

interface Answer {
  readonly body: Buffer;
  readonly status: string | undefined;
  readonly message: string | undefined;
  readonly error: string | undefined;
}

function answerTo(request: http2.ClientHttp2Stream): Promise<Answer> {
  const parts: Buffer[] = [];
  let trailers: http2.IncomingHttpHeaders = {};
  let error: string | undefined;
  request.on('data', (chunk: Buffer) => parts.push(chunk));
  request.on('response', (headers) => {
    if (headers['grpc-status'] !== undefined) trailers = headers;
  });
  request.on('trailers', (headers) => {
    trailers = headers;
  });
  request.on('error', (failure: Error) => {
    error = failure.message;
  });
  return new Promise((resolve) => {
    request.on('close', () => {
      const [status, message] = [trailers['grpc-status'], trailers['grpc-message']];
      resolve({
        body: Buffer.concat(parts),
        status: status?.toString(),
        message: message?.toString(),
        error,
      });
    });
  });
}

/** A stream that hands on its bytes in chunks of these sizes. */
function chopped(sizes: readonly number[]) {
  return async (end: Socket): Promise<Socket> => {
    let turn = 0;
    const chop = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        for (let at = 0; at < chunk.length; ) {
          const size = sizes[turn++ % sizes.length] ?? 1;
          this.push(Buffer.from(chunk.subarray(at, at + size)));
          at += size;
        }
        done();
      },
    });
    const [near, far] = await socketPair();
    end.pipe(chop).pipe(near).pipe(end);
    return far;
  };
}

describe('several clients over one connection', () => {
  it('what each sends comes back to it whole, however the bytes are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: 0, max: 200_000 }), { minLength: 1, maxLength: 4 }), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 5 }),
        async (clients, sizes) => {
          const { mux, client } = multiplexer();
          const { connection } = await builder(echo);
          mux.attach(connection);
          const sessions = await Promise.all(clients.map(() => client({}, chopped(sizes))));
          const checks = clients.flatMap((streams, index) => {
            const session = sessions[index];
            return streams.map(async (size, stream) => {
              const body = Buffer.alloc(size, `${index}.${stream} `);
              const request = session?.request({ ':path': `/${index}/${stream}`, ':method': 'POST' });
              if (request === undefined) throw new Error('no session');
              request.end(body);
              const answer = await answerTo(request);
              expect(answer.error).toBeUndefined();
              expect(answer.status).toBe('0');
              expect(answer.body.equals(body)).toBe(true);
            });
          });
          await Promise.all(checks);
          expect(mux.waitingBytes).toBe(0);
          for (const it of opened.splice(0).reverse()) 'close' in it ? it.close() : it.destroy();
        },
      ),
      { numRuns: 15 },
    );
  }, 120_000);

  it('a frozen client stops nobody else, and what waits for it is no more than it has granted', async () => {
    const { mux, client } = multiplexer();
    const { connection } = await builder((stream) => {
      stream.respond({ ':status': 200 });
      stream.end(Buffer.alloc(4_000_000, 'x'));
    });
    mux.attach(connection);
    const frozen = await client({ initialWindowSize: 1_000_000 });
    const stuck = frozen.request({ ':path': '/stuck' });
    stuck.pause();
    await sleep(50);
    const answer = await answerTo((await client()).request({ ':path': '/free' }));
    expect(answer.body).toHaveLength(4_000_000);
    expect(mux.waitingBytes).toBeLessThanOrEqual(1_000_000);
    const rest = await answerTo(stuck.resume());
    expect(rest.body).toHaveLength(4_000_000);
  });

  it('a window that the client shrinks is kept to', async () => {
    const { mux, client } = multiplexer();
    const { connection } = await builder((stream) => {
      stream.respond({ ':status': 200 });
      stream.end(Buffer.alloc(3_000_000, 'x'));
    });
    mux.attach(connection);
    const session = await client({ initialWindowSize: 500_000 });
    const request = session.request({ ':path': '/' });
    await new Promise((resolve) => request.once('response', resolve));
    await new Promise<void>((resolve) => session.settings({ initialWindowSize: 1_000 }, () => resolve()));
    session.settings({ initialWindowSize: 70_000 });
    const answer = await answerTo(request);
    expect([answer.error, answer.body.length]).toEqual([undefined, 3_000_000]);
  });

  it('MAX_CONCURRENT_STREAMS of the builder holds for all of them together', async () => {
    const { mux, client } = multiplexer();
    let most = 0;
    let open = 0;
    const { connection } = await builder(
      (stream) => {
        most = Math.max(most, ++open);
        setTimeout(() => {
          open -= 1;
          stream.respond({ ':status': 200 });
          stream.end('done');
        }, 5);
      },
      { maxConcurrentStreams: 3 },
    );
    mux.attach(connection);
    const sessions = [await client(), await client(), await client()];
    const answers = await Promise.all(
      sessions.flatMap((session) => [1, 2, 3, 4].map((n) => answerTo(session.request({ ':path': `/${n}` })))),
    );
    expect(answers.map((answer) => answer.body.toString())).toEqual(Array(12).fill('done'));
    expect(most).toBe(3);
  });

  it('a PING goes to the builder and its answer to the client that asked', async () => {
    const { mux, client } = multiplexer();
    const { connection } = await builder(echo);
    mux.attach(connection);
    const sessions = [await client(), await client()];
    const pings = sessions.map(
      (session, index) =>
        new Promise<string>((resolve, reject) => {
          const payload = Buffer.alloc(8, `${index}`);
          session.ping(payload, (error, _ms, answer) => (error ? reject(error) : resolve(answer.toString())));
        }),
    );
    expect(await Promise.all(pings)).toEqual(['00000000', '11111111']);
  });
});

describe('a client that leaves', () => {
  it('has its streams cancelled at the builder, which stays usable', async () => {
    const { mux, client, tracker, vanish } = multiplexer();
    const codes: number[] = [];
    const { connection } = await builder((stream, headers) => {
      if (headers[':path'] === '/echo') return echo(stream, headers);
      stream.respond({ ':status': 200 });
      stream.on('close', () => codes.push(stream.rstCode));
    });
    mux.attach(connection);
    const leaving = await client();
    for (const path of ['/a', '/b'])
      leaving.request({ ':path': path, ':method': 'POST' }).on('error', () => {});
    await until(() => expect(tracker.openStreams).toBe(2));
    vanish(leaving);
    await until(() => expect(codes).toEqual([8, 8]));
    expect(tracker.openStreams).toBe(0);
    expect(mux.clients).toBe(0);
    const request = (await client()).request({ ':path': '/echo', ':method': 'POST' });
    request.end('again');
    expect((await answerTo(request)).body.toString()).toBe('again');
  });

  it('one that breaks HTTP/2 is cut, and only that one', async () => {
    const { mux, client, warnings } = multiplexer();
    const { connection } = await builder(echo);
    mux.attach(connection);
    const [near, far] = await socketPair();
    mux.accept(far);
    near.resume().write('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
    await until(() => expect(warnings).toHaveLength(1));
    const request = (await client()).request({ ':path': '/', ':method': 'POST' });
    request.end('fine');
    expect((await answerTo(request)).body.toString()).toBe('fine');
  });
});

describe('a builder that is lost', () => {
  it('a client that had begun something is told UNAVAILABLE, one that had not may retry and waits for the next builder', async () => {
    const { mux, client, tracker } = multiplexer();
    const first = await builder((stream, headers) => {
      if (headers[':path'] === '/begun') {
        stream.respond({ ':status': 200 });
        stream.write('half');
      }
    });
    const attachment = mux.attach(first.connection);
    const session = await client();
    const begun = session.request({ ':path': '/begun', ':method': 'POST' });
    const other = await client();
    const unanswered = other.request({ ':path': '/unanswered', ':method': 'POST' });
    const solve = session.request({ ':path': SOLVE, ':method': 'POST' });
    const answers = Promise.all([begun, unanswered, solve].map(answerTo));
    await new Promise((resolve) => begun.once('data', resolve));
    await until(() => expect(tracker.solve).toBe('sent'));
    await until(() => expect(tracker.openStreams).toBe(3));
    first.far.destroy();
    expect((await attachment.ended).solve).toBe('sent');
    const [begunAnswer, unansweredAnswer, solveAnswer] = await answers;
    expect(begunAnswer).toMatchObject({ status: '14', message: 'the connection to the builder was lost' });
    expect(unansweredAnswer?.error).toContain('NGHTTP2_REFUSED_STREAM');
    expect(solveAnswer).toMatchObject({ status: '14' });
    expect(session.closed).toBe(false);

    const body = Buffer.alloc(300_000, 'w');
    const late = session.request({ ':path': '/late', ':method': 'POST' });
    expect(await answerTo(late)).toMatchObject({ status: '14' });
    const waiting = other.request({ ':path': '/waiting', ':method': 'POST' });
    waiting.end(body);
    const answer = answerTo(waiting);
    await sleep(50);
    const second = await builder(echo, { initialWindowSize: 20_000 });
    mux.attach(second.connection);
    expect((await answer).body.equals(body)).toBe(true);
  });

  it('a client without any builder is answered its SETTINGS and PINGs, and may send no more than its window', async () => {
    const { mux, client } = multiplexer();
    const session = await client();
    await new Promise((resolve) => session.ping(resolve));
    const request = session.request({ ':path': '/early', ':method': 'POST' });
    const body = Buffer.alloc(2 * CLIENT_WINDOW, 'e');
    request.end(body);
    const answer = answerTo(request);
    await sleep(50);
    mux.attach((await builder(echo)).connection);
    expect((await answer).body.equals(body)).toBe(true);
  });

  it('GOAWAY is carried: what the builder will not answer is refused, the rest goes on', async () => {
    const { mux, client, tracker } = multiplexer();
    const streams: http2.ServerHttp2Stream[] = [];
    const { connection, session: server } = await builder((stream) => {
      stream.respond({ ':status': 200 });
      streams.push(stream);
    });
    const attachment = mux.attach(connection);
    const session = await client();
    const other = await client();
    const kept = session.request({ ':path': '/kept', ':method': 'POST' });
    await until(() => expect(streams).toHaveLength(1));
    const refused = other.request({ ':path': '/refused', ':method': 'POST' });
    await until(() => expect(streams).toHaveLength(2));
    const last: number[] = [];
    for (const [index, each] of [session, other].entries()) {
      each.on('goaway', (_code, id) => {
        last[index] = id ?? -1;
      });
    }
    const answers = [answerTo(kept), answerTo(refused)];
    server.goaway(0, 1);
    await until(() => expect(last).toEqual([1, 0]));
    expect(tracker.goaway).toBe(true);
    streams[0]?.end('kept');
    expect((await answers[0])?.body.toString()).toBe('kept');
    server.destroy();
    expect(await attachment.ended).toMatchObject({ cause: 'goaway' });
  });
});

describe('its bounds', () => {
  it('refuses a client too many, and takes the next when one has left', async () => {
    const { mux, client, warnings, vanish } = multiplexer();
    mux.attach((await builder(echo)).connection);
    const sessions = await Promise.all(Array.from({ length: MAX_CLIENTS }, () => client()));
    const [near, far] = await socketPair();
    mux.accept(far);
    await once(near.resume(), 'close');
    expect(warnings).toEqual([`A client was refused: there are ${MAX_CLIENTS} already`]);
    expect(mux.clients).toBe(MAX_CLIENTS);
    if (sessions[0] !== undefined) vanish(sessions[0]);
    await until(() => expect(mux.clients).toBe(MAX_CLIENTS - 1));
    const request = (await client()).request({ ':path': '/', ':method': 'POST' });
    request.end('one more');
    expect((await answerTo(request)).body.toString()).toBe('one more');
  });

  it('clients that grant more than they read hold up the builder only until the worst of them is cut', async () => {
    const { mux, client, warnings } = multiplexer({ stuckTimeoutMs: 300 });
    let sentBytes = 0;
    const { connection } = await builder((stream, headers) => {
      if (headers[':path'] === '/free') return echo(stream, headers);
      stream.respond({ ':status': 200 });
      const chunk = Buffer.alloc(1024 * 1024, 'x');
      const send = () => {
        if (stream.destroyed) return;
        sentBytes += chunk.length;
        stream.write(chunk, send);
      };
      send();
    });
    mux.attach(connection);
    let freeze = () => {};
    const greedy = await client({ initialWindowSize: 0x7fff_ffff }, async (end) => {
      const [near, far] = await socketPair();
      end.pipe(near).pipe(end);
      freeze = () => near.unpipe(end).pause();
      return far;
    });
    const modest = await client();
    const stuck = greedy.request({ ':path': '/stuck' });
    stuck.on('error', () => {});
    await once(stuck, 'response');
    freeze();
    // What the kernel and node:http2 take is not counted; the rest waits with us, up to the bound.
    await until(() => expect(warnings).toHaveLength(1));
    expect(warnings[0]).toMatch(/^A client that does not read was cut: \d+ bytes were waiting for it$/);
    const held = Number(/\d+/.exec(warnings[0] ?? '')?.[0]);
    expect(held).toBeGreaterThan(MAX_WAITING_BYTES);
    // No more than what was already on its way when the builder was no longer read.
    expect(held).toBeLessThan(MAX_WAITING_BYTES + 17 * 1024 * 1024);
    expect(sentBytes).toBeGreaterThan(MAX_WAITING_BYTES);
    await until(() => expect(mux.waitingBytes).toBe(0));
    expect(mux.clients).toBe(1);
    const request = modest.request({ ':path': '/free', ':method': 'POST' });
    request.end('free again');
    expect((await answerTo(request)).body.toString()).toBe('free again');
  });

  it.each([
    ['SETTINGS of a broken length', Buffer.from('000005040000000000' + '0102030405', 'hex')],
    ['a frame of a forbidden length', Buffer.from('ffffff040000000000', 'hex')],
    ['a header block that is none', Buffer.from('000001010500000001' + 'ff', 'hex')],
  ])('a builder that begins with %s is lost like any other', async (_, preamble) => {
    const { mux, client, tracker } = multiplexer();
    const waiting = (await client()).request({ ':path': '/', ':method': 'POST' });
    waiting.end('waits');
    const answer = answerTo(waiting);
    await until(() => expect(mux.wanted).toBe(true));
    const [near, far] = await socketPair();
    const attachment = mux.attach({ socket: near.pause(), preamble });
    expect(await attachment.ended).toMatchObject({ cause: 'error', solve: 'none' });
    await once(far.resume(), 'close');
    expect(tracker.openStreams).toBe(0);
    mux.attach((await builder(echo)).connection);
    expect((await answer).body.toString()).toBe('waits');
  });
});

describe('without a builder', () => {
  const standIn = {
    answer: ({ path }: { path: string }) => {
      if (path === '/known') return { kind: 'reply', message: Buffer.from('an answer') } as const;
      if (path === '/gone') return { kind: 'refuse', status: 9, message: 'gone: 100 %, für immer' } as const;
      return { kind: 'hold' } as const;
    },
    heard: () => {},
  };

  it('what can be answered is, and wants no builder; what can not, does', async () => {
    const wanted: boolean[] = [];
    const { mux, client } = multiplexer({ standIn, onWanted: (now) => wanted.push(now) });
    const session = await client();
    for (const body of [undefined, 'a request']) {
      const known = session.request(
        { ':path': '/known', ':method': 'POST' },
        { endStream: body === undefined },
      );
      if (body !== undefined) known.end(body);
      const answer = await answerTo(known);
      expect(answer).toMatchObject({ status: '0', error: undefined });
      expect(answer.body.toString('latin1')).toBe('\0\0\0\0\x09an answer');
    }
    const gone = session.request({ ':path': '/gone', ':method': 'POST' });
    expect(await answerTo(gone)).toMatchObject({ status: '9', message: 'gone: 100 %25, f%C3%BCr immer' });
    expect(wanted).toEqual([]);
    const held = session.request({ ':path': '/held', ':method': 'POST' });
    held.end('held');
    const answer = answerTo(held);
    await until(() => expect(wanted).toEqual([true]));
    const { connection } = await builder(echo);
    mux.attach(connection);
    expect((await answer).body.toString()).toBe('held');
    expect(wanted).toEqual([true, false]);
    // With a builder nothing is answered in its stead.
    const real = session.request({ ':path': '/known', ':method': 'POST' });
    real.end('asked');
    expect((await answerTo(real)).body.toString()).toBe('asked');
  });

  it('those who wait are told when none will come, until one does', async () => {
    const { mux, client } = multiplexer({ standIn });
    const session = await client();
    const other = await client();
    const held = session.request({ ':path': '/held', ':method': 'POST' });
    held.end();
    await until(() => expect(mux.wanted).toBe(true));
    const answer = answerTo(held);
    mux.refuse({ status: 8, message: 'no builder in time' });
    expect(await answer).toMatchObject({ status: '8', message: 'no builder in time' });
    expect(mux.wanted).toBe(false);
    // buildx asks again at once, for what would have been answered.
    expect(await answerTo(session.request({ ':path': '/known', ':method': 'POST' }))).toMatchObject({
      status: '8',
      message: 'no builder in time',
    });
    expect(await answerTo(other.request({ ':path': '/known', ':method': 'POST' }))).toMatchObject({
      status: '0',
    });
    mux.attach((await builder(echo)).connection);
    const late = session.request({ ':path': '/late', ':method': 'POST' });
    late.end('late');
    expect((await answerTo(late)).body.toString()).toBe('late');
  });

  it('a builder that is put back while nothing is asked of it goes unnoticed', async () => {
    const { mux, client } = multiplexer({ standIn });
    const session = await client();
    const first = await builder(echo);
    const attachment = mux.attach(first.connection);
    const asked = session.request({ ':path': '/', ':method': 'POST' });
    asked.end('one');
    expect((await answerTo(asked)).body.toString()).toBe('one');
    mux.detach();
    expect(await attachment.ended).toMatchObject({ cause: 'closed' });
    const waiting = session.request({ ':path': '/', ':method': 'POST' });
    waiting.end('two');
    const answer = answerTo(waiting);
    await until(() => expect(mux.wanted).toBe(true));
    mux.attach((await builder(echo)).connection);
    expect((await answer).body.toString()).toBe('two');
  });
});
