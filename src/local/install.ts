/**
 * Fetches a missing program: from a pinned Docker image when an engine answers, from the system's package manager, or by
 * building the committed tools modules with Go. What is fetched goes to the cache, once, however many ask at the same time.
 */
import { execFile, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { arch } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { identify, isAlive } from '../process-identity.ts';
import {
  cachedPath,
  cacheFolder,
  findProgram,
  isExecutable,
  isFit,
  PINNED_VERSIONS,
  type ProgramName,
  remedyFor,
} from './program-search.ts';

type Log = (line: string) => void;

/** Where a program is in a pinned image. */
const IMAGES: Partial<Record<ProgramName, { readonly image: string; readonly path: string }>> = {
  haproxy: { image: `haproxy:${PINNED_VERSIONS.haproxy}`, path: '/usr/local/sbin/haproxy' },
  runc: { image: `moby/buildkit:${PINNED_VERSIONS.buildkit}`, path: '/usr/bin/buildkit-runc' },
  buildkitd: { image: `moby/buildkit:${PINNED_VERSIONS.buildkit}`, path: '/usr/bin/buildkitd' },
  buildctl: { image: `moby/buildkit:${PINNED_VERSIONS.buildkit}`, path: '/usr/bin/buildctl' },
  buildx: { image: `docker/buildx-bin:${PINNED_VERSIONS.buildx.slice(1)}`, path: '/buildx' },
  'buildx-oldest': {
    image: `docker/buildx-bin:${PINNED_VERSIONS.buildxOldest.slice(1)}`,
    path: '/buildx',
  },
  busybox: { image: 'busybox:1.37.0-musl', path: '/bin/busybox' },
};

const PACKAGES: Partial<Record<ProgramName, string>> = {
  haproxy: 'haproxy',
  runc: 'runc',
  busybox: 'busybox-static',
  'docker-registry': 'docker-registry',
  dockerd: 'docker.io',
  git: 'git',
  shellcheck: 'shellcheck',
  socat: 'socat',
  setpriv: 'util-linux',
  unshare: 'util-linux',
};

interface GoBuild {
  /** Folder under tools/. */
  readonly module: string;
  readonly packages: readonly string[];
  readonly linkerFlags: string;
  /** Where the one program goes, if not by its own name. */
  readonly as?: ProgramName;
}

const BUILDKIT: GoBuild = {
  module: 'buildkit',
  packages: ['github.com/moby/buildkit/cmd/buildkitd', 'github.com/moby/buildkit/cmd/buildctl'],
  linkerFlags: `-s -w -X github.com/moby/buildkit/version.Version=${PINNED_VERSIONS.buildkit}`,
};

const BUILDX: GoBuild = {
  module: 'buildx',
  packages: ['github.com/docker/buildx/cmd/buildx'],
  linkerFlags: `-s -w -X github.com/docker/buildx/version.Version=${PINNED_VERSIONS.buildx}`,
};

const BUILDX_OLDEST: GoBuild = {
  ...BUILDX,
  module: 'buildx-oldest',
  linkerFlags: `-s -w -X github.com/docker/buildx/version.Version=${PINNED_VERSIONS.buildxOldest}`,
  as: 'buildx-oldest',
};

const KUSTOMIZE: GoBuild = {
  module: 'kustomize',
  packages: ['sigs.k8s.io/kustomize/kustomize/v5'],
  linkerFlags: '-s -w',
  as: 'kustomize',
};

const KUBECONFORM: GoBuild = {
  module: 'kubeconform',
  packages: ['github.com/yannh/kubeconform/cmd/kubeconform'],
  linkerFlags: '-s -w',
};

/** A program of this project's own, around the API server's packages. */
const KUBE_VALIDATE: GoBuild = {
  module: 'kube-validate',
  packages: ['.'],
  linkerFlags: '-s -w',
};

const ACTIONLINT: GoBuild = {
  module: 'actionlint',
  packages: ['github.com/rhysd/actionlint/cmd/actionlint'],
  linkerFlags: `-s -w -X github.com/rhysd/actionlint.version=${PINNED_VERSIONS.actionlint}`,
};

const GO_BUILDS: Partial<Record<ProgramName, GoBuild>> = {
  buildkitd: BUILDKIT,
  buildctl: BUILDKIT,
  buildx: BUILDX,
  'buildx-oldest': BUILDX_OLDEST,
  kustomize: KUSTOMIZE,
  kubeconform: KUBECONFORM,
  'kube-validate': KUBE_VALIDATE,
  actionlint: ACTIONLINT,
};

/** From 1.21 on Go fetches the toolchain that a module asks for by itself. */
const SELF_UPDATING_GO: readonly [number, number] = [1, 21];

/** Resolves to the program's path; rejects with what was tried and the command that gets it. */
export async function installProgram(name: ProgramName, log: Log): Promise<string> {
  return withLock(log, async () => {
    // Another process may have fetched it while this one waited.
    const present = await findProgram(name);
    if (present !== null) {
      return present;
    }
    const tried: string[] = [];
    for (const [way, attempt] of [
      ['Docker', () => installFromImage(name, log)],
      ['apt-get', () => installPackage(name, log)],
      ['Go', () => buildWithGo(name, log)],
    ] as const) {
      try {
        const path = await attempt();
        if (path !== null) {
          return path;
        }
      } catch (error) {
        tried.push(`${way}: ${firstLines(error)}`);
      }
    }
    throw new Error([`${name} is missing: ${remedyFor(name)}`, ...tried].join('\n  '));
  });
}

function firstLines(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').slice(0, 4).join('\n    ');
}

async function installFromImage(name: ProgramName, log: Log): Promise<string | null> {
  const source = IMAGES[name];
  const docker = await findProgram('docker');
  if (source === undefined || docker === null || !(await succeeds(docker, ['info']))) {
    return null;
  }
  log(`${name}: from the image ${source.image}`);
  const { stdout } = await promisify(execFile)(docker, ['create', source.image, 'none']);
  const container = stdout.trim();
  await using temporary = await makeTemporaryFolder();
  const copy = join(temporary.path, name);
  try {
    await run(docker, ['cp', `${container}:${source.path}`, copy], log);
  } finally {
    await succeeds(docker, ['rm', container]);
  }
  await chmod(copy, 0o755);
  // A program of another distribution may lack its libraries here.
  if (!(await isFit(name, copy))) {
    throw new Error(`the program in ${source.image} does not run on this system`);
  }
  await rename(copy, cachedPath(name));
  return cachedPath(name);
}

async function installPackage(name: ProgramName, log: Log): Promise<string | null> {
  const wanted = PACKAGES[name];
  if (wanted === undefined) {
    return null;
  }
  await installPackages([wanted], log);
  return findProgram(name);
}

/** Rejects when this is no Debian or Ubuntu, or the user may not install. */
async function installPackages(packages: readonly string[], log: Log): Promise<void> {
  const aptGet = '/usr/bin/apt-get';
  if (!(await isExecutable(aptGet))) {
    throw new Error('there is no apt-get');
  }
  const prefix = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const [command = aptGet, ...args] = [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', aptGet];
  log(`apt-get install ${packages.join(' ')}`);
  const install = [...args, 'install', '--yes', '--no-install-recommends', ...packages];
  if (!(await succeeds(command, install))) {
    // The lists may be missing, as in a fresh container, or old.
    await run(command, [...args, 'update'], log);
    await run(command, install, log);
  }
}

async function buildWithGo(name: ProgramName, log: Log): Promise<string | null> {
  const build = GO_BUILDS[name];
  if (build === undefined) {
    return null;
  }
  const module = join(await findToolsFolder(), build.module);
  const go = await prepareGo(module, log);
  await using temporary = await makeTemporaryFolder();
  log(`${name}: building with Go, which takes some minutes the first time`);
  await run(
    go.command,
    ['build', '-trimpath', '-ldflags', build.linkerFlags, '-o', `${temporary.path}/`, ...build.packages],
    log,
    { ...process.env, CGO_ENABLED: '0', ...go.env },
    module,
  );
  for (const program of await readdir(temporary.path)) {
    await rename(join(temporary.path, program), cachedPath(build.as ?? program));
  }
  return cachedPath(name);
}

export interface GoCommand {
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Debian 12 has Go 1.19, which cannot read these modules: it then fetches the toolchain they ask for, as a module.
 * Exported for the schemas that tests take from Go modules.
 */
export async function prepareGo(module: string, log: Log): Promise<GoCommand> {
  const installed = await findGo();
  if (installed === null) {
    await installPackages(['golang-go', 'ca-certificates'], log);
  }
  const command = installed ?? (await findGo());
  if (command === null) {
    throw new Error('there is no Go');
  }
  const { stdout } = await promisify(execFile)(command, ['env', 'GOVERSION']);
  const [major = 0, minor = 0] = stdout.trim().replace(/^go/, '').split('.').map(Number);
  if (major > SELF_UPDATING_GO[0] || minor >= SELF_UPDATING_GO[1]) {
    return { command, env: {} };
  }
  const wanted = /^go (\S+)$/m.exec(await readFile(join(module, 'go.mod'), 'utf8'))?.[1];
  const platform = `linux-${arch() === 'arm64' ? 'arm64' : 'amd64'}`;
  const toolchain = `golang.org/toolchain@v0.0.1-go${wanted}.${platform}`;
  log(`Go ${major}.${minor} is too old: fetching ${toolchain}`);
  await using temporary = await makeTemporaryFolder();
  const download = await promisify(execFile)(command, ['mod', 'download', '-json', toolchain], {
    cwd: temporary.path,
    env: { ...process.env, GO111MODULE: 'on', GOFLAGS: '' },
    maxBuffer: 1 << 20,
  });
  const folder = readDownloadFolder(download.stdout);
  // Files of a module carry no permission to execute.
  for (const programs of [join(folder, 'bin'), join(folder, 'pkg', 'tool', platform.replace('-', '_'))]) {
    for (const program of await readdir(programs)) {
      await chmod(join(programs, program), 0o755);
    }
  }
  return { command: join(folder, 'bin', 'go'), env: { GOROOT: folder, GOTOOLCHAIN: 'local' } };
}

function readDownloadFolder(json: string): string {
  const value: unknown = JSON.parse(json);
  if (typeof value === 'object' && value !== null && 'Dir' in value && typeof value.Dir === 'string') {
    return value.Dir;
  }
  throw new Error('go mod download does not say where the toolchain is');
}

async function findGo(): Promise<string | null> {
  const { PATH = '' } = process.env;
  for (const folder of [...PATH.split(':'), '/usr/local/go/bin', '/usr/bin']) {
    if (folder !== '' && (await isExecutable(join(folder, 'go')))) {
      return join(folder, 'go');
    }
  }
  return null;
}

/** The committed modules lie in tools/ of the repository, some folders above this file or its bundle. */
async function findToolsFolder(): Promise<string> {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    const tools = join(folder, 'tools');
    const present = await readFile(join(tools, 'buildkit', 'go.mod')).then(
      () => true,
      () => false,
    );
    if (present) {
      return tools;
    }
  }
  throw new Error('the tools folder of the repository is not here');
}

const LOCK_POLL_MS = 500;

/** One install at a time on this machine; a lock whose owner is dead is taken over. */
async function withLock<Result>(log: Log, work: () => Promise<Result>): Promise<Result> {
  await mkdir(cacheFolder(), { recursive: true });
  const lock = join(cacheFolder(), '.lock');
  let told = false;
  while (!(await takeLock(lock))) {
    if (!told) {
      log('waiting for another install to end');
      told = true;
    }
    await sleep(LOCK_POLL_MS);
  }
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

async function takeLock(lock: string): Promise<boolean> {
  const identity = identify(process.pid);
  try {
    await writeFile(lock, `${identity?.pid} ${identity?.startedAt}`, { flag: 'wx' });
    return true;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) {
      throw error;
    }
  }
  const [pid, startedAt] = (await readFile(lock, 'utf8').catch(() => '')).split(' ');
  if (pid && startedAt && !isAlive({ pid: Number(pid), startedAt })) {
    await rm(lock, { force: true });
  }
  return false;
}

async function makeTemporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  // Beside the cache: what is done is moved into place in one step.
  const path = await mkdtemp(join(cacheFolder(), '.install-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return promisify(execFile)(command, [...args], { maxBuffer: 1 << 24 }).then(
    () => true,
    () => false,
  );
}

/** Passes every line on; rejects with the last ones. */
async function run(
  command: string,
  args: readonly string[],
  log: Log,
  env: NodeJS.ProcessEnv = process.env,
  cwd = cacheFolder(),
): Promise<void> {
  const child = spawn(command, [...args], { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-OUTPUT_CHARACTERS);
      for (const line of chunk.split('\n').filter((part) => part.trim() !== '')) {
        log(`  ${line}`);
      }
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) {
    throw new Error(`\`${[command, ...args].join(' ')}\` ended with ${code}\n${text.trim()}`);
  }
}

const OUTPUT_CHARACTERS = 2000;
