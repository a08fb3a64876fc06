/**
 * What stands between dialling and a builder, a row of docs/outcomes.md each: servers of this test's own do what no
 * load balancer can be made to do at will. TLS has tests of its own, and so has the order of the line.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { SETTINGS_ACK, serialiseGoaway, serialiseSettings } from '../../src/gateway/frames.ts';
import { parseEndpoint } from '../../src/queue/endpoint.ts';
import { LineFailure } from '../../src/queue/failure.ts';
import { type LineOptions, type LineStep, waitInLine } from '../../src/queue/line.ts';
import { openingBytes } from '../../src/queue/preface.ts';
import { placeToken } from '../../src/queue/token.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const GREETING = Buffer.concat([serialiseSettings([]), SETTINGS_ACK]);

/** A server that does this with its first client once it has spoken, that with its second, and the last with all others. */
async function serve(...answers: readonly ((client: Socket) => void)[]) {
  const received: Buffer[] = [];
  const server = createServer((client) => {
    const index = received.push(Buffer.alloc(0)) - 1;
    client.on('error', () => {});
    client.on('data', (chunk: Buffer) => {
      received[index] = Buffer.concat([received[index] ?? Buffer.alloc(0), chunk]);
    });
    client.once('data', () => answers[Math.min(index, answers.length - 1)]?.(client));
    cleanups.push(() => client.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  cleanups.push(() => server.close());
  return { port: (server.address() as AddressInfo).port, received };
}

async function join(port: number, options: Partial<LineOptions> = {}) {
  const endpoint = parseEndpoint(`tcp://127.0.0.1:${port}`, 'amd64');
  if (endpoint.kind === 'problem') throw new Error(endpoint.problem);
  const steps: LineStep[] = [];
  const result = await waitInLine({
    endpoint: endpoint.endpoint,
    queueTimeoutMs: 60_000,
    backoff: { baseMs: 10, capMs: 20 },
    signal: new AbortController().signal,
    onStep: (step) => steps.push(step),
    ...options,
  }).catch((error: unknown) => error);
  if (!(result instanceof Error)) cleanups.push(() => (result as Granted).connection.socket.destroy());
  return {
    result,
    steps,
    codes: steps.flatMap((step) => (step.kind === 'failed' ? [step.failure.code] : [])),
  };
}
type Granted = Awaited<ReturnType<typeof waitInLine>>;

const grant = (client: Socket) => client.write(GREETING);

test('GOAWAY before the acknowledgement: dialled again, at the same place', async () => {
  const goAway = (client: Socket) =>
    client.write(Buffer.concat([serialiseSettings([]), serialiseGoaway(0, 0, 'graceful_stop')]));
  const { port, received } = await serve(goAway, goAway, grant);
  const { result, codes } = await join(port);
  expect(codes).toHaveLength(2);
  // Which of the two is told by how long it took.
  expect(['no-builder', 'lost']).toEqual(expect.arrayContaining(codes));
  const { joinedAtMs } = result as Granted;
  for (const bytes of received) expect(bytes).toEqual(openingBytes(placeToken(joinedAtMs)));
});

test('SETTINGS without an acknowledgement: still in line, until the deadline', async () => {
  const { port, received } = await serve((client) => client.write(serialiseSettings([])));
  const { result, codes } = await join(port, { queueTimeoutMs: 4_000 });
  expect(result).toMatchObject({
    code: 'queue-timeout',
    message: expect.stringContaining('within 4 s') as string,
  });
  expect(codes).toEqual([]);
  expect(received).toHaveLength(1);
});

test('in line: one preface and one SETTINGS, then nothing but the kernel’s keepalive, however long it takes', async () => {
  let letIn = () => {};
  const { port, received } = await serve((client) => {
    letIn = () => client.write(GREETING);
  });
  const waiting = join(port);
  await expect.poll(() => received[0]?.length).toBe(39);
  // A keepalive of HTTP/2's own would have come by now, were it as short as a load balancer would need it.
  await sleep(5_000);
  expect(received[0]).toHaveLength(39);
  expect(keepsAlive(port)).toBe(true);
  letIn();
  const { result } = await waiting;
  expect(received).toEqual([openingBytes(placeToken((result as Granted).joinedAtMs))]);
});

test('no answer to the connection itself: given up after connect-timeout, dialled again, unreachable at the deadline', async () => {
  const { port } = await deafServer();
  const { result, codes } = await join(port, { connectTimeoutMs: 300, queueTimeoutMs: 4_000 });
  expect(codes.length).toBeGreaterThan(1);
  expect(new Set(codes)).toEqual(new Set(['unreachable']));
  expect(result).toBeInstanceOf(LineFailure);
  expect(result).toMatchObject({
    code: 'unreachable',
    message: `the pool was not reached within 4 s: tcp://127.0.0.1:${port} can't be reached (no answer in 0.3 s)`,
  });
});

test('no end of the TLS handshake: the same', async () => {
  const { port } = await serve(() => {});
  const { result } = await join(port, { connectTimeoutMs: 300, queueTimeoutMs: 4_000, tls: {} });
  expect(result).toMatchObject({
    code: 'unreachable',
    message: expect.stringContaining('no end of the TLS handshake in 0.3 s') as string,
  });
});

/** Whether the client's end of a connection to this port has the keepalive timer running (proc(5), /proc/net/tcp). */
function keepsAlive(port: number): boolean {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , remote]) => remote?.endsWith(`:${wanted}`));
  expect(rows).toHaveLength(1);
  return rows[0]?.[5]?.startsWith('02:') === true;
}

/** A server that is stopped, with as many connections as the kernel takes in its stead: nobody else gets through. */
async function deafServer(): Promise<{ readonly port: number }> {
  const program =
    "const s=require('net').createServer();s.listen({port:0,host:'127.0.0.1',backlog:1},()=>console.log(s.address().port))";
  const child: ChildProcess = spawn(process.execPath, ['-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanups.push(() => child.kill('SIGKILL'));
  if (child.stdout === null) throw new Error('no output');
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(line.toString());
  child.kill('SIGSTOP');
  for (let taken = true; taken; ) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    cleanups.push(() => socket.destroy());
    taken = await Promise.race([once(socket, 'connect').then(() => true), sleep(1_000).then(() => false)]);
  }
  return { port };
}
