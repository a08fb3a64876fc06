import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface GitServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, in the place of https://github.com. */
  readonly url: string;
  /** The one commit of `octo/app`. */
  readonly sha: string;
  /** What clients have sent as Authorization, each once, in the order of coming; `none` without one. */
  readonly authorizations: readonly string[];
}

/**
 * Git's own HTTP server with one repository, `octo/app`, whose only commit has the files of `content`. With `token` it
 * is private: it answers only to that token, given as GitHub takes it (x-access-token, basic).
 */
export async function startGitServer(content: string, token?: string): Promise<GitServer> {
  const folder = mkdtempSync(join(tmpdir(), 'git-'));
  const work = join(folder, 'work');
  cpSync(content, work, { recursive: true });
  const env = {
    ...process.env,
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    HOME: folder,
    GIT_AUTHOR_DATE: '2026-01-01T00:00:00Z',
    GIT_COMMITTER_DATE: '2026-01-01T00:00:00Z',
  };
  const program = process.env['GIT'] ?? 'git';
  const git = (...args: readonly string[]) =>
    execFileSync(program, ['-c', 'user.name=test', '-c', 'user.email=test@test.invalid', ...args], {
      cwd: work,
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  git('init', '--quiet', '--initial-branch=main');
  git('add', '--all');
  git('commit', '--quiet', '--message', 'content');
  const sha = git('rev-parse', 'HEAD');
  mkdirSync(join(folder, 'served', 'octo'), { recursive: true });
  git('clone', '--quiet', '--bare', '.', join(folder, 'served', 'octo', 'app.git'));
  // GitHub gives any commit that is asked for.
  git('-C', join(folder, 'served', 'octo', 'app.git'), 'config', 'uploadpack.allowAnySHA1InWant', 'true');

  const authorizations = new Set<string>();
  const expected = `basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`;
  const server = createServer((asked, answer) => {
    const { authorization } = asked.headers;
    authorizations.add(authorization ?? 'none');
    if (token !== undefined && authorization?.replace(/^Basic/, 'basic') !== expected) {
      answer.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
      return;
    }
    serve(program, join(folder, 'served'), env, asked, answer);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    sha,
    get authorizations() {
      return [...authorizations];
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      // A git that nobody asks any more may still be writing.
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    },
  };
}

/** One request through `git http-backend`, which is a CGI program (RFC 3875). */
function serve(
  program: string,
  root: string,
  env: NodeJS.ProcessEnv,
  asked: IncomingMessage,
  answer: ServerResponse,
): void {
  const url = new URL(asked.url ?? '/', 'http://git');
  const child = spawn(program, ['http-backend'], {
    env: {
      ...env,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: asked.method,
      CONTENT_TYPE: asked.headers['content-type'],
      HTTP_CONTENT_ENCODING: asked.headers['content-encoding'],
      GIT_PROTOCOL: asked.headers['git-protocol']?.toString(),
      REMOTE_ADDR: '127.0.0.1',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  asked.pipe(child.stdin);
  child.stdin.on('error', () => {});
  const parts: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => parts.push(chunk));
  child.once('close', () => {
    const whole = Buffer.concat(parts);
    const end = whole.indexOf('\r\n\r\n');
    for (const line of whole.subarray(0, end).toString().split('\r\n')) {
      const [name = '', value = ''] = line.split(/:\s*/, 2);
      if (name.toLowerCase() === 'status') answer.statusCode = Number.parseInt(value, 10);
      else if (name !== '') answer.setHeader(name, value);
    }
    answer.end(whole.subarray(end + 4));
  });
}
