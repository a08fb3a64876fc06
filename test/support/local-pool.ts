import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { renderDockerfile } from '../../src/burst/workspace.ts';
import type { PoolCounters } from '../../src/local/counters.ts';
import {
  type LocalLine,
  type LocalPool,
  type LocalPoolOptions,
  startLocalPool,
} from '../../src/local/pool.ts';
import { ensurePrograms } from '../../src/local/programs.ts';

/** Looked for once: each look starts programs to ask for their versions. */
let programs: Promise<LocalPoolOptions['programs']> | undefined;

/** A pool on this machine for one test, of this machine's architecture; ends with its scope. */
export async function openLocalPool(
  options: Partial<Omit<LocalPoolOptions, 'programs'>> = {},
): Promise<LocalPool & AsyncDisposable> {
  programs ??= ensurePrograms(['haproxy', 'runc', 'buildkitd', 'setpriv', 'unshare'], {
    install: false,
    log: () => undefined,
  });
  const pool = await startLocalPool({
    programs: await programs,
    archs: [process.arch === 'arm64' ? 'arm64' : 'amd64'],
    minBuilders: 1,
    maxBuilders: 3,
    port: 0,
    idleMs: 3_600_000,
    syncMs: 250,
    ...options,
  });
  return { ...pool, [Symbol.asyncDispose]: () => pool.stop() };
}

/** The load balancer's own counters at this moment; one that stands still is asked again. */
export async function countersOf(line: LocalLine): Promise<PoolCounters> {
  for (const deadline = Date.now() + 60_000; ; await sleep(20)) {
    const counters = await line.readCounters();
    if (counters !== null) return counters;
    if (Date.now() > deadline) throw new Error('the load balancer does not answer');
  }
}

/** Connections the line holds at this moment, by the load balancer's own counter. */
export async function sessionsOf(line: LocalLine): Promise<number> {
  return (await countersOf(line)).sessions;
}

/** Settles when `condition` holds, with the ms it took; rejects with `what` after `timeoutMs`. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<number> {
  const from = performance.now();
  while (!(await condition())) {
    if (performance.now() - from > timeoutMs) {
      throw new Error(`not within ${timeoutMs} ms: ${what}`);
    }
    await sleep(20);
  }
  return performance.now() - from;
}

/** Living processes whose command line holds `text`, this one aside. */
export function processesMentioning(text: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => commandLine(pid).includes(text));
}

/** Empty when it has ended. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

export function mountsUnder(folder: string): readonly string[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(folder));
}

/** A folder to build whose only step sleeps; each build's own `ID` keeps it out of the cache. */
export function makeSleepContext(folder: string, seconds: number): string {
  const { BUSYBOX: busybox = '/bin/busybox' } = process.env;
  const context = join(folder, `context-${seconds}`);
  mkdirSync(context, { recursive: true });
  copyFileSync(busybox, join(context, 'busybox'));
  writeFileSync(join(context, 'Dockerfile'), renderDockerfile(seconds));
  return context;
}

/** A folder to build whose only step lasts until it is let go, however slow this machine is. */
export interface HeldContext {
  readonly context: string;
  /** Builds of it that are at that step. */
  running(): number;
  /** Lets all go that are at that step. */
  release(): void;
}

let heldContexts = 0;

export function makeHeldContext(folder: string): HeldContext {
  heldContexts += 1;
  // A pause of years that no other process of this machine has.
  const seconds = 900_000_000 + (process.pid % 100_000) * 100 + heldContexts;
  const context = makeSleepContext(folder, seconds);
  // The shell outlives the pause, which ends with a signal, and tells of success.
  writeFileSync(
    join(context, 'Dockerfile'),
    renderDockerfile(seconds).replace(/exec (\S+ sleep \d+)/, '$1; true'),
  );
  const pauses = () =>
    processesMentioning(`busybox sleep ${seconds}`).filter((pid) =>
      commandLine(pid).startsWith('/bin/busybox sleep'),
    );
  return {
    context,
    running: () => pauses().length,
    release: () => {
      for (const pid of pauses()) process.kill(pid, 'SIGTERM');
    },
  };
}

export interface PlainBuild {
  readonly process: ChildProcess;
  /** Exit code and output. */
  readonly ended: Promise<{ readonly code: number | null; readonly log: string }>;
}

/** A build by plain buildctl, which knows nothing of places in line. */
export function startBuildctl(endpoint: string, context: string, id: string): PlainBuild {
  const { BUILDCTL: buildctl = 'buildctl' } = process.env;
  return startPlain(buildctl, [
    ...['--addr', endpoint, 'build', '--frontend', 'dockerfile.v0', '--progress', 'plain'],
    ...['--local', `context=${context}`, '--local', `dockerfile=${context}`, '--opt', `build-arg:ID=${id}`],
  ]);
}

/** Ends with this process, however that ends. */
export function startPlain(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): PlainBuild {
  const { SETPRIV: setpriv = 'setpriv' } = process.env;
  const child = spawn(setpriv, ['--pdeathsig', 'KILL', '--', command, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      log += chunk;
    });
  }
  const ended = new Promise<{ code: number | null; log: string }>((resolve) => {
    child.once('close', (code) => resolve({ code, log }));
  });
  return { process: child, ended };
}
