/**
 * The fallback: a builder of this machine's own engine (buildx's docker-container driver), for when the pool can't be
 * had. It lives as long as the work does.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { getExecOutput } from '@actions/exec';
import type { Buildx } from './buildx.ts';
import { Child, type ChildEnd } from './child.ts';
import { buildxEnvironment } from './child-environment.ts';

export interface LocalBuilder {
  /** For `--builder` and BUILDX_BUILDER. */
  readonly name: string;
  /** Ends its container and forgets its cache. Never rejects; tells what stood in the way. */
  readonly remove: () => Promise<string | undefined>;
}

/** No engine, or one that starts no builder. `message` names what was tried and the remedy. */
export class NoLocalBuilder extends Error {
  override readonly name = 'NoLocalBuilder';
}

/** What `post` needs to remove a builder that a killed main left. */
export interface LocalBuilderTrace {
  readonly command: string;
  readonly prefix: readonly string[];
  readonly name: string;
  readonly buildxConfig: string;
}

/**
 * Makes the builder and waits until it answers, at most as long as its image takes to be pulled.
 * `env` has BUILDX_CONFIG, a private folder. `onChild` is told of each program that is started.
 * Rejects with `NoLocalBuilder`, and with the signal's reason; nothing is left then.
 */
export async function startLocalBuilder(
  buildx: Buildx,
  name: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
  onChild: (pid: number) => void,
): Promise<LocalBuilder> {
  const remove = () => removeLocalBuilder(buildx, name, env);
  const created = await runBuildx(
    buildx,
    ['create', '--name', name, '--driver', 'docker-container'],
    env,
    signal,
    onChild,
  );
  const booted =
    created.code === 0
      ? await runBuildx(buildx, ['inspect', '--bootstrap', name], env, signal, onChild)
      : created;
  if (booted.code === 0 && !signal.aborted) return { name, remove };
  await remove();
  signal.throwIfAborted();
  throw new NoLocalBuilder(
    `no builder could be started on this machine (${lastLine(booted.tail)}): \`fallback: local\` needs a Docker engine that this job may use`,
  );
}

/** The same for one whose maker is gone. */
export async function removeLocalBuilder(
  { command, prefix }: Pick<Buildx, 'command' | 'prefix'>,
  name: string,
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const { exitCode, stderr } = await getExecOutput(command, [...prefix, 'rm', '--force', name], {
    env: Object.fromEntries(
      Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
    silent: true,
    ignoreReturnCode: true,
  });
  return exitCode === 0 ? undefined : `the local builder ${name} could not be removed: ${lastLine(stderr)}`;
}

/** The same by what main saved for `post`; does nothing where main made none, or has removed it. */
export async function removeLocalBuilderOf(
  state: string,
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  if (state === '') return undefined;
  const trace = JSON.parse(state) as LocalBuilderTrace;
  if (!existsSync(join(trace.buildxConfig, 'instances', trace.name))) return undefined;
  return await removeLocalBuilder(trace, trace.name, {
    ...buildxEnvironment(env),
    BUILDX_CONFIG: trace.buildxConfig,
  });
}

async function runBuildx(
  { command, prefix }: Buildx,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
  onChild: (pid: number) => void,
): Promise<ChildEnd> {
  const child = await Child.start(command, [...prefix, ...args], { env, cwd: process.cwd(), keepTail: true });
  onChild(child.pid);
  const end = () => void child.terminate();
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  try {
    return await child.ended;
  } finally {
    signal.removeEventListener('abort', end);
  }
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1)?.trim().slice(0, 300) ?? '';
}
