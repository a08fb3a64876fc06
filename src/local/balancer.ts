/** The load balancer of a local pool: a HAProxy in the foreground, its log as typed records, its counters on demand. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type BalancerModel, backendName, PLACEHOLDER_SERVER, renderBalancer } from '../pool/haproxy.ts';
import { type Child, endChild, startChild } from './child.ts';
import { type ConnectionRecord, parseConnectionRecord } from './connection-record.ts';
import { type PoolCounters, parseCounters } from './counters.ts';
import type { PoolFolder } from './folder.ts';

export interface BalancerOptions {
  readonly programs: { readonly haproxy: string; readonly setpriv: string };
  readonly folder: PoolFolder;
  /** Its admin socket must be set. */
  readonly model: BalancerModel;
  onRecord(record: ConnectionRecord): void;
  /** It died by itself; it is started again. */
  onTrouble(error: Error): void;
}

export interface Balancer {
  /** Null while it cannot be asked. */
  readCounters(pool: string): Promise<PoolCounters | null>;
  /** Ends it with `signal` and starts it anew at the same addresses. */
  restart(signal: NodeJS.Signals): Promise<void>;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 20;
const ANSWER_TIMEOUT_MS = 1_000;
const END_GRACE_MS = 2_000;
const RESTART_PAUSE_MS = 300;
const STDERR_LINES = 40;

/** Rejects with HAProxy's own words when it refuses the configuration or cannot open its ports. */
export async function startBalancer(options: BalancerOptions): Promise<Balancer> {
  const configPath = join(options.folder.path, 'haproxy.cfg');
  await writeFile(configPath, renderBalancer(options.model));
  await checkConfiguration(options.programs.haproxy, configPath);
  const socketPath = options.model.adminSocketPath ?? '';
  let stopped = false;
  let intended = false;
  let relaunched = Promise.withResolvers<void>();
  let current = await launch();
  const supervision = supervise();

  async function launch(): Promise<Child> {
    const { PATH = '' } = process.env;
    const child = await startChild({
      setpriv: options.programs.setpriv,
      command: options.programs.haproxy,
      args: ['-db', '-f', configPath],
      env: { PATH },
      cwd: options.folder.path,
      stdout: 'pipe',
      stderr: 'pipe',
    });
    if (child.identity) {
      await options.folder.record(child.identity);
    }
    const stderr = keepLastLines(child);
    forwardRecords(child, options.onRecord);
    await waitUntilReady(child, options.model, socketPath, stderr);
    return child;
  }

  async function supervise(): Promise<void> {
    while (!stopped) {
      const exit = await current.exited;
      if (current.identity) {
        await options.folder.forget(current.identity);
      }
      if (!stopped && !intended) {
        options.onTrouble(new Error(`HAProxy ended (${exit.signal ?? exit.code}) and is started again`));
        await sleep(RESTART_PAUSE_MS);
      }
      intended = false;
      if (!stopped) {
        await launch().then(
          (child) => {
            current = child;
            relaunched.resolve();
            relaunched = Promise.withResolvers();
          },
          (error: unknown) => options.onTrouble(error instanceof Error ? error : new Error(String(error))),
        );
      }
    }
    await endChild(current, END_GRACE_MS);
  }

  return {
    readCounters: async (pool) => {
      const table = await ask(socketPath, 'show stat').catch(() => null);
      return table === null ? null : parseCounters(table, pool, backendName(pool));
    },
    restart: async (signal) => {
      intended = true;
      const { promise } = relaunched;
      current.signal(signal);
      await promise;
    },
    stop: async () => {
      stopped = true;
      current.signal('SIGTERM');
      await supervision;
    },
  };
}

async function checkConfiguration(haproxy: string, configPath: string): Promise<void> {
  try {
    await promisify(execFile)(haproxy, ['-c', '-f', configPath]);
  } catch (cause) {
    const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : '';
    throw new Error(`HAProxy refuses the generated configuration:\n${stderr}`, { cause });
  }
}

function keepLastLines(child: Child): () => readonly string[] {
  const lines: string[] = [];
  if (child.process.stderr) {
    createInterface({ input: child.process.stderr }).on('line', (line) => {
      lines.push(line);
      lines.splice(0, lines.length - STDERR_LINES);
    });
  }
  return () => lines;
}

/** HAProxy writes its own events between the connections; only the latter are JSON. */
function forwardRecords(child: Child, onRecord: (record: ConnectionRecord) => void): void {
  if (child.process.stdout) {
    createInterface({ input: child.process.stdout }).on('line', (line) => {
      const record = parseConnectionRecord(line);
      if (record !== null) {
        onRecord(record);
      }
    });
  }
}

/** Ready is: it answers, and every placeholder is taken, so that no client can reach one. */
async function waitUntilReady(
  child: Child,
  model: BalancerModel,
  socketPath: string,
  stderr: () => readonly string[],
): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!child.hasExited() && Date.now() < deadline) {
    const info = await ask(socketPath, 'show info').catch(() => '');
    // An older HAProxy that is still ending may answer at the same path.
    if (new RegExp(`^Pid: ${child.pid}$`, 'm').test(info)) {
      const table = await ask(socketPath, 'show stat').catch(() => '');
      const plugged = model.pools.every(
        ({ name }) =>
          parseCounters(table, name, backendName(name))?.servers.get(PLACEHOLDER_SERVER)?.sessions === 1,
      );
      if (plugged) {
        return;
      }
    }
    await sleep(READY_POLL_MS);
  }
  await endChild(child, 0);
  throw new Error(`HAProxy did not start:\n${stderr().join('\n')}`);
}

/** One command on the admin socket; the answer ends with the connection. */
function ask(socketPath: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    const chunks: Buffer[] = [];
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy(new Error('HAProxy does not answer')));
    socket.once('error', reject);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.once('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    socket.write(`${command}\n`);
  });
}
