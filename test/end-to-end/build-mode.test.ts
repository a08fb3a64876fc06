/**
 * What the inputs of a build come to, on the real parts: the bundled Action, buildx, BuildKit, a registry, an engine and
 * a Git server.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { dockerfileRunning, makeContext, RunningAction } from '../support/action.ts';
import { startEngine } from '../support/engine.ts';
import { startGitServer } from '../support/git-server.ts';
import { jobEnv } from '../support/job-env.ts';
import { openLocalPool } from '../support/local-pool.ts';
import { type Registry, startRegistry } from '../support/registry.ts';

const RUN_URL = 'https://github.com/octo/app/actions/runs/42/attempts/2';
const BASE = ['FROM scratch', 'COPY busybox /bin/busybox', 'SHELL ["/bin/busybox", "sh", "-c"]'];

let pool: Awaited<ReturnType<typeof openLocalPool>>;
let registry: Registry;
const folder = mkdtempSync(join(tmpdir(), 'build-mode-'));
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  [pool, registry] = await Promise.all([openLocalPool({ maxBuilders: 1 }), startRegistry()]);
  await pool.untilReady(1);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const makeFolder = (lines: readonly string[], files: Readonly<Record<string, string>> = {}) => {
  const made = makeContext(`${lines.join('\n')}\n`, files);
  cleanups.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
};
const start = (inputs: Record<string, string>, env: NodeJS.ProcessEnv = {}, cwd?: string) => {
  const action = new RunningAction(
    { endpoint: pool.endpoint, 'queue-timeout': '120s', ...inputs },
    { env: { ...jobEnv(folder), ...env }, ...(cwd === undefined ? {} : { cwd }) },
  );
  cleanups.push(() => action.remove());
  return action;
};
const build = async (inputs: Record<string, string>, env?: NodeJS.ProcessEnv, cwd?: string) => {
  const action = start(inputs, env, cwd);
  expect(await action.ended, action.log).toEqual({ code: 0, signal: null });
  return action;
};
/** The files that a build leaves with `outputs: type=local`. */
const buildFiles = async (inputs: Record<string, string>, env?: NodeJS.ProcessEnv, cwd?: string) => {
  const out = mkdtempSync(join(folder, 'out-'));
  const action = await build({ outputs: `type=local,dest=${out}`, ...inputs }, env, cwd);
  return { action, read: (name: string) => readFileSync(join(out, name), 'utf8').trim() };
};

