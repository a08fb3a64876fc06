/** A child process of the pool: in its own process group, ended by its own pid, and dead when the pool is. */
import { type ChildProcess, spawn } from 'node:child_process';
import { identify, type ProcessIdentity } from '../process-identity.ts';

export interface ChildOptions {
  /** Path of util-linux's setpriv. */
  readonly setpriv: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** File descriptors or pipes for stdout and stderr. */
  readonly stdout: number | 'pipe' | 'ignore';
  readonly stderr: number | 'pipe' | 'ignore';
}

export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly identity: ProcessIdentity | undefined;
  /** Settles when the process is gone; never rejects. */
  readonly exited: Promise<ChildExit>;
  hasExited(): boolean;
  signal(signal: NodeJS.Signals): void;
}

export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * Starts a child that the kernel kills when this process ends, however it ends (PR_SET_PDEATHSIG, see prctl(2)).
 * Rejects when it cannot be started.
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  const child = spawn(options.setpriv, ['--pdeathsig', 'KILL', '--', options.command, ...options.args], {
    cwd: options.cwd,
    env: { ...options.env },
    stdio: ['ignore', options.stdout, options.stderr],
    // A group of its own: Ctrl-C in the terminal reaches only the pool, which then ends its children in order.
    detached: true,
  });
  const exited = new Promise<ChildExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const pid = await new Promise<number>((resolve, reject) => {
    child.once('error', (cause) => reject(new Error(`Cannot start ${options.command}`, { cause })));
    child.once('spawn', () => resolve(child.pid ?? 0));
  });
  return {
    process: child,
    pid,
    identity: identify(pid),
    exited,
    hasExited: () => child.exitCode !== null || child.signalCode !== null,
    signal: (signal) => {
      child.kill(signal);
    },
  };
}

/** Asks with SIGTERM, insists with SIGKILL after `graceMs`; settles when the child is gone. */
export async function endChild(child: Child, graceMs: number): Promise<ChildExit> {
  child.signal('SIGTERM');
  const timer = setTimeout(() => child.signal('SIGKILL'), graceMs);
  const exit = await child.exited;
  clearTimeout(timer);
  return exit;
}
