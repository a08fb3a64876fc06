import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import type { PoolConnection } from '../../src/gateway/pool-connection.ts';
import { openingBytes, readGreeting } from '../../src/queue/preface.ts';
import type { KeyPair } from './certificates.ts';

type Program = 'buildkitd' | 'buildctl' | 'buildx' | 'buildx-oldest' | 'busybox';

/** The path of a real program, as the tests' set-up or a benchmark has found it: in the variable with its name in capitals. */
export function findProgram(name: Program): string {
  const variable = name.toUpperCase().replaceAll('-', '_');
  const path = process.env[variable];
  if (path === undefined)
    throw new Error(`${name} is needed: set ${variable}, as test/support/programs.setup.ts does`);
  return path;
}

export interface Buildkitd {
  /** As buildctl and buildx take it. */
  readonly address: string;
  readonly pid: number;
  /** Everything the daemon has logged so far. */
  readonly log: () => string;
  kill(signal: NodeJS.Signals): void;
  /** Ends the daemon and removes its root folder. */
  stop(): Promise<void>;
}

export interface BuildkitdOptions {
  /** Folder of the daemon's state; made when missing, removed by `stop` unless `keep`. */
  readonly root: string;
  /** `tcp://127.0.0.1:PORT` or `unix:///…`; a free loopback port when left out. */
  readonly address?: string;
  readonly keep?: boolean;
  /** Its server certificate, and who signs its clients; it is also what the readiness test shows. */
  readonly tls?: KeyPair;
}

/** A machine whose disk stands still for seconds at a time, at each of the daemon's first writes. */
const READY_TIMEOUT_MS = 120_000;

/**
 * A real buildkitd as a plain process (needs root, runc), which ends with this one. Resolves when it takes connections,
 * within READY_TIMEOUT_MS.
 */
export async function startBuildkitd(options: BuildkitdOptions): Promise<Buildkitd> {
  const address = options.address ?? `tcp://127.0.0.1:${await freePort()}`;
  await mkdir(options.root, { recursive: true });
  const { SETPRIV: setpriv = 'setpriv' } = process.env;
  const child = spawn(
    setpriv,
    [
      ...['--pdeathsig', 'KILL', '--', findProgram('buildkitd'), '--root', options.root, '--addr', address],
      ...tlsArguments(options.tls),
      ...['--otel-socket-path', join(options.root, 'otel.sock')],
      ...['--oci-worker-net=host', '--oci-worker-snapshotter=native', '--containerd-worker=false'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text: Buffer) => {
      log = `${log}${text.toString()}`.slice(-200_000);
    });
  }
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await untilReady(address, options.tls, child, () => log);
  return {
    address,
    pid: child.pid ?? -1,
    log: () => log,
    kill: (signal) => child.kill(signal),
    async stop() {
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      const slow = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(slow);
      if (options.keep === true) return;
      await rm(options.root, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}

/** A pool connection straight to a builder, without a load balancer in between. */
export async function dialBuilder(address: string): Promise<PoolConnection & { readonly socket: Socket }> {
  const socket = connectTo(address);
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    const read = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const greeting = readGreeting(received);
      if (greeting.kind === 'waiting') return;
      if (greeting.kind !== 'granted') return fail(new Error(`no builder: ${greeting.kind}`));
      socket.pause();
      socket.off('data', read).off('error', fail);
      if (greeting.rest.length > 0) socket.unshift(greeting.rest);
      resolve({ socket, preamble: greeting.preamble });
    };
    socket.on('error', fail).on('data', read);
    socket.write(openingBytes(1));
  });
}

/** Below those that the system gives out by itself, so that no connection takes one before it is listened at. */
const FIRST_PORT = 28_000;
const PORTS = 4_000;
/** Processes that look at the same time begin at different ports. */
let portsTried = process.pid * 37;

/** Of all addresses of this machine; never the same one twice, until all have been had. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < PORTS; tries += 1) {
    const port = FIRST_PORT + (portsTried % PORTS);
    portsTried += 1;
    if (await isFree(port)) return port;
  }
  throw new Error(`none of the ports from ${FIRST_PORT} on is free`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '0.0.0.0', () => server.close(() => resolve(true)));
  });
}

function connectTo(address: string): Socket {
  const url = new URL(address);
  if (url.protocol === 'unix:') return connect({ path: url.pathname });
  return connect({ host: url.hostname, port: Number(url.port), noDelay: true });
}

function tlsArguments(pair: KeyPair | undefined): readonly string[] {
  if (pair === undefined) return [];
  return ['--tlscert', pair.certificatePath, '--tlskey', pair.keyPath, '--tlscacert', pair.caPath];
}

async function connectSecurely(address: string, pair: KeyPair): Promise<Socket> {
  const { hostname, port } = new URL(address);
  const [cert, key] = await Promise.all([readFile(pair.certificatePath), readFile(pair.keyPath)]);
  return tls.connect({
    ...{ host: hostname, port: Number(port), cert, key },
    ...{ rejectUnauthorized: false, ALPNProtocols: ['h2'] },
  });
}

async function untilReady(
  address: string,
  pair: KeyPair | undefined,
  child: ChildProcess,
  log: () => string,
): Promise<void> {
  for (const deadline = Date.now() + READY_TIMEOUT_MS; ; ) {
    if (child.exitCode !== null) throw new Error(`buildkitd has ended:\n${log()}`);
    const socket = pair === undefined ? connectTo(address) : await connectSecurely(address, pair);
    const ready = await new Promise<boolean>((resolve) => {
      socket.once('error', () => resolve(false)).once('close', () => resolve(false));
      socket.once('data', () => {
        resolve(true);
        socket.destroy();
      });
    });
    if (ready) return;
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`buildkitd is not ready after ${READY_TIMEOUT_MS} ms:\n${log()}`);
    }
    await sleep(50);
  }
}
