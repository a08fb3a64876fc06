/** Where the programs of a local pool are looked for, and when one that is found is fit. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';

export const PROGRAMS = [
  'haproxy',
  'runc',
  'busybox',
  'buildkitd',
  'buildctl',
  'buildx',
  // The oldest version the Action works with; only tests ask for it.
  'buildx-oldest',
  // What checks the manifests and the workflows; only tests and scripts ask for these.
  'kustomize',
  'kubeconform',
  'kube-validate',
  'actionlint',
  'shellcheck',
  // As in HAProxy's image.
  'socat',
  'docker',
  // A registry, an engine and a Git server of their own; only tests ask for them.
  'docker-registry',
  'dockerd',
  'git',
  'setpriv',
  'unshare',
] as const;
export type ProgramName = (typeof PROGRAMS)[number];

/** Versions this project is tested with. A build of ours carries its version in its file name in the cache. */
export const PINNED_VERSIONS = {
  buildkit: 'v0.32.2',
  buildx: 'v0.36.1',
  buildxOldest: 'v0.16.0',
  haproxy: '3.4.0',
  kustomize: 'v5.8.2',
  kubeconform: 'v0.8.0',
  kubeValidate: 'v1.36.3',
  actionlint: 'v1.7.12',
} as const;

/** What tells that a program found somewhere is fit: its arguments for telling the version, and the least version. */
const REQUIREMENTS: Partial<
  Record<ProgramName, { args: readonly string[]; least: readonly [number, number] }>
> = {
  // `maxconn` queues with place tokens are proven from here on.
  haproxy: { args: ['-v'], least: [2, 6] },
  // Before 0.14 SIGTERM cancelled running builds.
  buildkitd: { args: ['--version'], least: [0, 14] },
  buildctl: { args: ['--version'], least: [0, 14] },
  // Before 0.16 one build opened two connections.
  buildx: { args: ['version'], least: [0, 16] },
};

/** Null when it is nowhere; rejects when an explicit path leads nowhere. */
export async function findProgram(name: ProgramName): Promise<string | null> {
  const variable = `BUILDKIT_POOL_${name.toUpperCase().replaceAll('-', '_')}`;
  const explicit = process.env[variable];
  if (explicit) {
    if (!(isAbsolute(explicit) && (await isExecutable(explicit)))) {
      throw new Error(`${variable} is \`${explicit}\`: expected the absolute path of an executable file`);
    }
    return explicit;
  }
  for (const path of candidates(name)) {
    if ((await isExecutable(path)) && (await isFit(name, path))) {
      return path;
    }
  }
  return null;
}

/** `~/.cache/buildkit-pool/bin` */
export function cacheFolder(): string {
  const { XDG_CACHE_HOME } = process.env;
  const base = XDG_CACHE_HOME && isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : join(homedir(), '.cache');
  return join(base, 'buildkit-pool', 'bin');
}

/** The file of our own copy of a program: its name tells the version, so that another version of this tool makes its own. */
export function cachedPath(name: string): string {
  const version = CACHED_VERSIONS.get(name);
  return join(cacheFolder(), version === undefined ? name : `${name}-${version}`);
}

const CACHED_VERSIONS: ReadonlyMap<string, string> = new Map([
  ['buildkitd', PINNED_VERSIONS.buildkit],
  ['buildctl', PINNED_VERSIONS.buildkit],
  ['buildx', PINNED_VERSIONS.buildx],
  ['buildx-oldest', PINNED_VERSIONS.buildxOldest],
  ['haproxy', PINNED_VERSIONS.haproxy],
  ['kustomize', PINNED_VERSIONS.kustomize],
  ['kubeconform', PINNED_VERSIONS.kubeconform],
  ['kube-validate', PINNED_VERSIONS.kubeValidate],
  ['actionlint', PINNED_VERSIONS.actionlint],
]);

function candidates(name: ProgramName): readonly string[] {
  const { PATH = '', DOCKER_CONFIG = join(homedir(), '.docker') } = process.env;
  // Debian keeps HAProxy and runc where a plain user's PATH does not look.
  const folders = [...PATH.split(delimiter).filter(isAbsolute), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  const file = name === 'buildx' ? ['docker-buildx', 'buildx'] : [name];
  const plugins =
    name === 'buildx'
      ? [
          join(DOCKER_CONFIG, 'cli-plugins', 'docker-buildx'),
          '/usr/local/lib/docker/cli-plugins/docker-buildx',
          '/usr/libexec/docker/cli-plugins/docker-buildx',
          '/usr/lib/docker/cli-plugins/docker-buildx',
        ]
      : [];
  return [
    ...folders.flatMap((folder) => file.map((program) => join(folder, program))),
    ...plugins,
    cachedPath(name),
    join(cacheFolder(), name),
  ];
}

export async function isExecutable(path: string): Promise<boolean> {
  return isAccessible(path, constants.X_OK);
}

export async function isReadable(path: string): Promise<boolean> {
  return isAccessible(path, constants.R_OK);
}

function isAccessible(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** Whether it is new enough; a program that cannot tell its version is not. */
export async function isFit(name: ProgramName, path: string): Promise<boolean> {
  if (name === 'busybox') {
    return isStatic(path);
  }
  const requirement = REQUIREMENTS[name];
  if (requirement === undefined) {
    return true;
  }
  try {
    const { stdout } = await promisify(execFile)(path, [...requirement.args], { timeout: 60_000 });
    return isAtLeast(stdout, requirement.least);
  } catch {
    return false;
  }
}

const ELF_MAGIC = '7f454c46';
const PROGRAM_INTERPRETER = 3;

/**
 * Whether a program needs no loader and so runs in an image with nothing else (Debian's package `busybox` does not).
 * Reads the program headers of a 64-bit little-endian ELF file, elf(5).
 */
export async function isStatic(path: string): Promise<boolean> {
  const file = await readFile(path);
  if (file.length < 64 || file.toString('hex', 0, 4) !== ELF_MAGIC) {
    return false;
  }
  const offset = Number(file.readBigUInt64LE(32));
  const size = file.readUInt16LE(54);
  const count = file.readUInt16LE(56);
  return Array.from({ length: count }, (_, index) => file.readUInt32LE(offset + index * size)).every(
    (type) => type !== PROGRAM_INTERPRETER,
  );
}

/** Whether the first version number in `text` is at least `least`. */
export function isAtLeast(text: string, least: readonly [number, number]): boolean {
  const match = /(\d+)\.(\d+)/.exec(text);
  if (!match) {
    return false;
  }
  const [major, minor] = [Number(match[1]), Number(match[2])];
  return major > least[0] || (major === least[0] && minor >= least[1]);
}

/** The command that gets a missing program. */
export function remedyFor(name: ProgramName): string {
  switch (name) {
    case 'haproxy':
    case 'runc':
    case 'docker-registry':
    case 'git':
    case 'shellcheck':
    case 'socat':
      return `run \`apt-get install ${name}\``;
    case 'busybox':
      return 'run `apt-get install busybox-static`';
    case 'setpriv':
    case 'unshare':
      return 'run `apt-get install util-linux`';
    case 'dockerd':
      return 'run `apt-get install docker.io`';
    case 'docker':
      return 'see https://docs.docker.com/engine/install/';
    case 'buildkitd':
    case 'buildctl':
    case 'buildx':
    case 'buildx-oldest':
    case 'kustomize':
    case 'kubeconform':
    case 'kube-validate':
    case 'actionlint':
      return 'run `apt-get install golang-go` or start a Docker engine, then run this again without --no-install';
  }
}
