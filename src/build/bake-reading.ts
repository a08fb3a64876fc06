import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { type BakeReading, printCommand } from './bake-arguments.ts';
import { type BakeDefinition, BakeProblem, parseDefinition } from './bake-definition.ts';
import type { Buildx } from './buildx.ts';
import type { BakeSource, SessionWork } from './work.ts';
import { needsDefinition } from './work-command.ts';

/** What the bake files come to, by buildx itself; read once for a session, and only where the work needs it. */
export class BakeFiles {
  readonly #work: SessionWork;
  readonly #cwd: string;
  #definition: BakeDefinition | undefined;

  /** `cwd`: the workspace. */
  constructor(work: SessionWork, cwd: string) {
    this.#work = work;
    this.#cwd = cwd;
  }

  /** Undefined until it has been read, and where nobody needs it. */
  get definition(): BakeDefinition | undefined {
    return this.#definition;
  }

  /** Files on this machine, which need no builder. Rejects with a `BakeProblem`, or when the signal comes. */
  async readHere(buildx: Promise<Buildx>, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<void> {
    if (this.#isFrom('folder')) await this.#read(await buildx, '', env, signal);
  }

  /** Files of a repository, which the builder fetches. Rejects with a `BakeProblem`, or when the signal comes. */
  async readThrough(
    builder: string,
    buildx: Buildx,
    env: NodeJS.ProcessEnv,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#isFrom('remote')) await this.#read(buildx, builder, env, signal);
  }

  #isFrom(kind: BakeSource['kind']): boolean {
    return this.#definition === undefined && needsDefinition(this.#work) && this.#work.source.kind === kind;
  }

  async #read(buildx: Buildx, builder: string, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<void> {
    if (this.#work.kind !== 'bake') return;
    this.#definition = await readDefinition(this.#work, { buildx, builder, env, cwd: this.#cwd, signal });
  }
}

export interface ReadingPlace {
  readonly buildx: Buildx;
  /** Fetches a remote definition; not asked for one on this machine. */
  readonly builder: string;
  readonly env: NodeJS.ProcessEnv;
  /** The workspace. */
  readonly cwd: string;
  /** Ends the reading. */
  readonly signal: AbortSignal;
}

/**
 * What bake files come to. Rejects with a `BakeProblem`, or when the signal comes.
 * A buildx that crashes over it is asked again: 0.16.0 does so now and then as it ends (a race in its
 * util/progress/printer.go), and reading changes nothing.
 */
export async function readDefinition(work: BakeReading, place: ReadingPlace): Promise<BakeDefinition> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return parseDefinition(await print(work, place));
    } catch (error) {
      if (place.signal.aborted || error instanceof BakeProblem) throw error;
      if (isCrash(error) && attempt < MAX_ATTEMPTS) continue;
      throw new BakeProblem(`has no readable bake definition: ${lastLineOf(error)}`);
    }
  }
}

async function print(
  work: BakeReading,
  { buildx, builder, cwd, env, signal }: ReadingPlace,
): Promise<string> {
  const command = printCommand(work, { builder, version: await buildx.version() });
  const running = promisify(execFile)(buildx.command, [...buildx.prefix, ...command.args], {
    cwd: resolve(cwd, command.folder ?? '.'),
    env: { ...env, ...command.env },
    maxBuffer: MAX_DEFINITION_BYTES,
    signal,
  });
  // A bake file read from stdin has nobody to write it.
  running.child.stdin?.end();
  return (await running).stdout;
}

const MAX_ATTEMPTS = 3;
/** How a Go program ends that panics. */
const PANIC_EXIT_CODE = 2;

function isCrash(error: unknown): boolean {
  const { code, stderr } = error as { readonly code?: unknown; readonly stderr?: unknown };
  return code === PANIC_EXIT_CODE && typeof stderr === 'string' && /^(panic|fatal error): /m.test(stderr);
}

/** A definition of thousands of targets has a few MB. */
const MAX_DEFINITION_BYTES = 64 * 1024 * 1024;

function lastLineOf(error: unknown): string {
  const said = (error as { readonly stderr?: unknown }).stderr;
  const text = typeof said === 'string' && said.trim() !== '' ? said : String(error);
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}
