/** One build as a runner does it: the bundled Action, main and then post, with the environment that GitHub gives. */
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Child, startChild } from '../local/child.ts';
import { readTail } from '../local/tail.ts';
import type { Report } from '../report/report.ts';
import { parseCommandFile } from './command-file.ts';

export interface ActionChildOptions {
  /** Holds main.js and post.js. */
  readonly actionFolder: string;
  readonly setpriv: string;
  /** Private to this build; made here. */
  readonly folder: string;
  readonly workspace: string;
  /** Folders of programs the Action may use. */
  readonly path: string;
  readonly arch: 'amd64' | 'arm64';
  /** By the names in action.yml. */
  readonly inputs: Readonly<Record<string, string>>;
  /** When it aborts, the Action is cancelled as a runner does it. */
  readonly signal: AbortSignal;
  onStarted(): void;
  onEnded(): void;
}

export interface ActionEnd {
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly exitCode: number | null;
  /** Null when the Action wrote none. */
  readonly report: Report | null;
  /** The end of what main and post wrote, for people. */
  readonly log: string;
}

/** As the runner cancels: SIGINT, SIGTERM 7.5 s later, SIGKILL 2.5 s after that. */
const CANCEL_STEPS = [
  { signal: 'SIGINT', afterMs: 0 },
  { signal: 'SIGTERM', afterMs: 7_500 },
  { signal: 'SIGKILL', afterMs: 10_000 },
] as const;

/** Never rejects on account of the build; rejects when the child cannot be started. */
export async function runAction(options: ActionChildOptions): Promise<ActionEnd> {
  const files = {
    GITHUB_OUTPUT: join(options.folder, 'output'),
    GITHUB_STATE: join(options.folder, 'state'),
    GITHUB_STEP_SUMMARY: join(options.folder, 'summary.md'),
    GITHUB_ENV: join(options.folder, 'env'),
    GITHUB_PATH: join(options.folder, 'path'),
  };
  // Short: a unix socket is made in it, whose path has at most 107 bytes.
  const temp = join(options.folder, 'tmp');
  await mkdir(temp, { recursive: true, mode: 0o700 });
  await Promise.all(Object.values(files).map((path) => writeFile(path, '')));
  const env = {
    ...files,
    PATH: options.path,
    HOME: options.folder,
    TMPDIR: temp,
    RUNNER_TEMP: temp,
    RUNNER_ARCH: options.arch === 'arm64' ? 'ARM64' : 'X64',
    RUNNER_OS: 'Linux',
    GITHUB_ACTIONS: 'true',
    GITHUB_WORKSPACE: options.workspace,
    // One record a build of how it was made costs a connection's time and is of no use here.
    BUILDX_NO_DEFAULT_ATTESTATIONS: '1',
    ...Object.fromEntries(
      Object.entries(options.inputs).map(([name, value]) => [inputVariable(name), value]),
    ),
  };

  const startedAtMs = Date.now();
  options.onStarted();
  const main = await runStep(options, 'main.js', env);
  options.onEnded();
  const endedAtMs = Date.now();

  const state = parseCommandFile(await readFile(files.GITHUB_STATE, 'utf8'));
  await runStep(options, 'post.js', {
    ...env,
    ...Object.fromEntries([...state].map(([name, value]) => [`STATE_${name}`, value])),
  });
  const outputs = parseCommandFile(await readFile(files.GITHUB_OUTPUT, 'utf8'));
  return {
    startedAtMs,
    endedAtMs,
    exitCode: main,
    report: await readReport(outputs.get('report')),
    log: await readTail(join(options.folder, 'log')),
  };
}

/** As the runner names it: upper case, spaces to underscores, dashes kept. */
export function inputVariable(name: string): string {
  return `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`;
}

async function runStep(
  options: ActionChildOptions,
  file: string,
  env: Readonly<Record<string, string>>,
): Promise<number | null> {
  const log = openSync(join(options.folder, 'log'), 'a', 0o600);
  const child = await startChild({
    setpriv: options.setpriv,
    command: process.execPath,
    args: [join(options.actionFolder, file)],
    env,
    cwd: options.workspace,
    stdout: log,
    stderr: log,
  }).finally(() => closeSync(log));
  const timers: NodeJS.Timeout[] = [];
  const cancel = () => {
    for (const { signal, afterMs } of CANCEL_STEPS) {
      timers.push(setTimeout(() => child.signal(signal), afterMs));
    }
  };
  // A cancelled job still runs its post step.
  if (file === 'main.js') {
    onAbort(options.signal, cancel, child);
  }
  const { code } = await child.exited;
  for (const timer of timers) {
    clearTimeout(timer);
  }
  return code;
}

function onAbort(signal: AbortSignal, cancel: () => void, child: Child): void {
  if (signal.aborted) {
    cancel();
    return;
  }
  signal.addEventListener('abort', cancel, { once: true });
  void child.exited.then(() => signal.removeEventListener('abort', cancel));
}

async function readReport(path: string | undefined): Promise<Report | null> {
  if (path === undefined) {
    return null;
  }
  try {
    return parseReport(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return null;
  }
}

/** Trusts our own Action's shape as far as its schema's name. */
function parseReport(value: unknown): Report | null {
  return typeof value === 'object' &&
    value !== null &&
    'schema' in value &&
    value.schema === 'buildkit-pool/report/v1'
    ? (value as Report)
    : null;
}
