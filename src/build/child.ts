import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';

/** How a child ended: by its own exit code, or by a signal. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The end of what it wrote to stderr, at most `TAIL_BYTES`; empty when stderr was not carried. */
  readonly tail: string;
  /** The beginning of what it wrote to stdout, at most `HEAD_BYTES`; empty when stdout was not carried. */
  readonly head: string;
}

export interface ChildOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Keeps the end of stderr besides passing it on. Otherwise it goes straight to ours. */
  readonly keepTail: boolean;
  /** Keeps the beginning of stdout besides passing it on. Otherwise it goes straight to ours. */
  readonly keepHead?: boolean;
}

/** BuildKit's last message fits; a 200 kB line costs no more than this. */
const TAIL_BYTES = 8 * 1024;
/** The results of checks of many targets. */
const HEAD_BYTES = 1024 * 1024;
/** Background processes may hold a pipe open long after the child is gone. */
const DRAIN_MS = 2_000;
/** From SIGTERM to SIGKILL. With the pool connection closed there is nothing left to do but to clean up. */
const TERMINATE_MS = 3_000;
/** When to stop waiting for what can't be ended. The runner kills us 10 s after it asked first. */
const GIVE_UP_MS = 5_000;

/**
 * A child in a process group of its own, so that all it started can be ended with it.
 * (@actions/exec gives neither pid nor signal, hence node:child_process.)
 */
export class Child {
  readonly pid: number;
  /** Never rejects. */
  readonly ended: Promise<ChildEnd>;
  #over = false;

  private constructor(process: ChildProcess, pid: number) {
    this.pid = pid;
    this.ended = watch(process).finally(() => {
      this.#over = true;
    });
  }

  /** Rejects with the system's error when the program can't be started. */
  static async start(command: string, args: readonly string[], options: ChildOptions): Promise<Child> {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: [
        'ignore',
        options.keepHead === true ? 'pipe' : 'inherit',
        options.keepTail ? 'pipe' : 'inherit',
      ],
    });
    await once(child, 'spawn');
    if (child.pid === undefined) throw new Error(`${command} was started without a process id`);
    return new Child(child, child.pid);
  }

  /** Ends the whole group: politely, then surely. Resolves when the child is gone; does nothing when it already is. */
  async terminate(): Promise<void> {
    if (!this.#over) signalGroup(this.pid, 'SIGTERM');
    const kill = setTimeout(() => signalGroup(this.pid, 'SIGKILL'), TERMINATE_MS);
    const over = new AbortController();
    // What runs as another user (sudo) can't be ended by us, and must not hold us up.
    await Promise.race([this.ended, timeout(GIVE_UP_MS, over.signal)]);
    over.abort();
    clearTimeout(kill);
    // What the child had started may have outlived it.
    signalGroup(this.pid, 'SIGKILL');
  }
}

/** Signals every process of a group; one that is gone, or is another user's, is no error. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  signalProcess(-pid, signal);
}

/** The same for one process. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}

async function watch(child: ChildProcess): Promise<ChildEnd> {
  let tail: Buffer = Buffer.alloc(0);
  let head: Buffer = Buffer.alloc(0);
  passOn(child.stderr, process.stderr, (chunk) => {
    tail = Buffer.concat([tail, chunk]).subarray(-TAIL_BYTES);
  });
  passOn(child.stdout, process.stdout, (chunk) => {
    if (head.length < HEAD_BYTES) head = Buffer.concat([head, chunk]).subarray(0, HEAD_BYTES);
  });
  const closed = once(child, 'close');
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  const drained = new AbortController();
  await Promise.race([closed, timeout(DRAIN_MS, drained.signal)]);
  drained.abort();
  child.stderr?.destroy();
  child.stdout?.destroy();
  return { code, signal, tail: tail.toString('utf8'), head: head.toString('utf8') };
}

/** Writes what comes on to one of our own streams, no faster than that takes it. */
function passOn(from: Readable | null, to: NodeJS.WriteStream, see: (chunk: Buffer) => void): void {
  from?.on('data', (chunk: Buffer) => {
    if (!to.write(chunk)) {
      from.pause();
      to.once('drain', () => from.resume());
    }
    see(chunk);
  });
}

function timeout(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
