/** A job with a set-up step: the bundled Action, later steps that call buildx as other actions do, and its post. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { SetupReport } from '../../src/setup/setup-report.ts';
import type { SetupState } from '../../src/setup/setup-state.ts';
import { RunningAction } from './action.ts';
import { entriesUnder, readUnlessGone } from './files.ts';

export interface StepEnd {
  readonly code: number | null;
  readonly log: string;
}

export interface Step {
  readonly process: ChildProcess;
  readonly ended: Promise<StepEnd>;
  /** Everything it has printed so far. */
  readonly log: () => string;
}

export class Job {
  readonly action: RunningAction;
  readonly #variables: string;
  readonly #dockerConfig: string;
  readonly #buildx: string;
  readonly #children: ChildProcess[] = [];

  constructor(
    inputs: Readonly<Record<string, string>>,
    options: { env?: NodeJS.ProcessEnv; dockerConfig?: string; buildx?: string } = {},
  ) {
    const folder = mkdtempSync(join(tmpdir(), 'job-'));
    this.#variables = join(folder, 'env');
    writeFileSync(this.#variables, '');
    this.#dockerConfig = options.dockerConfig ?? join(folder, 'docker');
    this.#buildx = options.buildx ?? process.env['BUILDX'] ?? 'buildx';
    this.action = new RunningAction(inputs, {
      env: { GITHUB_ENV: this.#variables, DOCKER_CONFIG: this.#dockerConfig, ...options.env },
    });
  }

  /** Resolves when the set-up step has ended well; rejects with its log. */
  async ready(): Promise<this> {
    const end = await this.action.ended;
    if (end.code !== 0) throw new Error(`the set-up step failed:\n${this.action.log}`);
    return this;
  }

  /** What the runner adds to the environment of each later step. */
  get variables(): Readonly<Record<string, string>> {
    const lines = readFileSync(this.#variables, 'utf8').split('\n');
    const found: Record<string, string> = {};
    for (const [at, line] of lines.entries()) {
      const [name, delimiter] = line.split('<<');
      if (!name || delimiter === undefined) continue;
      found[name] = lines.slice(at + 1, lines.indexOf(delimiter, at + 1)).join('\n');
    }
    return found;
  }

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, DOCKER_CONFIG: this.#dockerConfig, ...this.variables };
  }

  get buildxFolder(): string {
    return join(this.#dockerConfig, 'buildx');
  }

  get state(): SetupState {
    return JSON.parse(this.#state('setup')) as SetupState;
  }

  get folder(): string {
    return this.#state('folder');
  }

  get gatewayPid(): number {
    return this.state.gateway?.pid ?? -1;
  }

  get gatewayLog(): string {
    return readFileSync(join(this.folder, 'gateway.log'), 'utf8');
  }

  get report(): SetupReport {
    return JSON.parse(readFileSync(this.state.reportPath, 'utf8')) as SetupReport;
  }

  /** `buildx` as a later step runs it. */
  step(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd: string = this.action.temp): Step {
    const child = spawn(this.#buildx, args, {
      cwd,
      env: { ...this.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#children.push(child);
    let log = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        log += chunk;
      });
    }
    const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, log }));
    return { process: child, ended, log: () => log };
  }

  async buildx(...args: string[]): Promise<StepEnd> {
    return await this.step(args).ended;
  }

  async post(): Promise<StepEnd> {
    return await this.action.post();
  }

  /** Files under the runner's temporary folder and buildx's, with what they hold; sockets are named only. */
  files(): Readonly<Record<string, string>> {
    const all: Record<string, string> = {};
    for (const folder of [this.action.temp, this.#dockerConfig]) {
      if (!existsSync(folder)) continue;
      for (const entry of entriesUnder(folder)) {
        const path = join(entry.parentPath, entry.name);
        // The gateway renames its report's draft whenever there is news.
        const text = entry.isFile() ? readUnlessGone(path)?.toString('latin1') : undefined;
        if (text !== undefined) all[path] = text;
        else if (entry.isSocket()) all[path] = '';
      }
    }
    return all;
  }

  /** Ends what a test has left running, and removes its folders. */
  remove(): void {
    for (const child of this.#children) if (child.exitCode === null) child.kill('SIGKILL');
    try {
      if (this.gatewayPid > 1) process.kill(this.gatewayPid, 'SIGKILL');
    } catch {
      // It has ended, or was never started.
    }
    this.action.remove();
    rmSync(join(this.#variables, '..'), { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  #state(key: string): string {
    const lines = readFileSync(join(this.action.temp, 'state'), 'utf8').split('\n');
    // The last one counts, as for the runner.
    const at = lines.findLastIndex((line) => line.startsWith(`${key}<<`));
    return at < 0 ? '' : (lines[at + 1] ?? '');
  }
}

/**
 * A process that starts a set-up step and then stays, as the runner's worker does, with a shell in between; ending it
 * ends the job. `folder` is where its program is put: it is known by its name.
 */
export class FakeRunner {
  readonly process: ChildProcess;

  constructor(folder: string, env: NodeJS.ProcessEnv) {
    const program = join(folder, 'Runner.Worker');
    symlinkSync('/bin/sh', program);
    const script = `sh -c '"${process.execPath}" "${resolve('dist/main.js')}"; exit'; echo set-up ended; exec sleep 600`;
    this.process = spawn(program, ['-c', script], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  }

  /** Resolves when the set-up step has ended. */
  async ready(): Promise<void> {
    const { stdout } = this.process;
    if (stdout === null) return;
    let log = '';
    for await (const chunk of stdout) {
      log += String(chunk);
      if (log.includes('set-up ended')) return;
    }
    throw new Error(`the runner ended: ${log}`);
  }
}
