/** One builder: a real buildkitd in namespaces of its own, so that all it starts and mounts ends with it. */
import { closeSync, openSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Child, type ChildExit, startChild } from './child.ts';
import { countConnections, readOnlyChild } from './process.ts';
import { readTail } from './tail.ts';

/** Paths of the programs a builder needs. */
export interface BuilderPrograms {
  readonly buildkitd: string;
  readonly runc: string;
  readonly setpriv: string;
  readonly unshare: string;
}

export interface BuilderOptions {
  readonly programs: BuilderPrograms;
  readonly address: string;
  readonly port: number;
  /** Control group under which its builds run. */
  readonly cgroup: string;
  /** What it says that it builds; empty: what the machine does. */
  readonly platforms: readonly string[];
  /** Its state and log; made here, removed by `remove`. */
  readonly folder: string;
}

export interface Builder {
  readonly child: Child;
  readonly exited: Promise<ChildExit>;
  /** Settles when it answers; rejects with the end of its log when it dies before, or after 60 s. */
  readonly ready: Promise<void>;
  /** Whether a build is connected. Throws when that cannot be seen. */
  isBusy(): Promise<boolean>;
  /** The end of what it wrote. */
  readLog(): Promise<string>;
  /** Ends buildkitd itself with `signal`. */
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after 5 s; its folder goes with it. */
  end(): Promise<void>;
}

const DEFAULT_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 50;
const END_GRACE_MS = 5_000;

/** Rejects when buildkitd cannot be started at all. */
export async function startBuilder(options: BuilderOptions): Promise<Builder> {
  const { programs, address, port, folder } = options;
  const { PATH = DEFAULT_PATH } = process.env;
  await mkdir(join(folder, 'tmp'), { recursive: true, mode: 0o700 });
  const configPath = join(folder, 'buildkitd.toml');
  const claimed =
    options.platforms.length === 0 ? '' : `  platforms = ${JSON.stringify(options.platforms)}\n`;
  await writeFile(configPath, `[worker.oci]\n  defaultCgroupParent = "/${options.cgroup}"\n${claimed}`);
  const logPath = join(folder, 'buildkitd.log');
  const log = openSync(logPath, 'a', 0o600);
  const child = await startChild({
    setpriv: programs.setpriv,
    command: programs.unshare,
    // A pid namespace ends with its first process, a mount namespace with its last: nothing of a builder is left behind,
    // however it ends. Builds share the machine's network.
    args: [
      ...['--pid', '--fork', '--kill-child=KILL', '--mount', '--mount-proc', '--', programs.buildkitd],
      ...['--config', configPath, '--root', join(folder, 'root'), '--addr', `tcp://${address}:${port}`],
      ...['--otel-socket-path', join(folder, 'otel.sock'), '--cdi-disabled', '--containerd-worker=false'],
      ...['--oci-worker=true', '--oci-worker-net=host', '--oci-worker-binary', programs.runc],
    ],
    env: {
      PATH,
      HOME: folder,
      TMPDIR: join(folder, 'tmp'),
    },
    cwd: folder,
    stdout: log,
    stderr: log,
  }).finally(() => closeSync(log));
  const signal = (name: NodeJS.Signals) => signalBuildkitd(child, name);
  return {
    child,
    exited: child.exited,
    ready: waitUntilReady(child, address, port, logPath),
    readLog: () => readTail(logPath),
    isBusy: async () => (await countConnections(address, port)) > 0,
    signal,
    end: async () => {
      if (!child.hasExited()) {
        signal('SIGTERM');
        const timer = setTimeout(() => signalBuildkitd(child, 'SIGKILL'), END_GRACE_MS);
        await child.exited;
        clearTimeout(timer);
      }
      await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}

/** unshare itself holds back SIGTERM while it waits, so the signal goes to its child; its own end is the last resort. */
function signalBuildkitd(child: Child, signal: NodeJS.Signals): void {
  const pid = readOnlyChild(child.pid);
  if (pid === null) {
    child.signal('SIGKILL');
    return;
  }
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself between the look and the signal.
  }
}

async function waitUntilReady(child: Child, address: string, port: number, logPath: string): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!child.hasExited() && Date.now() < deadline) {
    if (await answers(address, port)) {
      return;
    }
    await sleep(READY_POLL_MS);
  }
  throw new Error(`buildkitd at ${address}:${port} did not become ready:\n${await readTail(logPath)}`);
}

/** buildkitd sends its HTTP/2 SETTINGS about 1 ms after it accepts, and listens only when its worker is there. */
function answers(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('data', () => {
      resolve(true);
      socket.destroy();
    });
    socket.once('error', () => undefined);
    socket.once('close', () => resolve(false));
  });
}
