import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  createReadStream,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { ServerProcess } from './server-process.ts';

export interface Engine extends AsyncDisposable {
  /** As DOCKER_HOST takes it. */
  readonly address: string;
  /** What the engine tells of an image; rejects when it has none of this name. */
  image(name: string): Promise<{ readonly Id: string; readonly RepoTags: readonly string[] }>;
  /** Names of all containers, also of those that have ended. */
  containers(): Promise<readonly string[]>;
  volumes(): Promise<readonly string[]>;
}

/** What buildx's docker-container driver pulls, or takes as it is when it can't. */
const BUILDKIT_IMAGE = { repository: 'moby/buildkit', tag: 'buildx-stable-1' };

/**
 * A real Docker engine with its own socket and data, without any network of its own; with `withBuildkit` it has an image
 * of BuildKit, made here.
 */
export async function startEngine(options: { withBuildkit?: boolean } = {}): Promise<Engine> {
  const server = new ServerProcess('engine');
  const socket = join(server.folder, 'docker.sock');
  const runtime = join(server.folder, 'runtime');
  writeFileSync(runtime, LESSER_RUNTIME);
  chmodSync(runtime, 0o755);
  await server.start(
    process.env['DOCKERD'] ?? 'dockerd',
    [
      ...['--host', `unix://${socket}`, '--data-root', join(server.folder, 'data')],
      ...['--exec-root', join(server.folder, 'exec'), '--pidfile', join(server.folder, 'pid')],
      ...['--bridge=none', '--iptables=false', '--ip6tables=false', '--storage-driver=vfs'],
      ...['--add-runtime', `lesser=${runtime}`, '--default-runtime', 'lesser'],
    ],
    () =>
      get(socket, '/_ping').then(
        ({ status }) => status === 200,
        () => false,
      ),
  );
  const listed = async (path: string) => {
    const { status, body } = await get(socket, path);
    if (status !== 200) throw new Error(`the engine answers ${path} with ${body}`);
    return JSON.parse(body) as unknown;
  };
  if (options.withBuildkit === true) {
    try {
      await importBuildkit(server.folder, socket);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }
  return {
    address: `unix://${socket}`,
    async image(name) {
      const { status, body } = await get(socket, `/images/${encodeURIComponent(name)}/json`);
      if (status !== 200) throw new Error(`the engine has no ${name}: ${body}`);
      return JSON.parse(body) as { Id: string; RepoTags: string[] };
    },
    async containers() {
      const all = (await listed('/containers/json?all=1')) as readonly { Names: readonly string[] }[];
      return all.flatMap(({ Names }) => Names);
    },
    async volumes() {
      const { Volumes } = (await listed('/volumes')) as { Volumes: readonly { Name: string }[] | null };
      return (Volumes ?? []).map(({ Name }) => Name);
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

function get(socketPath: string, path: string): Promise<Answer> {
  return ask(socketPath, 'GET', path);
}

interface Answer {
  readonly status: number | undefined;
  readonly body: string;
}

function ask(socketPath: string, method: string, path: string, file?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { host: 'docker', 'content-type': 'application/x-tar' };
    const asking = request({ socketPath, method, path, headers }, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      answer.once('end', () => resolve({ status: answer.statusCode, body }));
    });
    asking.once('error', reject);
    if (file === undefined) asking.end();
    else createReadStream(file).on('error', reject).pipe(asking);
  });
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

/** An image as moby/buildkit is laid out: the daemon, its client, runc and the libraries that this needs. */
async function importBuildkit(folder: string, socket: string): Promise<void> {
  const root = join(folder, 'root');
  for (const name of ['bin', 'usr/bin', 'tmp', 'etc', 'run', 'var'])
    mkdirSync(join(root, name), { recursive: true });
  for (const [name, variable] of Object.entries({
    buildkitd: 'BUILDKITD',
    buildctl: 'BUILDCTL',
    runc: 'RUNC',
  })) {
    copyFileSync(process.env[variable] ?? '', join(root, 'usr/bin', name));
  }
  copyFileSync(process.env['BUSYBOX'] ?? '', join(root, 'bin/busybox'));
  symlinkSync('busybox', join(root, 'bin/sh'));
  for (const library of librariesOf(process.env['RUNC'] ?? '')) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    writeFileSync(join(root, library), readFileSync(library), { mode: 0o755 });
  }
  const archive = join(folder, 'root.tar');
  execFileSync('tar', ['-C', root, '-cf', archive, '.']);
  const query = new URLSearchParams({
    fromSrc: '-',
    repo: BUILDKIT_IMAGE.repository,
    tag: BUILDKIT_IMAGE.tag,
  });
  query.append('changes', 'ENTRYPOINT ["buildkitd"]');
  query.append('changes', 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin');
  const { status, body } = await ask(socket, 'POST', `/images/create?${query}`, archive);
  if (status !== 200 || body.includes('"error"')) throw new Error(`the image was not taken: ${body}`);
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
