/** Bake mode on the real parts: the bundled Action, buildx, BuildKit, a registry, an engine and a Git server. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { makeContext, RunningAction } from '../support/action.ts';
import { BuildxAtWill } from '../support/buildx-at-will.ts';
import { startEngine } from '../support/engine.ts';
import { startGitServer } from '../support/git-server.ts';
import { jobEnv } from '../support/job-env.ts';
import { countersOf, eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';
import { type Registry, startRegistry } from '../support/registry.ts';

const RUN_URL = 'https://github.com/octo/app/actions/runs/42/attempts/2';
const BASE = 'FROM scratch\nCOPY busybox /bin/busybox\nSHELL ["/bin/busybox", "sh", "-c"]\n';

let pool: Awaited<ReturnType<typeof openLocalPool>>;
let registry: Registry;
const folder = mkdtempSync(join(tmpdir(), 'bake-mode-'));
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

const makeFolder = (dockerfile: string, files: Readonly<Record<string, string>>) => {
  const made = makeContext(dockerfile, files);
  cleanups.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
};
const start = (inputs: Record<string, string>, env: NodeJS.ProcessEnv = {}) => {
  const action = new RunningAction(
    { endpoint: pool.endpoint, 'queue-timeout': '120s', ...inputs },
    { env: { ...jobEnv(folder), ...env } },
  );
  cleanups.push(() => action.remove());
  return action;
};
const bake = async (inputs: Record<string, string>, env?: NodeJS.ProcessEnv) => {
  const action = start(inputs, env);
  expect(await action.ended, action.log).toEqual({ code: 0, signal: null });
  return action;
};
const connections = async () => (await countersOf(pool)).totalSessions;
/** The provenance of a pushed image, as text. */
const provenanceOf = async (repository: string) => {
  const index = await registry.manifest(repository, 'latest');
  const proof = await registry.manifest(repository, index.body.manifests?.[1]?.digest ?? '');
  return JSON.stringify(await registry.blob(repository, proof.body.layers?.[0]?.digest ?? ''));
};

/** Two services in a group, and a third target; `own` says for itself what is attested. */
const bakeFile = (host: string) => `
variable "GREETING" { default = "nobody" }
group "default" { targets = ["app", "own"] }
target "app" {
  args = { GREETING = GREETING }
  tags = ["${host}/bake/app"]
}
target "own" {
  inherits = ["app"]
  tags = ["${host}/bake/own"]
  attest = ["type=provenance,mode=min"]
}
target "other" {
  inherits = ["app"]
  tags = ["${host}/bake/other"]
  output = ["type=cacheonly"]
}
`;
const GREETS = `${BASE}ARG GREETING\nRUN echo "hello $GREETING" > /greeting\n`;

describe('bake files of this machine', () => {
  test('build their targets on one connection, pushed, with variables, overrides and the default provenance', async () => {
    const source = makeFolder(GREETS, { 'images/bake.hcl': bakeFile(registry.host) });
    const before = await connections();
    const { outputs, report } = await bake({
      source,
      files: 'images/bake.hcl',
      vars: 'GREETING=you, and you',
      set: '*.labels.org.example.x=a,b',
      push: 'true',
    });
    expect(await connections()).toBe(before + 1);
    const metadata = JSON.parse(outputs['metadata'] ?? '') as Record<string, Record<string, unknown>>;
    expect(Object.keys(metadata).sort()).toEqual(['app', 'own']);
    for (const target of ['app', 'own']) {
      const index = await registry.manifest(`bake/${target}`, 'latest');
      expect(metadata[target]?.['containerimage.digest']).toBe(index.digest);
      const manifest = await registry.manifest(`bake/${target}`, index.body.manifests?.[0]?.digest ?? '');
      expect(await registry.blob(`bake/${target}`, manifest.body.config?.digest ?? '')).toMatchObject({
        config: { Labels: { 'org.example.x': 'a,b' } },
      });
    }
    const app = await provenanceOf('bake/app');
    expect(app).toContain(RUN_URL);
    expect(app).toContain('you, and you');
    const own = await provenanceOf('bake/own');
    expect(own).not.toContain(RUN_URL);
    expect(own).not.toContain('hello');
    expect(report).toMatchObject({ outcome: 'succeeded' });
    expect(outputs['attempts']).toBe('1');
  });

  test('build the targets that are named, and those alone', async () => {
    const source = makeFolder(GREETS, { 'docker-bake.hcl': bakeFile(registry.host) });
    const { outputs } = await bake({ source, targets: 'other,app', set: 'app.output=type=cacheonly' });
    expect(Object.keys(JSON.parse(outputs['metadata'] ?? '') as object).sort()).toEqual(['app', 'other']);
  });

  test('are loaded into a real engine', async () => {
    await using engine = await startEngine();
    const source = makeFolder(GREETS, {
      'docker-bake.hcl': 'target "default" { tags = ["bake.test/loaded:1"] }',
    });
    await bake({ source, targets: 'default', load: 'true' }, { DOCKER_HOST: engine.address });
    expect((await engine.image('bake.test/loaded:1')).RepoTags).toEqual(['bake.test/loaded:1']);
  });

  test('that can’t be read fail at once, while the pool is full, and take nobody’s builder', async () => {
    const busy = start({ context: makeFolder(`${BASE}RUN echo taken-$((40+2)); sleep 60\n`, {}) });
    await busy.says('taken-42');
    const source = makeFolder(GREETS, { 'docker-bake.hcl': 'target "app" { inherits = ["nowhere"] }' });
    const action = start({ source, targets: 'app' });
    expect((await action.ended).code).toBe(1);
    expect(action.log).toMatch(
      /::error::the build failed: it has no readable bake definition: ERROR: .*nowhere/,
    );
    expect(action.report).toMatchObject({ outcome: 'failed', granted_at: null });
    busy.signal('SIGINT');
    await busy.ended;
  });

  test('with a broken target fail once, with BuildKit’s own message', async () => {
    const source = makeFolder(`${BASE}RUN exit 7\n`, { 'docker-bake.hcl': 'target "default" {}' });
    const action = start({ source, targets: 'default' });
    expect((await action.ended).code).toBe(1);
    expect(action.log).toContain('did not complete successfully: exit code: 7');
    expect(action.outputs['attempts']).toBe('1');
  });

  test('are only checked, with the warnings of all targets added up', async () => {
    const source = makeFolder('from scratch\nCOPY busybox /\nENTRYPOINT busybox sh\n', {
      'docker-bake.hcl': 'group "default" { targets = ["a", "b"] }\ntarget "a" {}\ntarget "b" {}\n',
    });
    const action = start({ source, call: 'check' });
    expect((await action.ended).code).toBe(1);
    expect(action.log).toMatch(
      /::error::the build failed: it ended with exit code 1: Check complete, [2-4] warnings have been found!/,
    );
  });
});

