/**
 * The pool's HTTP side: its document, and the counters of its load balancer. A bundle of its own (dist/pool-client.js),
 * because loading an HTTP client takes some 100 ms, which only those who have a document to read should pay.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { delayMs } from '../queue/backoff.ts';
import type { PoolDocument, PoolProxies } from './document.ts';
import { DocumentFailure } from './failure.ts';
import { type LineSample, readLine } from './line-view.ts';
import { readDocument } from './read-document.ts';

export interface DocumentOptions {
  readonly url: string;
  /** Who signs the server's certificate, PEM; for https only. */
  readonly ca: string | undefined;
  /** How long to try again what may pass: refusals, timeouts, a server's own errors. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
}

const ANSWER_TIMEOUT_MS = 5_000;
const METRICS_TIMEOUT_MS = 2_000;
const MAX_DOCUMENT_BYTES = 1024 * 1024;
const MAX_METRICS_BYTES = 8 * 1024 * 1024;
const AGAIN = { baseMs: 500, capMs: 4_000 };

/** Rejects with a `DocumentFailure`. */
export async function fetchDocument(options: DocumentOptions): Promise<PoolDocument> {
  const { url } = options;
  const deadlineMs = Date.now() + options.patienceMs;
  for (let failures = 1; ; failures += 1) {
    try {
      const text = await fetchText(url, options.ca, ANSWER_TIMEOUT_MS, MAX_DOCUMENT_BYTES, options.signal);
      const reading = readDocument(text);
      if (reading.kind === 'document') return reading.document;
      throw new DocumentFailure('wrong', `${url} is no pool document:\n${bullets(reading.problems)}`);
    } catch (error) {
      if (error instanceof DocumentFailure && error.code !== 'passing') throw error;
      options.signal.throwIfAborted();
      const pauseMs = delayMs(AGAIN, failures, Math.random());
      if (Date.now() + pauseMs > deadlineMs) {
        const why = error instanceof Error ? error.message : String(error);
        throw new DocumentFailure('unreachable', `the pool document ${url} can't be had: ${why}`, {
          cause: error,
        });
      }
      await sleep(pauseMs, undefined, { signal: options.signal });
    }
  }
}

/** How a line stands at this moment; undefined when the page does not tell. Rejects when it can't be had in 2 s. */
export async function fetchLine(
  metricsUrl: string,
  ca: string | undefined,
  proxies: PoolProxies,
  signal: AbortSignal,
): Promise<LineSample | undefined> {
  const url = new URL(metricsUrl);
  // Without the servers the page has the same size for any number of builders.
  for (const scope of ['frontend', 'backend']) url.searchParams.append('scope', scope);
  const page = await fetchText(url.href, ca, METRICS_TIMEOUT_MS, MAX_METRICS_BYTES, signal);
  return readLine(page, proxies);
}

/** The body of a 200. Rejects with a `DocumentFailure` that says whether another attempt may differ. */
async function fetchText(
  url: string,
  ca: string | undefined,
  timeoutMs: number,
  maxBytes: number,
  signal: AbortSignal,
): Promise<string> {
  await using agent = new ClosingAgent({
    maxResponseSize: maxBytes,
    connect: { timeout: timeoutMs, ...(ca === undefined ? {} : { ca }) },
  });
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const { statusCode, body } = await request(url, { dispatcher: agent, signal: limit });
    const text = await body.text();
    if (statusCode === 200) return text;
    throw new DocumentFailure(
      statusCode >= 500 || statusCode === 429 ? 'passing' : 'wrong',
      `${url} answered with status ${statusCode}`,
    );
  } catch (error) {
    if (error instanceof DocumentFailure) throw error;
    throw failureOf(url, error, timeoutMs, signal);
  }
}

/** Ends its connections with the scope, answered or not. */
class ClosingAgent extends Agent {
  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }
}

function failureOf(url: string, error: unknown, timeoutMs: number, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof DOMException && error.name === 'TimeoutError') {
    return new DocumentFailure('passing', `no answer in ${timeoutMs / 1000} s`, { cause: error });
  }
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (code === 'ENOTFOUND') {
    return new DocumentFailure(
      'unreachable',
      `${url} names an unknown host (ENOTFOUND): check \`pool\` and the runner's name server`,
      { cause: error },
    );
  }
  if (/^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO)/.test(code)) {
    return new DocumentFailure('unreachable', `${url} can't be trusted (${code}): ${message}`, {
      cause: error,
    });
  }
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') {
    return new DocumentFailure('wrong', `${url} answered with more than a pool document can have`, {
      cause: error,
    });
  }
  return new DocumentFailure('passing', code === '' ? message : `${message} (${code})`, { cause: error });
}

function bullets(problems: readonly string[]): string {
  return problems.map((problem) => `- ${problem}`).join('\n');
}