describe('a push', () => {
  test('reaches the registry under every tag; the digest of the output is the registry’s', async () => {
    const context = makeFolder([...BASE, 'RUN echo pushed > /file']);
    const image = `${registry.host}/team/app`;
    const { outputs } = await build({
      context,
      push: 'true',
      tags: `${image}:1.2.3,${image}:latest`,
      labels: 'org.example.title=an app, with a comma',
      annotations: 'index,manifest:org.example.note=one, two',
    });
    const index = await registry.manifest('team/app', '1.2.3');
    expect(outputs['digest']).toBe(index.digest);
    expect((await registry.manifest('team/app', 'latest')).digest).toBe(index.digest);
    expect(index.body.annotations).toEqual({ 'org.example.note': 'one, two' });
    const [entry, attestation] = index.body.manifests ?? [];
    const manifest = await registry.manifest('team/app', entry?.digest ?? '');
    expect(manifest.digest).toBe(entry?.digest);
    expect(manifest.body.annotations).toEqual({ 'org.example.note': 'one, two' });
    // What buildx calls the ID of an image with attestations is the digest of their index.
    expect(outputs['imageid']).toBe(index.digest);
    expect(await registry.blob('team/app', manifest.body.config?.digest ?? '')).toMatchObject({
      config: { Labels: { 'org.example.title': 'an app, with a comma' } },
    });
    const metadata = JSON.parse(outputs['metadata'] ?? '') as Record<string, unknown>;
    expect(metadata).toMatchObject({
      'containerimage.digest': index.digest,
      'image.name': `${image}:1.2.3,${image}:latest`,
    });

    // The default provenance of a public repository: everything, with the run as its builder.
    expect(attestation?.annotations).toMatchObject({ 'vnd.docker.reference.type': 'attestation-manifest' });
    const proof = await registry.manifest('team/app', attestation?.digest ?? '');
    const statement = JSON.stringify(await registry.blob('team/app', proof.body.layers?.[0]?.digest ?? ''));
    expect(statement).toContain(RUN_URL);
    // Only mode=max tells the steps.
    expect(statement).toContain('buildkit_metadata');
    expect(statement).toContain('echo pushed');
  });

  test('of a private repository tells the least in the image; `provenance: false` tells nothing', async () => {
    const context = makeFolder([...BASE, 'RUN echo private > /file']);
    const image = (tag: string) => `${registry.host}/team/private:${tag}`;
    const event = { event: { repository: { private: true } } };
    await build({ context, push: 'true', tags: image('min') }, jobEnv(folder, event));
    const min = await registry.manifest('team/private', 'min');
    const proof = await registry.manifest('team/private', min.body.manifests?.[1]?.digest ?? '');
    const statement = JSON.stringify(
      await registry.blob('team/private', proof.body.layers?.[0]?.digest ?? ''),
    );
    expect(statement).toContain(RUN_URL);
    expect(statement).not.toContain('echo private');

    const { outputs } = await build({ context, push: 'true', tags: image('none'), provenance: 'false' });
    const plain = await registry.manifest('team/private', 'none');
    expect(plain.body.manifests).toBeUndefined();
    expect(outputs['digest']).toBe(plain.digest);
    expect(outputs['imageid']).toBe(plain.body.config?.digest);
  });

  test('may name several images in one output, and go to a folder too', async () => {
    const out = mkdtempSync(join(folder, 'out-'));
    const names = `${registry.host}/team/one,${registry.host}/team/two`;
    const { outputs } = await build({
      context: makeFolder([...BASE, 'RUN echo several > /file']),
      outputs: `type=image,"name=${names}",push=true\ntype=local,dest=${out}`,
    });
    expect((await registry.manifest('team/one', 'latest')).digest).toBe(outputs['digest']);
    expect((await registry.manifest('team/two', 'latest')).digest).toBe(outputs['digest']);
    expect(readFileSync(join(out, 'file'), 'utf8')).toBe('several\n');
    // buildx writes none beside a folder.
    expect(outputs['imageid']).toBe('');
  });

  test('leaves cache in the registry, which the next builder finds', async () => {
    const context = makeFolder([...BASE, 'RUN echo cached-$((40+2)) > /file']);
    const cache = `type=registry,ref=${registry.host}/team/cache,mode=max`;
    await build({ context, 'cache-to': cache, outputs: 'type=cacheonly' });
    expect(await registry.tags('team/cache')).toEqual(['latest']);
    const again = await build({
      context,
      'cache-from': `${registry.host}/team/cache`,
      outputs: 'type=cacheonly',
    });
    expect(again.log).toContain(`importing cache manifest from ${registry.host}/team/cache`);
  });
});

test('a load brings the image into a real engine, while a push of the same build goes on', async () => {
  await using engine = await startEngine();
  const image = `${registry.host}/team/loaded:1`;
  const { outputs } = await build(
    {
      context: makeFolder([...BASE, 'RUN echo loaded > /file']),
      load: 'true',
      push: 'true',
      tags: image,
    },
    { DOCKER_HOST: engine.address },
  );
  expect(await engine.image(image)).toMatchObject({ Id: outputs['imageid'], RepoTags: [image] });
  expect(await registry.tags('team/loaded')).toEqual(['1']);
});

