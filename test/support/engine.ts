import { request } from 'node:http';
import { join } from 'node:path';
import { ServerProcess } from './server-process.ts';

export interface Engine extends AsyncDisposable {
  /** As DOCKER_HOST takes it. */
  readonly address: string;
  /** What the engine tells of an image; rejects when it has none of this name. */
  image(name: string): Promise<{ readonly Id: string; readonly RepoTags: readonly string[] }>;
}

/** A real Docker engine with its own socket and data, without any network of its own. */
export async function startEngine(): Promise<Engine> {
  const server = new ServerProcess('engine');
  const socket = join(server.folder, 'docker.sock');
  await server.start(
    process.env['DOCKERD'] ?? 'dockerd',
    [
      ...['--host', `unix://${socket}`, '--data-root', join(server.folder, 'data')],
      ...['--exec-root', join(server.folder, 'exec'), '--pidfile', join(server.folder, 'pid')],
      ...['--bridge=none', '--iptables=false', '--ip6tables=false', '--storage-driver=vfs'],
    ],
    () =>
      get(socket, '/_ping').then(
        ({ status }) => status === 200,
        () => false,
      ),
  );
  return {
    address: `unix://${socket}`,
    async image(name) {
      const { status, body } = await get(socket, `/images/${encodeURIComponent(name)}/json`);
      if (status !== 200) throw new Error(`the engine has no ${name}: ${body}`);
      return JSON.parse(body) as { Id: string; RepoTags: string[] };
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

function get(socketPath: string, path: string): Promise<{ status: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path, headers: { host: 'docker' } }, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      answer.once('end', () => resolve({ status: answer.statusCode, body }));
    });
    asking.once('error', reject);
    asking.end();
  });
}
