import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './local-pool.ts';

/** A server that a test starts: a process of its own with a folder of its own, both gone after `stop`. */
export class ServerProcess {
  readonly folder: string;
  #child: ChildProcess | undefined;
  #log = '';

  constructor(name: string) {
    this.folder = mkdtempSync(join(tmpdir(), `${name}-`));
  }

  get log(): string {
    return this.#log;
  }

  /** Resolves when `ready` does; rejects with the server's log when it ends before, or after 90 s. */
  async start(command: string, args: readonly string[], ready: () => Promise<boolean>): Promise<void> {
    const child = spawn(command, [...args], { cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#log = `${this.#log}${chunk.toString('utf8')}`.slice(-100_000);
      });
    }
    child.on('error', (error) => {
      this.#log += String(error);
    });
    try {
      await eventually(`${command} answers`, () => child.exitCode !== null || ready(), 90_000);
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
    } catch (error) {
      await this.stop();
      throw new Error(`${command} could not be started: ${String(error)}\n${this.#log}`);
    }
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      // Not 'close': what it has started may have its output for longer.
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const slow = setTimeout(() => child.kill('SIGKILL'), 30_000);
      await ended;
      clearTimeout(slow);
    }
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
