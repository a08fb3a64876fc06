/** A real Docker engine on this machine for one test file, with an image of BuildKit made here. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { eventually } from './local-pool.ts';

/** What buildx's docker-container driver pulls, or takes as it is when it can't. */
const BUILDKIT_IMAGE = 'moby/buildkit:buildx-stable-1';

export interface DockerEngine extends AsyncDisposable {
  /** For DOCKER_HOST. */
  readonly host: string;
  /** Names of all containers, also of those that have ended. */
  containers(): readonly string[];
  volumes(): readonly string[];
  images(): readonly string[];
}

export async function startDockerEngine(options: { withBuildkit: boolean }): Promise<DockerEngine> {
  const folder = mkdtempSync(join(tmpdir(), 'engine-'));
  const host = `unix://${join(folder, 'docker.sock')}`;
  const runtime = join(folder, 'runtime');
  writeFileSync(runtime, LESSER_RUNTIME);
  chmodSync(runtime, 0o755);
  const log: string[] = [];
  const engine = spawn(
    'dockerd',
    [
      ...['--bridge=none', '--iptables=false', '--host', host],
      ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec')],
      ...[
        '--pidfile',
        join(folder, 'pid'),
        '--add-runtime',
        `lesser=${runtime}`,
        '--default-runtime',
        'lesser',
      ],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  engine.stderr.on('data', (chunk: Buffer) => log.push(chunk.toString()));
  const docker = (...args: string[]) =>
    execFileSync('/usr/bin/docker', args, {
      encoding: 'utf8',
      env: { ...process.env, DOCKER_HOST: host, DOCKER_CONFIG: join(folder, 'config') },
    });
  const lines = (...args: string[]) =>
    docker(...args)
      .split('\n')
      .filter((line) => line !== '');
  const stop = async () => {
    if (engine.exitCode === null && engine.signalCode === null) {
      const ended = once(engine, 'exit');
      engine.kill('SIGTERM');
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await eventually(
      `the engine answers: ${log.join('').slice(-2_000)}`,
      () => {
        if (engine.exitCode !== null) throw new Error(`dockerd ended: ${log.join('').slice(-2_000)}`);
        return existsSync(join(folder, 'docker.sock')) && answers(docker);
      },
      60_000,
    );
    if (options.withBuildkit) importBuildkit(folder, docker);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    host,
    containers: () => lines('ps', '--all', '--format', '{{.Names}}'),
    volumes: () => lines('volume', 'ls', '--quiet'),
    images: () => lines('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}'),
    [Symbol.asyncDispose]: stop,
  };
}

/** The root of a virtual machine may lack a capability that a privileged container asks for. */
const LESSER_RUNTIME = `#!/bin/sh
previous=
for argument in "$@"; do
  case "$previous" in
    --bundle) sed -i 's/,"CAP_SYS_RESOURCE"//g' "$argument/config.json" ;;
    --process) sed -i 's/,"CAP_SYS_RESOURCE"//g' "$argument" ;;
  esac
  previous=$argument
done
exec "${process.env['RUNC'] ?? 'runc'}" "$@"
`;

function answers(docker: (...args: string[]) => string): boolean {
  try {
    docker('version');
    return true;
  } catch {
    return false;
  }
}

/** An image as moby/buildkit is laid out: the daemon, its client, runc and the libraries that this needs. */
function importBuildkit(folder: string, docker: (...args: string[]) => string): void {
  const root = join(folder, 'root');
  for (const name of ['bin', 'usr/bin', 'tmp', 'etc', 'run', 'var'])
    mkdirSync(join(root, name), { recursive: true });
  const programs = { buildkitd: 'BUILDKITD', buildctl: 'BUILDCTL', runc: 'RUNC' };
  for (const [name, variable] of Object.entries(programs)) {
    copyFileSync(process.env[variable] ?? '', join(root, 'usr/bin', name));
  }
  copyFileSync(process.env['BUSYBOX'] ?? '', join(root, 'bin/busybox'));
  symlinkSync('busybox', join(root, 'bin/sh'));
  for (const library of librariesOf(process.env['RUNC'] ?? '')) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    writeFileSync(join(root, dirname(library), basename(library)), readFileSync(library), { mode: 0o755 });
  }
  const archive = join(folder, 'root.tar');
  execFileSync('tar', ['-C', root, '-cf', archive, '.']);
  docker(
    ...['import', '--change', 'ENTRYPOINT ["buildkitd"]'],
    ...['--change', 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    ...[archive, BUILDKIT_IMAGE],
  );
  rmSync(archive);
  rmSync(root, { recursive: true });
}

function librariesOf(program: string): readonly string[] {
  try {
    return [...execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+)/g)].map(
      ([path]) => path,
    );
  } catch {
    // A static program has none.
    return [];
  }
}