describe('what a step sees', () => {
  test('build arguments, target, hosts, limits, shared memory, network and contexts', async () => {
    const other = makeFolder(['FROM scratch'], { 'data.txt': 'from another context' });
    const { read } = await buildFiles({
      context: makeFolder([
        ...BASE.slice(0, 1).map((line) => `${line} AS tool`),
        ...BASE.slice(1),
        'ARG PLAIN',
        'ARG LINES',
        'RUN mkdir /r; echo "$PLAIN" > /r/plain; echo "$LINES" > /r/lines; cat /etc/hosts > /r/hosts',
        'RUN ulimit -n > /r/files; df -k /dev/shm | tail -1 > /r/shm; ls /sys/class/net > /r/net',
        'COPY --from=other data.txt /r/data',
        'FROM scratch AS wanted',
        'COPY --from=tool /r/ /',
        'FROM tool AS unwanted',
        'RUN false',
      ]),
      'build-args': 'PLAIN=a, b = c\n"LINES=first\nsecond"',
      target: 'wanted',
      'add-hosts': 'one.test:10.0.0.1,two.test:10.0.0.2',
      ulimit: 'nofile=1234:1234',
      'shm-size': '5m',
      network: 'none',
      'build-contexts': `other=${other}`,
    });
    expect(read('plain')).toBe('a, b = c');
    expect(read('lines')).toBe('first\nsecond');
    expect(read('hosts')).toMatch(/10\.0\.0\.1\s+one\.test/);
    expect(read('hosts')).toMatch(/10\.0\.0\.2\s+two\.test/);
    expect(read('files')).toBe('1234');
    expect(read('shm')).toMatch(/\b5120\b/);
    expect(read('net')).toBe('lo');
    expect(read('data')).toBe('from another context');
  });

  test('secrets from values, variables and files, and an SSH agent', async () => {
    const agent = join(folder, 'agent.sock');
    const server = createServer().listen(agent);
    cleanups.push(() => server.close());
    const mounts = ['value', 'lines', 'variable', 'file'].map((id) => `--mount=type=secret,id=${id}`);
    const workspace = makeFolder(
      [
        ...BASE,
        `RUN ${mounts.join(' ')} cp -r /run/secrets /s`,
        'RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo yes > /s/ssh',
        'FROM scratch',
        'COPY --from=0 /s/ /',
      ],
      { 'token.txt': 'from a file' },
    );
    const { read, action } = await buildFiles(
      {
        context: '.',
        secrets: 'value=a=b,c"d"\n"lines=first\nsecond"\nempty=',
        'secret-envs': 'variable=MY_SECRET',
        'secret-files': 'file=token.txt\nmissing=nowhere.txt',
        ssh: `default=${agent}`,
      },
      { MY_SECRET: 'from the environment' },
      workspace,
    );
    expect(read('value')).toBe('a=b,c"d"');
    expect(read('lines')).toBe('first\nsecond');
    expect(read('variable')).toBe('from the environment');
    expect(read('file')).toBe('from a file');
    expect(read('ssh')).toBe('yes');
    expect(action.log).toContain('::warning::`secrets`: the secret "empty" has no value; left out');
    expect(action.log).toContain(
      '::warning::`secret-files`: the file of the secret "missing" does not exist; left out',
    );
  });

  test('another Dockerfile, and only those stages anew that were named', async () => {
    const context = makeFolder(['FROM nowhere'], {
      'docker/other.Dockerfile': [
        'FROM scratch AS kept',
        ...BASE.slice(1),
        'RUN head -c 8 /dev/urandom | md5sum > /kept',
        'FROM kept AS fresh',
        'RUN head -c 8 /dev/urandom | md5sum > /fresh',
        'FROM scratch',
        'COPY --from=fresh /kept /fresh /',
      ].join('\n'),
    });
    const inputs = { context, file: join(context, 'docker/other.Dockerfile') };
    const first = await buildFiles(inputs);
    const second = await buildFiles({ ...inputs, 'no-cache-filters': 'fresh' });
    expect(second.read('kept')).toBe(first.read('kept'));
    expect(second.read('fresh')).not.toBe(first.read('fresh'));
    const third = await buildFiles({ ...inputs, 'no-cache': 'true' });
    expect(third.read('kept')).not.toBe(first.read('kept'));
  });
});

test('an entitlement is asked for, and the pool has the last word', async () => {
  const action = start({ context: makeFolder(BASE), allow: 'security.insecure' });
  expect((await action.ended).code).toBe(1);
  expect(action.log).toMatch(/security\.insecure is not allowed/);
});

