/**
 * The builder's entry in buildx's own store, in the place where the user's `docker buildx` looks for it. Made and
 * removed by buildx itself, which locks its store meanwhile.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** What has to be known to undo it; holds no secret. */
export interface Registration {
  readonly name: string;
  /** The run folder: a builder whose sockets are all in there is ours. */
  readonly folder: string;
  /** buildx: a command and the arguments that come before its own. */
  readonly command: string;
  readonly prefix: readonly string[];
  /** Where buildx keeps its builders: BUILDX_CONFIG, or `buildx` in docker's own folder. */
  readonly configFolder: string;
  /** Whether it is made buildx's default. */
  readonly use: boolean;
  /** What buildx's file `current` held before; null: there was none. */
  readonly previous: string | null;
}

/** One node of the builder. */
export interface RegisteredNode {
  readonly name: string;
  /** `unix:///…` */
  readonly address: string;
  /** Those that this node is for; empty: whatever it says of itself. */
  readonly platforms: readonly string[];
}

/** The builder's name is somebody else's, or buildx refuses. `message` names the remedy. */
export class RegistrationProblem extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RegistrationProblem';
  }
}

const run = promisify(execFile);
/** buildx asks the gateway, which answers at once; a slow machine starts it in a second. */
const BUILDX_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 2_000;

/** What is about to be registered. Reads the present default, changes nothing. */
export async function planRegistration(options: {
  readonly name: string;
  readonly use: boolean;
  readonly folder: string;
  readonly buildx: { readonly command: string; readonly prefix: readonly string[] };
  readonly env: NodeJS.ProcessEnv;
}): Promise<Registration> {
  const { env, folder, name, use } = options;
  const configFolder =
    env['BUILDX_CONFIG'] || join(env['DOCKER_CONFIG'] || join(env['HOME'] || homedir(), '.docker'), 'buildx');
  const { command, prefix } = options.buildx;
  return { name, folder, command, prefix, configFolder, use, previous: await readCurrent(configFolder) };
}

/** Makes the builder. Rejects with a `RegistrationProblem`. */
export async function register(
  registration: Registration,
  nodes: readonly RegisteredNode[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  await removeStale(registration, env);
  for (const [index, node] of nodes.entries()) {
    const args = [
      'create',
      ...['--name', registration.name, '--driver', 'remote', '--node', node.name],
      ...(index > 0 ? ['--append'] : []),
      ...(registration.use && index === 0 ? ['--use'] : []),
      ...(node.platforms.length > 0 ? ['--platform', node.platforms.join(',')] : []),
      node.address,
    ];
    try {
      await buildx(registration, args, env, signal);
    } catch (error) {
      throw new RegistrationProblem(
        `\`docker buildx create\` made no builder ${registration.name}: ${lastLine(error)}`,
        {
          cause: error,
        },
      );
    }
  }
}

/** Undoes it, as far as there is anything to undo. Somebody else's builder of that name is left alone. */
export async function unregister(registration: Registration, env: NodeJS.ProcessEnv): Promise<void> {
  const { configFolder, folder, name, use, previous } = registration;
  const sockets = await ourSockets(instanceFile(configFolder, name));
  if (sockets === 'foreign') return;
  if (sockets !== 'none') {
    if (!sockets.every((path) => path.startsWith(`${folder}/`))) return;
    // The default, now without a builder, sends buildx back to the one of docker's own.
    await buildx(registration, ['rm', name], env).catch(async () => {
      await rm(instanceFile(configFolder, name), { force: true });
    });
  }
  const current = await readCurrent(configFolder);
  // Whoever has chosen another builder meanwhile is right.
  if (!use || currentName(current) !== name) return;
  const file = join(configFolder, 'current');
  const before = currentName(previous);
  const standsAgain =
    previous !== null && (before === '' || existsSync(instanceFile(configFolder, before ?? '')));
  if (!standsAgain) {
    await rm(file, { force: true });
    return;
  }
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(draft, previous, { mode: 0o600 });
  await rename(draft, file);
}

/** A builder of this name that a killed job has left behind goes; any other keeps its name. */
async function removeStale(registration: Registration, env: NodeJS.ProcessEnv): Promise<void> {
  const { name, configFolder } = registration;
  const sockets = await ourSockets(instanceFile(configFolder, name));
  if (sockets === 'none') return;
  const taken = (why: string) =>
    new RegistrationProblem(
      `\`name\` is ${JSON.stringify(name)}: ${why}; choose another name, or leave it out`,
    );
  if (sockets === 'foreign') throw taken('there is a builder of that name already');
  const alive = await Promise.all(sockets.map(isListening));
  if (alive.includes(true)) throw taken('another job on this machine uses a builder of that name');
  await buildx(registration, ['rm', name], env).catch(() => {});
}

/** The sockets of a builder that was made by a set-up step. */
async function ourSockets(file: string): Promise<readonly string[] | 'none' | 'foreign'> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    return 'none';
  }
  try {
    const { Driver: driver, Nodes: nodes } = JSON.parse(text) as {
      Driver?: unknown;
      Nodes?: { Endpoint?: unknown }[];
    };
    const paths = (nodes ?? []).map((node) => {
      const path = /^unix:\/\/(\/.*\/bkpool-[^/]+\/bkp-[^/]+\/[^/]+)$/.exec(String(node.Endpoint))?.[1];
      return path ?? '';
    });
    return driver === 'remote' && paths.length > 0 && !paths.includes('') ? paths : 'foreign';
  } catch {
    return 'foreign';
  }
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (listening: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(listening);
    };
    // One that accepts nothing is still somebody's.
    const timer = setTimeout(() => settle(true), CONNECT_TIMEOUT_MS);
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}

async function buildx(
  { command, prefix, configFolder }: Registration,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<void> {
  await run(command, [...prefix, ...args], {
    // Nothing of a pool's own keys or address is buildx's business.
    env: {
      ...Object.fromEntries(
        Object.entries(env).filter(([key]) => !/^(INPUT_|STATE_|BUILDER_NODE_|BUILDKIT_HOST$)/.test(key)),
      ),
      BUILDX_CONFIG: configFolder,
    },
    timeout: BUILDX_TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
}

function instanceFile(configFolder: string, name: string): string {
  // As buildx does: names are not told apart by case.
  return join(configFolder, 'instances', name.toLowerCase());
}

async function readCurrent(configFolder: string): Promise<string | null> {
  return await readFile(join(configFolder, 'current'), 'utf8').catch(() => null);
}

/** The builder that buildx's file `current` names; undefined when it can't be read. */
function currentName(text: string | null): string | undefined {
  if (text === null) return undefined;
  try {
    const { Name: name } = JSON.parse(text) as { Name?: unknown };
    return typeof name === 'string' ? name : undefined;
  } catch {
    return undefined;
  }
}

function lastLine(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return (stderr || message || String(error)).trim().split('\n').at(-1)?.slice(0, 500) ?? '';
}