describe('bake files of a repository', () => {
  const repository = (name: string, file = bakeFile(registry.host)) =>
    makeFolder(`${GREETS}COPY name /\n`, { 'docker-bake.hcl': file, name });

  test('are the job’s own by default: private, read and built on one connection, with the default provenance', async () => {
    await using git = await startGitServer(repository('first'), 'ghs_opens');
    const before = await connections();
    const action = await bake(
      { targets: 'default', push: 'true', 'github-token': 'ghs_opens' },
      jobEnv(folder, { serverUrl: git.url, sha: git.sha }),
    );
    expect(await connections()).toBe(before + 1);
    expect(Object.keys(JSON.parse(action.outputs['metadata'] ?? '') as object).sort()).toEqual([
      'app',
      'own',
    ]);
    const app = await provenanceOf('bake/app');
    expect(app).toContain('/octo/app/actions/runs/42/attempts/2');
    expect(app).toContain(git.sha);
    expect(await provenanceOf('bake/own')).not.toContain('/octo/app/actions/runs/');
    expect(action.log.replaceAll('::add-mask::ghs_opens', '')).not.toContain('ghs_opens');
  });

  test('that do not exist fail once and give the builder back', async () => {
    await using git = await startGitServer(repository('second', ''), 'ghs_opens');
    const action = start(
      { targets: 'nothing', 'github-token': 'ghs_opens' },
      jobEnv(folder, { serverUrl: git.url, sha: git.sha }),
    );
    expect((await action.ended).code).toBe(1);
    expect(action.log).toMatch(/it has no readable bake definition: ERROR: failed to find target nothing/);
    expect(action.report.attempts.filter(({ phase }) => phase === 'building')).toHaveLength(1);
    await eventually('the builder is free', async () => (await sessionsOf(pool)) === 0);
  });

  test('are built again on another builder when theirs is lost', async () => {
    await using git = await startGitServer(
      makeFolder(`${BASE}RUN echo in-the-$((40+2))-step; sleep 60\n`, {
        'docker-bake.hcl': 'target "default" { output = ["type=cacheonly"] }',
      }),
    );
    const action = start(
      { targets: 'default', set: '*.no-cache=true' },
      jobEnv(folder, { serverUrl: git.url, sha: git.sha }),
    );
    await action.says('in-the-42-step');
    pool.killBuilder(0, 'SIGKILL');
    await action.says('running the build again on another builder');
    await action.says('in-the-42-step', 2);
    action.signal('SIGINT');
    await action.ended;
    expect(action.report.attempts.filter(({ phase }) => phase === 'building')).toHaveLength(2);
  });
});

test('the oldest buildx that is accepted bakes, files of this machine and of a repository; what it lacks is said', async () => {
  const old = new BuildxAtWill({ real: process.env['BUILDX_OLDEST'] ?? '' });
  cleanups.push(() => old.remove());
  const source = makeFolder(GREETS, { 'docker-bake.hcl': bakeFile(registry.host) });
  const before = await connections();
  await bake({ source, targets: 'app', push: 'true' }, old.env);
  expect(await provenanceOf('bake/app')).toContain(RUN_URL);
  await using git = await startGitServer(makeFolder(GREETS, { 'docker-bake.hcl': bakeFile(registry.host) }));
  await bake(
    { targets: 'app', push: 'true' },
    { ...jobEnv(folder, { serverUrl: git.url, sha: git.sha }), ...old.env },
  );
  expect(await provenanceOf('bake/app')).toContain(git.sha);
  expect(await connections()).toBe(before + 2);

  const action = start({ source, targets: 'app', vars: 'GREETING=you' }, old.env);
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain('it needs buildx 0.31 or newer for `vars`, and this is 0.16.0');
});

test('a report of a bake is as one of a build', async () => {
  const source = makeFolder(GREETS, {
    'docker-bake.hcl': 'target "default" { output = ["type=cacheonly"] }',
  });
  const { outputs } = await bake({ source, targets: 'default' });
  expect(JSON.parse(readFileSync(outputs['report'] ?? '', 'utf8'))).toMatchObject({
    schema: 'buildkit-pool/report/v1',
    outcome: 'succeeded',
  });
  expect(outputs['digest']).toBe('');
});
