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

/** What bake files come to. Rejects with a `BakeProblem`, or when the signal comes. */
export async function readDefinition(work: BakeReading, place: ReadingPlace): Promise<BakeDefinition> {
  const { buildx, builder } = place;
  const command = printCommand(work, { builder, version: await buildx.version() });
  const running = promisify(execFile)(buildx.command, [...buildx.prefix, ...command.args], {
    cwd: resolve(place.cwd, command.folder ?? '.'),
    env: { ...place.env, ...command.env },
    maxBuffer: MAX_DEFINITION_BYTES,
    signal: place.signal,
  });
  // A bake file read from stdin has nobody to write it.
  running.child.stdin?.end();
  try {
    return parseDefinition((await running).stdout);
  } catch (error) {
    if (place.signal.aborted || error instanceof BakeProblem) throw error;
    throw new BakeProblem(`has no readable bake definition: ${lastLineOf(error)}`);
  }
}

/** A definition of thousands of targets has a few MB. */
const MAX_DEFINITION_BYTES = 64 * 1024 * 1024;

function lastLineOf(error: unknown): string {
  const said = (error as { readonly stderr?: unknown }).stderr;
  const text = typeof said === 'string' && said.trim() !== '' ? said : String(error);
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}