describe('instead of a build', () => {
  test('a check fails with what it has found', async () => {
    const context = makeFolder(['from scratch', 'COPY busybox /bin/busybox', 'ENTRYPOINT busybox sh']);
    const action = start({ context, call: 'check' });
    expect((await action.ended).code).toBe(1);
    expect(action.log).toContain('JSONArgsRecommended');
    expect(action.log).toMatch(
      /::error::the build failed: it ended with exit code 1: Check complete, [12] warnings? (has|have) been found!/,
    );
    expect(action.report.outcome).toBe('failed');
  });

  test('a check that finds nothing succeeds, and so does an outline', async () => {
    const context = makeFolder([...BASE.slice(0, 2), 'ARG VERSION=1']);
    expect((await build({ context, call: 'check' })).log).toContain('Check complete, no warnings found.');
    const outline = await build({ context, call: 'outline' });
    expect(outline.log).toMatch(/VERSION\s+1/);
    expect(outline.outputs['digest']).toBe('');
  });
});

describe('a Git repository', () => {
  /** BuildKit keeps the content of a commit, whoever has fetched it: each test has a commit of its own. */
  const content = (name: string) =>
    makeFolder(['FROM scratch', 'COPY where /'], {
      where: `top of ${name}`,
      'inner/Dockerfile': 'FROM scratch\nCOPY where /\n',
      'inner/where': `inner of ${name}`,
    });

  test('of the job is built by default, its private content opened with github-token', async () => {
    await using git = await startGitServer(content('a'), 'ghs_opens');
    const env = jobEnv(folder, { serverUrl: git.url, sha: git.sha });
    const top = await buildFiles({ 'github-token': 'ghs_opens', 'no-cache': 'true' }, env);
    expect(top.read('where')).toBe('top of a');
    expect(top.action.log).toContain(`${git.url}/octo/app.git#${git.sha}`);
    const inner = await buildFiles({ context: '{{defaultContext}}:inner', 'github-token': 'ghs_opens' }, env);
    expect(inner.read('where')).toBe('inner of a');
    const logs = `${top.action.log}${inner.action.log}`.replaceAll('::add-mask::ghs_opens', '');
    expect(logs).not.toContain('ghs_opens');
  });

  test('that the token does not open fails; another token given as a secret is used instead', async () => {
    await using git = await startGitServer(content('b'), 'ghs_right');
    const env = jobEnv(folder, { serverUrl: git.url, sha: git.sha });
    const wrong = start({ tags: 'a', 'github-token': 'ghs_wrong' }, env);
    expect((await wrong.ended).code, wrong.log).toBe(1);
    const right = await buildFiles({ secrets: 'GIT_AUTH_TOKEN=ghs_right', 'github-token': 'ghs_wrong' }, env);
    expect(right.read('where')).toBe('top of b');
  });

  test('of somebody else gets no token', async () => {
    await using git = await startGitServer(content('c'));
    const { read } = await buildFiles({
      context: `${git.url}/octo/app.git#main:inner`,
      'github-token': 'ghs_mine',
    });
    expect(read('where')).toBe('inner of c');
    expect(git.authorizations).toEqual(['none']);
  });
});

test('a plain build says nothing of inputs that it was not given, and leaves nothing but its report', async () => {
  const action = await build({ context: makeFolder([dockerfileRunning('echo fine')]) });
  expect(action.log).not.toContain('::warning::');
  expect(existsSync(action.outputs['report'] ?? '')).toBe(true);
});

test('the names that other actions have for the same inputs: an address without a scheme, attempts times delay, a command', async () => {
  const context = makeFolder([...BASE, 'RUN echo built']);
  const action = await build(
    {
      endpoint: '',
      'queue-timeout': '',
      'buildkit-address': pool.endpoint.replace('tcp://', ''),
      'connect-attempts': '4',
      'connect-delay': '30',
      command: '"$BUILDX" build "$CONTEXT"',
      image: 'without effect',
    },
    { CONTEXT: context },
  );
  expect(action.report).toMatchObject({ outcome: 'succeeded', builder: pool.endpoint });
  const built = await build({
    endpoint: '',
    'buildkit-address': pool.endpoint,
    context,
    image: `${registry.host}/team/alias:1`,
    push: 'true',
  });
  expect((await registry.manifest('team/alias', '1')).digest).toBe(built.outputs['digest']);
});
