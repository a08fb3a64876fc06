/** buildx by its version: from the runner's tool cache, else from its release, verified by the release's checksums. */
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { HttpClient } from '@actions/http-client';
import { cacheFile, downloadTool, find } from '@actions/tool-cache';
import { orAborted } from '../or-aborted.ts';

/** Where releases are: `<base>/download/v0.36.1/buildx-v0.36.1.linux-amd64`, with `checksums.txt` beside it. */
export const RELEASES_URL = 'https://github.com/docker/buildx/releases';
/** For machines that reach a mirror only. */
export const RELEASES_VARIABLE = 'BUILDX_RELEASES_URL';

const TOOL = 'buildx';
const FILE = 'docker-buildx';

export interface BuildxRelease {
  /** `v0.36.1` or `latest`. */
  readonly version: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onProgress: (line: string) => void;
  /** Gives up waiting. A download that is under way ends with the process: tool-cache can't be told to stop. */
  readonly signal: AbortSignal;
}

/**
 * Resolves with the path of the program. Rejects with an error whose message names the address and the remedy, or with
 * the signal's reason; either way nothing of a download is left.
 */
export async function installBuildx(release: BuildxRelease): Promise<string> {
  const { env, signal } = release;
  const base = (env[RELEASES_VARIABLE] || RELEASES_URL).replace(/\/+$/, '');
  const tag = release.version === 'latest' ? await orAborted(latestTag(base), signal) : release.version;
  const version = tag.slice(1);
  const cached = find(TOOL, version, process.arch);
  if (cached !== '') return join(cached, FILE);

  const name = `buildx-${tag}.${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const folder = `${base}/download/${tag}`;
  release.onProgress(`getting buildx ${tag} from ${folder}`);
  const temporary = await mkdtemp(join(env['RUNNER_TEMP'] || tmpdir(), 'buildx-'));
  try {
    const downloads = ['program', 'checksums.txt'].map((file) => join(temporary, file));
    const [program = '', checksums = ''] = downloads;
    await orAborted(
      Promise.all([download(`${folder}/${name}`, program), download(`${folder}/checksums.txt`, checksums)]),
      signal,
    );
    const expected = readChecksum(await readFile(checksums, 'utf8'), name);
    if (expected === undefined) throw new Error(`${folder}/checksums.txt does not name ${name}`);
    const actual = createHash('sha256')
      .update(await readFile(program))
      .digest('hex');
    if (actual !== expected) {
      throw new Error(
        `${folder}/${name} is not what its release says (sha256 ${actual}, not ${expected}): it was not used`,
      );
    }
    await chmod(program, 0o755);
    return join(await cacheFile(program, FILE, TOOL, version, process.arch), FILE);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Makes the program what `docker buildx` means from here on, as a plugin in docker's configuration folder. */
export async function installPlugin(program: string, env: NodeJS.ProcessEnv): Promise<void> {
  const folder = join(env['DOCKER_CONFIG'] || join(homedir(), '.docker'), 'cli-plugins');
  await mkdir(folder, { recursive: true });
  // A plugin that another job is running can't be written to, but its name can be given to another file.
  const fresh = join(folder, `.${FILE}-${process.pid}`);
  await copyFile(program, fresh);
  await chmod(fresh, 0o755);
  await rename(fresh, join(folder, FILE));
}

/** The SHA-256 that a checksums file (`<hex> *<name>` a line) has for a file. */
export function readChecksum(text: string, name: string): string | undefined {
  for (const line of text.split('\n')) {
    const [, sum, file] = /^([0-9a-f]{64}) [ *](.+?)\r?$/.exec(line) ?? [];
    if (file === name) return sum;
  }
  return undefined;
}

/** The release page `latest` leads to the newest one: no API, so no limit of its calls. */
async function latestTag(base: string): Promise<string> {
  const client = new HttpClient('buildkit-pool', [], { allowRedirects: false });
  try {
    const { message } = await client.head(`${base}/latest`);
    message.resume();
    const tag = /\/tag\/(v\d+\.\d+\.\d+[^/?#]*)$/.exec(message.headers.location ?? '')?.[1];
    if (tag !== undefined) return tag;
    throw new Error(`it answered with status ${message.statusCode} and names no release`);
  } catch (error) {
    throw new Error(`${base}/latest: ${reason(error)}; name a version in \`buildx-version\` instead`, {
      cause: error,
    });
  } finally {
    client.dispose();
  }
}

async function download(url: string, path: string): Promise<void> {
  try {
    await downloadTool(url, path);
  } catch (error) {
    throw new Error(
      `${url} can't be fetched (${reason(error)}): check \`buildx-version\`, or point ${RELEASES_VARIABLE} to a mirror`,
      { cause: error },
    );
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
