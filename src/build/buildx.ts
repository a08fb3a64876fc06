import { constants } from 'node:fs';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { getExecOutput } from '@actions/exec';
import { parsePlatform } from './architecture.ts';
import { buildxEnvironment } from './child-environment.ts';

/** How to call buildx: as a plugin of the docker command, or on its own. */
export interface Buildx {
  readonly command: string;
  /** Arguments that come before buildx's own. */
  readonly prefix: readonly string[];
  /**
   * Asks for the version, once. Resolves when it is good, rejects with a `BuildxProblem`. It takes some 50 ms of a
   * core, which a build need not wait for: it has printed nothing yet when an old buildx is found out.
   */
  readonly accept: () => Promise<void>;
  /** The same, and tells it; undefined where buildx can't. */
  readonly version: () => Promise<string | undefined>;
}

/** No buildx, or none that can share a pool. `message` names the remedy. */
export class BuildxProblem extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BuildxProblem';
  }
}

/**
 * Up to 0.15 buildx opens two connections a build and waits for the second one: on builders that take one at a time
 * such a client waits for itself for ever. Measured with 0.13.1 and 0.15.1 against 0.16.0.
 */
const MINIMUM = { major: 0, minor: 16 };

/** Where docker looks for plugins, after `cli-plugins` in its configuration folder (docker/cli, cli-plugins/manager). */
const PLUGIN_FOLDERS = ['/usr/local/lib', '/usr/local/libexec', '/usr/lib', '/usr/libexec'].map(
  (folder) => `${folder}/docker/cli-plugins`,
);

/** Which buildx to use, when not whatever is there. */
export interface WantedBuildx {
  /** `v0.36.1` or `latest`. */
  readonly version: string;
  /** Also for what others start: `docker buildx` is this one from now on. */
  readonly asPlugin: boolean;
  readonly onProgress: (line: string) => void;
  /** Gives up waiting for it. */
  readonly signal: AbortSignal;
}

/**
 * Finds buildx, the docker command's plugin first, or installs the one that is wanted.
 * Rejects with a `BuildxProblem`, or with the reason of the signal.
 */
export async function findBuildx(env: NodeJS.ProcessEnv, wanted?: WantedBuildx): Promise<Buildx> {
  if (wanted === undefined) return await findPresent(env);
  const present = await findPresent(env).catch(() => undefined);
  if (present !== undefined && (await versionOf(present, env)) === wanted.version) return present;
  try {
    const { installBuildx, installPlugin } = await import('./buildx-install.ts');
    const program = await installBuildx({ ...wanted, env });
    if (wanted.asPlugin) await installPlugin(program, env);
    return called(program, [], env);
  } catch (error) {
    if (wanted.signal.aborted) throw wanted.signal.reason;
    throw new BuildxProblem(error instanceof Error ? error.message : String(error));
  }
}

async function findPresent(env: NodeJS.ProcessEnv): Promise<Buildx> {
  const path = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const dockerConfig = env['DOCKER_CONFIG'] || join(homedir(), '.docker');
  const [docker, plugin, alone] = await Promise.all([
    hasProgram(path, 'docker'),
    hasProgram([join(dockerConfig, 'cli-plugins'), ...PLUGIN_FOLDERS], 'docker-buildx'),
    hasProgram(path, 'buildx'),
  ]);
  if (docker && plugin) return called('docker', ['buildx'], env);
  if (alone) return called('buildx', [], env);
  if (!docker) throw missing();
  // Docker's configuration may name folders of its own: only docker itself can tell.
  const unsure = called('docker', ['buildx'], env);
  await unsure.accept();
  return unsure;
}

function called(command: string, prefix: readonly string[], env: NodeJS.ProcessEnv): Buildx {
  let accepted: Promise<string | undefined> | undefined;
  const version = () => {
    accepted ??= checkVersion(command, prefix, env);
    return accepted;
  };
  return { command, prefix, version, accept: () => version().then(() => undefined) };
}

async function checkVersion(
  command: string,
  prefix: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const { exitCode, stdout } = await askVersion(command, prefix, env);
  if (exitCode !== 0) throw missing();
  const version = readVersion(stdout);
  if (version !== undefined && isTooOld(version)) {
    throw new BuildxProblem(
      `docker buildx is ${version}, which deadlocks on builders that take one build at a time: install 0.16.0 or newer, or name one in \`buildx-version\``,
    );
  }
  return version;
}

/** As tags of releases are written; undefined when it can't be run. */
async function versionOf(buildx: Buildx, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const { exitCode, stdout } = await askVersion(buildx.command, buildx.prefix, env);
  const version = exitCode === 0 ? readVersion(stdout) : undefined;
  return version === undefined ? undefined : `v${version}`;
}

async function askVersion(command: string, prefix: readonly string[], env: NodeJS.ProcessEnv) {
  return await getExecOutput(command, [...prefix, 'version'], {
    env: definedOnly(buildxEnvironment(env)),
    silent: true,
    ignoreReturnCode: true,
  });
}

function missing(): BuildxProblem {
  return new BuildxProblem(
    'neither `docker buildx` nor `buildx` can be run: install the buildx plugin, 0.16.0 or newer (package docker-buildx-plugin), or have it installed by `buildx-version: latest`',
  );
}

async function hasProgram(folders: readonly string[], name: string): Promise<boolean> {
  const found = folders.map((folder) => access(join(folder, name), constants.X_OK).then(() => true));
  return await Promise.any(found).catch(() => false);
}

/** One BuildKit that a builder leads to. */
export interface BuilderNode {
  /** `unix:///…` */
  readonly address: string;
  /** What is built there, chosen by us; empty: whatever its BuildKit says that it can. */
  readonly platforms: readonly string[];
}

/**
 * Makes a builder of the remote driver in a BUILDX_CONFIG folder of our own, as `buildx create` would.
 * That command opens a connection to look at a builder whose socket is there, and takes its time; the file is what it
 * leaves behind (measured with 0.16.0 and 0.36.1), and buildx reads the files of its older versions.
 */
export async function writeBuilder(
  buildxConfig: string,
  name: string,
  nodes: readonly BuilderNode[],
): Promise<void> {
  const entries = nodes.map(({ address, platforms }, index) => ({
    Name: `${name}${index}`,
    Endpoint: address,
    Platforms: platforms.length === 0 ? null : platforms.flatMap(specOf),
    DriverOpts: null,
    Flags: null,
    Files: null,
  }));
  const folder = join(buildxConfig, 'instances');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(
    join(folder, name),
    JSON.stringify({ Name: name, Driver: 'remote', Nodes: entries, Dynamic: false }),
    { mode: 0o600 },
  );
}

/** A platform as the OCI image specification writes it. */
function specOf(
  text: string,
): { readonly architecture: string; readonly os: string; readonly variant?: string }[] {
  const platform = parsePlatform(text);
  if (platform === undefined) return [];
  const { architecture, os, variant } = platform;
  return [variant === '' ? { architecture, os } : { architecture, os, variant }];
}

/** The version in `github.com/docker/buildx v0.36.1 5d32ea7`; undefined when there is none. */
export function readVersion(output: string): string | undefined {
  return /\sv?(\d+\.\d+\.\d+[^\s]*)/.exec(output)?.[1];
}

/** Versions such as 0.0.0+unknown come from builds without a version and are taken on trust. */
export function isTooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (version.startsWith('0.0.0')) return false;
  return major === MINIMUM.major && minor < MINIMUM.minor;
}

function definedOnly(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
