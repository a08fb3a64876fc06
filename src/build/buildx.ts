import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { getExecOutput } from '@actions/exec';

/** How to call buildx: as a plugin of the docker command, or on its own. */
export interface Buildx {
  readonly command: string;
  /** Arguments that come before buildx's own. */
  readonly prefix: readonly string[];
  /** Such as `0.36.1`; undefined for a build without a version. */
  readonly version: string | undefined;
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

/** Finds buildx and checks its version. Rejects with a `BuildxProblem`. */
export async function findBuildx(env: NodeJS.ProcessEnv): Promise<Buildx> {
  // Both are asked at once, the plugin is preferred: a process takes some 50 ms to start, and a build waits for this.
  const candidates = [
    { command: 'docker', prefix: ['buildx'] },
    { command: 'buildx', prefix: [] },
  ] as const;
  const outputs = candidates.map(({ command, prefix }) => capture(command, [...prefix, 'version'], env));
  for (const [index, { command, prefix }] of candidates.entries()) {
    const output = await outputs[index];
    if (output === undefined) continue;
    const version = readVersion(output);
    if (version !== undefined && isTooOld(version)) {
      throw new BuildxProblem(
        `docker buildx is ${version}, which deadlocks on builders that take one build at a time: install 0.16.0 or newer`,
      );
    }
    return { command, prefix, version };
  }
  throw new BuildxProblem(
    'neither `docker buildx` nor `buildx` can be run: install the buildx plugin, 0.16.0 or newer (package docker-buildx-plugin)',
  );
}

/**
 * Makes a builder of the remote driver in a BUILDX_CONFIG folder of our own, as `buildx create` would.
 * That command opens a connection to look at a builder whose socket is there, and takes its time; the file is what it
 * leaves behind (measured with 0.16.0 and 0.36.1), and buildx reads the files of its older versions.
 */
export async function writeBuilder(buildxConfig: string, name: string, address: string): Promise<void> {
  const node = {
    Name: `${name}0`,
    Endpoint: address,
    Platforms: null,
    DriverOpts: null,
    Flags: null,
    Files: null,
  };
  const folder = join(buildxConfig, 'instances');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(
    join(folder, name),
    JSON.stringify({ Name: name, Driver: 'remote', Nodes: [node], Dynamic: false }),
    { mode: 0o600 },
  );
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

async function capture(command: string, args: string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  try {
    const { exitCode, stdout } = await getExecOutput(command, args, {
      env: definedOnly(env),
      silent: true,
      ignoreReturnCode: true,
    });
    return exitCode === 0 ? stdout : undefined;
  } catch {
    // @actions/exec rejects when the program is not on PATH.
    return undefined;
  }
}

function definedOnly(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
