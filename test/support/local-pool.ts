import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderDockerfile } from '../../src/burst/workspace.ts';
import { type LocalPool, type LocalPoolOptions, startLocalPool } from '../../src/local/pool.ts';
import { ensurePrograms } from '../../src/local/programs.ts';

/** A pool on this machine for one test, of this machine's architecture; ends with its scope. */
export async function openLocalPool(
  options: Partial<Omit<LocalPoolOptions, 'programs'>> = {},
): Promise<LocalPool & AsyncDisposable> {
  const programs = await ensurePrograms(['haproxy', 'runc', 'buildkitd', 'setpriv', 'unshare'], {
    install: false,
    log: () => undefined,
  });
  const pool = await startLocalPool({
    programs,
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

/** Connections the line holds at this moment, by the load balancer's own counter. */
export async function sessionsOf(pool: LocalPool): Promise<number> {
  const counters = await pool.readCounters();
  if (counters === null) {
    throw new Error('the load balancer does not answer');
  }
  return counters.sessions;
}

/** Settles when `condition` holds, with the ms it took; rejects with `what` after `timeoutMs`. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 15_000,
): Promise<number> {
  const from = performance.now();
  while (!(await condition())) {
    if (performance.now() - from > timeoutMs) {
      throw new Error(`not within ${timeoutMs} ms: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return performance.now() - from;
}

/** Living processes whose command line holds `text`, this one aside. */
export function processesMentioning(text: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').includes(text);
      } catch {
        return false;
      }
    })
    .map(Number);
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

export function startPlain(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): PlainBuild {
  const child = spawn(command, [...args], {
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
