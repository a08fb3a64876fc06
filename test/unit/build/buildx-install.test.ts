/** buildx from GitHub's releases, which are played here: addresses, redirects and limits as GitHub has them. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { delay, HttpResponse, http } from 'msw';
import { setupServer } from 'msw/node';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { installBuildx, RELEASES_URL } from '../../../src/build/buildx-install.ts';

const TAG = 'v0.99.1';
const ASSET = `buildx-${TAG}.${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`;
const PROGRAM = Buffer.from('#!/bin/sh\necho buildx\n');
const SUM = createHash('sha256').update(PROGRAM).digest('hex');
/** Where GitHub sends those who ask for a file of a release. */
const STORE = 'https://release-assets.githubusercontent.com/buildx';

const asked: string[] = [];
const server = setupServer(
  http.head(`${RELEASES_URL}/latest`, () => HttpResponse.redirect(`${RELEASES_URL}/tag/${TAG}`, 302)),
  http.get(`${RELEASES_URL}/download/:tag/:file`, ({ params }) =>
    params['tag'] === TAG
      ? HttpResponse.redirect(`${STORE}/${String(params['file'])}?signature=s`, 302)
      : new HttpResponse('Not Found', { status: 404 }),
  ),
  http.get(`${STORE}/${ASSET}`, () => HttpResponse.arrayBuffer(new Uint8Array(PROGRAM).buffer)),
  http.get(`${STORE}/checksums.txt`, () =>
    HttpResponse.text(`${'0'.repeat(64)} *${ASSET}.sbom.json\n${SUM} *${ASSET}\n`),
  ),
);
server.events.on('request:start', ({ request }) => {
  asked.push(`${request.method} ${request.url}`);
});

let folder: string;
beforeAll(() => {
  server.listen({ onUnhandledFrame: 'error' });
  // What msw has put into node:http reaches those who import it as a namespace, too.
  syncBuiltinESMExports();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'buildx-install-'));
  asked.length = 0;
  vi.stubEnv('RUNNER_TOOL_CACHE', join(folder, 'tools'));
  vi.stubEnv('RUNNER_TEMP', folder);
});
afterEach(() => {
  server.resetHandlers();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});
afterAll(() => {
  server.close();
  syncBuiltinESMExports();
});

const install = (version: string, signal = new AbortController().signal) =>
  installBuildx({ version, env: { RUNNER_TEMP: folder }, onProgress: () => {}, signal });

test('the latest is found by its page, fetched where that leads, verified, and kept', async () => {
  const program = await install('latest');
  expect(readFileSync(program)).toEqual(PROGRAM);
  expect(statSync(program).mode & 0o111).toBe(0o111);
  expect(asked.toSorted()).toEqual(
    [
      `HEAD ${RELEASES_URL}/latest`,
      `GET ${RELEASES_URL}/download/${TAG}/${ASSET}`,
      `GET ${RELEASES_URL}/download/${TAG}/checksums.txt`,
      `GET ${STORE}/${ASSET}?signature=s`,
      `GET ${STORE}/checksums.txt?signature=s`,
    ].toSorted(),
  );
  asked.length = 0;
  expect(await install(TAG)).toBe(program);
  expect(asked).toEqual([]);
  expect(readdirSync(folder)).toEqual(['tools']);
});

test('a release that is not there is told with its address and the remedy', async () => {
  await expect(install('v0.98.0')).rejects.toThrow(
    new RegExp(`^${RELEASES_URL}/download/v0\\.98\\.0/.* can't be fetched .*404.*check \`buildx-version\``),
  );
  expect(readdirSync(folder)).toEqual([]);
});

test('too many requests for GitHub: the version can be named instead', async () => {
  server.use(http.head(`${RELEASES_URL}/latest`, () => new HttpResponse(null, { status: 429 })));
  await expect(install('latest')).rejects.toThrow(
    `${RELEASES_URL}/latest: it answered with status 429 and names no release; name a version in \`buildx-version\` instead`,
  );
});

test('a program that its checksums do not know is not used', async () => {
  server.use(http.get(`${STORE}/${ASSET}`, () => HttpResponse.text('another program')));
  await expect(install(TAG)).rejects.toThrow('is not what its release says');
  expect(readdirSync(folder)).toEqual([]);
});

test('who is cancelled waits no longer, and leaves nothing', async () => {
  const cancelled = new AbortController();
  server.use(
    http.get(`${STORE}/${ASSET}`, async () => {
      cancelled.abort(new Error('enough'));
      await delay('infinite');
      return HttpResponse.error();
    }),
  );
  await expect(install(TAG, cancelled.signal)).rejects.toThrow('enough');
  expect(readdirSync(folder)).toEqual([]);
});
