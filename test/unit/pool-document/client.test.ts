/** The HTTP edge against a real server on this machine. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { fetchDocument, fetchLine } from '../../../src/pool-document/client.ts';
import { POOL_DOCUMENT_SCHEMA, type PoolDocument } from '../../../src/pool-document/document.ts';

const DOCUMENT: PoolDocument = {
  schema: POOL_DOCUMENT_SCHEMA,
  name: 'default',
  queue_timeout_s: 5_400,
  connect_timeout_s: 10,
  redial: { base_ms: 250, cap_ms: 4_000 },
  linger_s: 60,
  metrics: null,
  architectures: [
    {
      arch: 'amd64',
      platforms: ['linux/amd64'],
      endpoint: 'tcp://pool:1',
      max_builders: 1,
      expected_cold_start_s: 1,
      tls: null,
      proxies: null,
    },
  ],
  versions: {},
};

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

/** Answers each request in turn, the last answer for ever. */
async function serve(...answers: readonly Answer[]): Promise<{ url: string; urls: string[] }> {
  const urls: string[] = [];
  const server = createServer((request, response) => {
    urls.push(request.url ?? '');
    answers[Math.min(urls.length, answers.length) - 1]?.(response, request);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  cleanups.push(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/pool.json`,
    urls,
  };
}

const text =
  (body: string, status = 200): Answer =>
  (response) =>
    response.writeHead(status).end(body);
const good = text(JSON.stringify(DOCUMENT));
const get = (url: string, patienceMs = 25_000, signal = new AbortController().signal) =>
  fetchDocument({ url, ca: undefined, patienceMs, signal });

describe('a document', () => {
  test('is had at once, by one request', async () => {
    const { url, urls } = await serve(good);
    expect(await get(url)).toEqual(DOCUMENT);
    expect(urls).toEqual(['/pool.json']);
  });

  test('is asked for again while the server is coming up', async () => {
    const { url, urls } = await serve(
      text('soon', 503),
      (response) => response.destroy(),
      text('too many', 429),
      good,
    );
    expect(await get(url)).toEqual(DOCUMENT);
    expect(urls).toHaveLength(4);
  });

  test('is not asked for again when that can’t help', async () => {
    for (const [answer, message] of [
      [text('no', 404), 'answered with status 404'],
      [text('', 302), 'answered with status 302'],
      [text('{}'), 'schema is missing: expected buildkit-pool/pool/v1'],
      [text(' '.repeat(1_100_000)), 'answered with more than a pool document can have'],
    ] as const) {
      const { url, urls } = await serve(answer);
      await expect(get(url)).rejects.toMatchObject({
        name: 'DocumentFailure',
        code: 'wrong',
        message: expect.stringContaining(message) as string,
      });
      expect(urls).toHaveLength(1);
    }
    await expect(get('http://no-such-host.invalid/pool.json', 0)).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  test('that never comes is given up in the end, with the cause', async () => {
    const { url, urls } = await serve(text('down', 500));
    await expect(get(url, 4_000)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/can't be had: .* answered with status 500/) as string,
    });
    expect(urls.length).toBeGreaterThan(1);
  });

  test('is not waited for by those who are cancelled', async () => {
    const { url } = await serve(() => {});
    const cancelled = new AbortController();
    const waiting = get(url, 60_000, cancelled.signal);
    setTimeout(() => cancelled.abort(new Error('enough')), 50);
    await expect(waiting).rejects.toThrow('enough');
  });
});

describe('a look at the line', () => {
  const proxies = { frontend: 'amd64', backend: 'builders_amd64' };
  const look = (url: string) => fetchLine(url, undefined, proxies, new AbortController().signal);

  test('asks for what it needs and no more', async () => {
    const { url, urls } = await serve(text('haproxy_backend_current_queue{proxy="builders_amd64"} 3\n'));
    // A page that does not tell all of it tells nothing.
    expect(await look(url)).toBeUndefined();
    expect(urls).toEqual(['/pool.json?scope=frontend&scope=backend']);
  });

  test('that is not answered is over in seconds', async () => {
    const { url } = await serve(() => {});
    const fromMs = performance.now();
    await expect(look(url)).rejects.toThrow('no answer in 2 s');
    expect(performance.now() - fromMs).toBeLessThan(20_000);
  });
});
