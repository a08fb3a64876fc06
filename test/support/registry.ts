import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './buildkitd.ts';
import { ServerProcess } from './server-process.ts';

const MANIFEST_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

export interface Manifest {
  /** Of the bytes that were served. */
  readonly digest: string;
  readonly body: {
    readonly config?: { readonly digest: string };
    readonly annotations?: Readonly<Record<string, string>>;
    readonly layers?: readonly { readonly digest: string; readonly mediaType: string }[];
    readonly manifests?: readonly {
      readonly digest: string;
      readonly platform?: { readonly architecture: string };
      readonly annotations?: Readonly<Record<string, string>>;
    }[];
  };
}

export interface Registry extends AsyncDisposable {
  /** `127.0.0.1:PORT`, which BuildKit talks to in plain HTTP. */
  readonly host: string;
  manifest(repository: string, reference: string): Promise<Manifest>;
  /** A JSON blob. */
  blob(repository: string, digest: string): Promise<unknown>;
  tags(repository: string): Promise<readonly string[]>;
}

/** Debian's docker-registry on a free port of the loopback device. */
export async function startRegistry(): Promise<Registry> {
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const server = new ServerProcess('registry');
  const config = join(server.folder, 'config.yml');
  writeFileSync(
    config,
    `version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: ${server.folder}/data}}\nhttp: {addr: '${host}'}\n`,
  );
  const get = (path: string, accept = '*/*') => fetch(`http://${host}/v2/${path}`, { headers: { accept } });
  await server.start(process.env['DOCKER_REGISTRY'] ?? 'docker-registry', ['serve', config], () =>
    get('').then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  return {
    host,
    async manifest(repository, reference) {
      const answer = await get(`${repository}/manifests/${reference}`, MANIFEST_TYPES);
      const bytes = Buffer.from(await answer.arrayBuffer());
      if (!answer.ok) throw new Error(`${repository}:${reference}: ${answer.status} ${bytes.toString()}`);
      return {
        digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
        body: JSON.parse(bytes.toString()) as Manifest['body'],
      };
    },
    async blob(repository, digest) {
      return (await (await get(`${repository}/blobs/${digest}`)).json()) as unknown;
    },
    async tags(repository) {
      const { tags } = (await (await get(`${repository}/tags/list`)).json()) as { tags: string[] };
      return tags;
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}
