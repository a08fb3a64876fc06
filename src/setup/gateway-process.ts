/** Starts the gateway process and hears its greeting. */
import { type ChildProcess, spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { signalProcess } from '../build/child.ts';
import { identify, isAlive, type ProcessIdentity } from '../process-identity.ts';
import {
  type GatewayConfiguration,
  type GatewayGreeting,
  GREETING_FD,
  LOG_NAME,
} from './gateway-configuration.ts';

/**
 * All that it gets of main's environment: enough to run `docker buildx rm`, and the runner's own mark, by which it
 * finds what a job has left running. No input, no token, no key.
 */
const ENVIRONMENT = [
  ...['PATH', 'HOME', 'USER', 'TMPDIR', 'TZ', 'LANG', 'RUNNER_TEMP', 'RUNNER_TRACKING_ID'],
  ...['DOCKER_CONFIG', 'DOCKER_HOST', 'DOCKER_CONTEXT', 'BUILDX_CONFIG'],
  ...['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR'],
];

/** How long it may take to start, ms. */
const START_TIMEOUT_MS = 30_000;
/** How long it may take to give everything back, ms; closing connections takes none, ending stuck ones does. */
const END_TIMEOUT_MS = 6_000;

export interface GatewayProcess {
  readonly identity: ProcessIdentity;
  /** `unix:///…`, one a node. Rejects when it does not start. */
  readonly addresses: Promise<readonly string[]>;
}

/** `entry` is the file of its bundle. Rejects when it can't be started at all. */
export async function startGateway(
  entry: string,
  configuration: GatewayConfiguration,
  env: NodeJS.ProcessEnv,
): Promise<GatewayProcess> {
  const log = await open(join(configuration.folder, LOG_NAME), 'a', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(process.execPath, [entry], {
      cwd: '/',
      // A group and session of its own: what ends the step's processes does not end it.
      detached: true,
      env: Object.fromEntries(ENVIRONMENT.flatMap((name) => (env[name] ? [[name, env[name]]] : []))),
      // Whoever holds the runner's streams open keeps the step from ending.
      stdio: ['pipe', log.fd, log.fd, 'pipe'],
    });
  } finally {
    await log.close();
  }
  const greeting = hearGreeting(child);
  greeting.catch(() => {});
  const { stdin, pid } = child;
  // One that is gone at once is told by its greeting.
  stdin?.on('error', () => {});
  stdin?.end(JSON.stringify(configuration));
  const identity = pid === undefined ? undefined : identify(pid);
  if (identity === undefined) {
    await greeting;
    throw new Error('the gateway process ended as soon as it had started');
  }
  const addresses = greeting.catch(async (error: unknown) => {
    const said = await readFile(join(configuration.folder, LOG_NAME), 'utf8').catch(() => '');
    const tail = said.trim().slice(-1_000);
    throw new Error(
      `the gateway process did not start: ${error instanceof Error ? error.message : String(error)}${tail === '' ? '' : `\n${tail}`}`,
    );
  });
  addresses.catch(() => {});
  return { identity, addresses };
}

/** Has it give everything back. Resolves when it is gone. */
export async function endGateway(identity: ProcessIdentity): Promise<void> {
  if (!isAlive(identity)) return;
  signalProcess(identity.pid, 'SIGTERM');
  for (const deadline = Date.now() + END_TIMEOUT_MS; isAlive(identity); await sleep(20)) {
    if (Date.now() < deadline) continue;
    signalProcess(identity.pid, 'SIGKILL');
    return;
  }
}

function hearGreeting(child: ChildProcess): Promise<readonly string[]> {
  const pipe = child.stdio[GREETING_FD] as Readable;
  return new Promise<readonly string[]>((resolve, reject) => {
    let heard = '';
    const timer = setTimeout(
      () => reject(new Error(`no word for ${START_TIMEOUT_MS / 1000} s`)),
      START_TIMEOUT_MS,
    );
    const settle = () => {
      clearTimeout(timer);
      child.off('error', reject);
      // Nothing of it may keep main from ending.
      pipe.destroy();
      child.unref();
    };
    pipe.setEncoding('utf8').on('data', (chunk: string) => {
      heard += chunk;
      if (!heard.endsWith('\n')) return;
      const greeting = JSON.parse(heard) as GatewayGreeting;
      settle();
      if (greeting.kind === 'ready') resolve(greeting.addresses);
      else reject(new Error(greeting.message));
    });
    pipe.on('end', () => {
      settle();
      reject(new Error('it ended'));
    });
    pipe.on('error', () => {});
    child.on('error', reject);
  });
}
