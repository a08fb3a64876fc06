import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import type { Report } from '../../src/report/report.ts';

export interface ActionEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The bundled Action as the runner starts it: a child process with INPUT_* variables and the runner's files. */
export class RunningAction {
  readonly temp: string;
  readonly ended: Promise<ActionEnd>;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #env: NodeJS.ProcessEnv;
  #log = '';

  constructor(
    inputs: Readonly<Record<string, string>>,
    options: { cwd?: string; env?: NodeJS.ProcessEnv; main?: string } = {},
  ) {
    this.temp = mkdtempSync(join(tmpdir(), 'runner-'));
    const bin = join(this.temp, 'bin');
    mkdirSync(bin);
    symlinkSync(process.env['BUILDX'] ?? '/usr/bin/buildx', join(bin, 'buildx'));
    this.#env = {
      ...process.env,
      // On its own, whatever docker this machine has or has not.
      PATH: `${bin}${delimiter}${process.env['PATH']}`,
      DOCKER_CONFIG: join(this.temp, 'docker'),
      RUNNER_TEMP: this.temp,
      RUNNER_ARCH: process.arch === 'arm64' ? 'ARM64' : 'X64',
      GITHUB_OUTPUT: this.#file('output'),
      GITHUB_STATE: this.#file('state'),
      GITHUB_STEP_SUMMARY: this.#file('summary'),
      ...Object.fromEntries(
        Object.entries(inputs).map(([name, value]) => [
          `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`,
          value,
        ]),
      ),
      ...options.env,
    };
    this.#child = spawn(process.execPath, [resolve(options.main ?? 'dist/main.js')], {
      cwd: options.cwd ?? this.temp,
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.pid = this.#child.pid ?? 0;
    const record = (chunk: Buffer) => {
      this.#log += chunk.toString('utf8');
    };
    this.#child.stdout?.on('data', record);
    this.#child.stderr?.on('data', record);
    this.ended = once(this.#child, 'close').then(([code, signal]) => ({ code, signal }));
  }

  /** Everything it has printed so far, both streams. */
  get log(): string {
    return this.#log;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves once the log holds `text`; rejects when the Action ends without it. */
  async says(text: string, times = 1): Promise<void> {
    let over = false;
    void this.ended.then(() => {
      over = true;
    });
    while (this.#log.split(text).length <= times) {
      if (over)
        throw new Error(
          `the Action ended without saying ${JSON.stringify(text)}:\n${this.#log.slice(-4_000)}`,
        );
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  get outputs(): Readonly<Record<string, string>> {
    return readKeyFile(join(this.temp, 'output'));
  }

  get summary(): string {
    return readFileSync(join(this.temp, 'summary'), 'utf8');
  }

  get report(): Report {
    return JSON.parse(readFileSync(this.outputs['report'] ?? '', 'utf8')) as Report;
  }

  /** The post step, with the state that main saved; resolves with what it printed. */
  async post(): Promise<{ code: number | null; log: string }> {
    const state = Object.entries(readKeyFile(join(this.temp, 'state'))).map(([key, value]) => [
      `STATE_${key}`,
      value,
    ]);
    const child = spawn(process.execPath, [resolve('dist/post.js')], {
      env: { ...this.#env, ...Object.fromEntries(state) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '';
    child.stdout.on('data', (chunk: Buffer) => {
      log += chunk.toString('utf8');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      log += chunk.toString('utf8');
    });
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, log };
  }

  /** Removes the runner's own files; to be called last. */
  remove(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    // What was killed a moment ago may still be letting go of its files.
    rmSync(this.temp, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  #file(name: string): string {
    const path = join(this.temp, name);
    writeFileSync(path, '');
    return path;
  }
}

/** The runner's file format: `name<<delimiter`, lines, `delimiter`. */
function readKeyFile(path: string): Record<string, string> {
  const lines = readFileSync(path, 'utf8').split('\n');
  const values: Record<string, string> = {};
  for (let at = 0; at < lines.length; at++) {
    const [name, delimiter] = (lines[at] ?? '').split('<<');
    if (name === undefined || delimiter === undefined) continue;
    const end = lines.indexOf(delimiter, at + 1);
    values[name] = lines.slice(at + 1, end).join('\n');
    at = end;
  }
  return values;
}

/** A context folder with this Dockerfile and a busybox at its root. */
export function makeContext(dockerfile: string, files: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'context-'));
  writeFileSync(join(folder, 'Dockerfile'), dockerfile);
  writeFileSync(join(folder, 'busybox'), readFileSync(process.env['BUSYBOX'] ?? '/bin/busybox'), {
    mode: 0o755,
  });
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

/** A Dockerfile without any registry whose one step runs `script` in busybox's shell. */
export function dockerfileRunning(script: string): string {
  return [
    'FROM scratch',
    'COPY busybox /bin/busybox',
    'SHELL ["/bin/busybox", "sh", "-c"]',
    'ARG ID=0',
    `RUN : $ID; ${script}`,
    '',
  ].join('\n');
}
