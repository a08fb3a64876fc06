/**
 * Where the secrets of a build are while it runs and afterwards: in no log, no argument of any process and no file. The
 * build itself proves by their checksums that it had them.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { makeContext, RunningAction } from '../support/action.ts';
import { entriesUnder } from '../support/files.ts';
import { startGitServer } from '../support/git-server.ts';
import { jobEnv } from '../support/job-env.ts';
import { eventually, openLocalPool, sessionsOf } from '../support/local-pool.ts';

/** Nothing else on this machine says these. */
const VALUE = `value-${process.pid}-${Date.now()}`;
const LINES = `first-${process.pid}-${Date.now()}\nsecond-${process.pid}-${Date.now()}`;
const TOKEN = `ghs_${process.pid}_${Date.now()}`;
/** What must be nowhere: each line of a secret counts. */
const HIDDEN = [VALUE, ...LINES.split('\n'), TOKEN];

let pool: Awaited<ReturnType<typeof openLocalPool>>;
const folder = mkdtempSync(join(tmpdir(), 'secrets-'));
/** HOME and TMPDIR of the Action and of all that it starts. */
const [home, temp] = [join(folder, 'home'), join(folder, 'tmp')];
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  mkdirSync(home);
  mkdirSync(temp);
  pool = await openLocalPool({ maxBuilders: 1 });
  await pool.untilReady(1);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  await eventually('nobody in line', async () => (await sessionsOf(pool)) === 0);
});

const sum = (value: string) => createHash('sha256').update(value).digest('hex');
/** One step that checks its secrets, then says so and lasts for `seconds`, then ends with `code`. */
const dockerfile = (seconds: number, code: number) =>
  [
    'FROM scratch',
    'COPY busybox /bin/busybox',
    'SHELL ["/bin/busybox", "sh", "-euc"]',
    `RUN --mount=type=secret,id=value --mount=type=secret,id=lines \\`,
    `  test "$(sha256sum < /run/secrets/value)" = "${sum(VALUE)}  -"; \\`,
    `  test "$(sha256sum < /run/secrets/lines)" = "${sum(LINES)}  -"; \\`,
    `  echo the-$((40+2))-secrets-are-right; sleep ${seconds}; exit ${code}`,
    '',
  ].join('\n');

/** The job's private repository, built with the two secrets and the token that opens it. */
async function start(seconds: number, code: number) {
  const content = makeContext(dockerfile(seconds, code));
  cleanups.push(() => rmSync(content, { recursive: true, force: true }));
  const git = await startGitServer(content, TOKEN);
  const action = new RunningAction(
    {
      endpoint: pool.endpoint,
      'queue-timeout': '120s',
      secrets: `value=${VALUE}\n"lines=${LINES}"\n`,
      'github-token': TOKEN,
      outputs: 'type=cacheonly',
      'no-cache': 'true',
    },
    {
      env: {
        ...jobEnv(folder, { serverUrl: git.url, sha: git.sha }),
        HOME: home,
        TMPDIR: temp,
        GITHUB_ACTIONS: 'true',
        // The most that anything ever logs.
        RUNNER_DEBUG: '1',
        BUILDX_EXPERIMENTAL: '1',
      },
    },
  );
  cleanups.push(() => action.remove());
  const look = watchArguments();
  return {
    action,
    /** The places where a secret was found, from the start of the Action until now. */
    async places(): Promise<readonly string[]> {
      await git[Symbol.asyncDispose]();
      const roots = [action.temp, home, temp, pool.folder, '/dev/shm'];
      // The runner takes these lines as the list of what to hide, and never shows them.
      const log = action.log.replaceAll(/^::add-mask::.*$/gm, '');
      return [
        ...look.stop(),
        ...roots.flatMap(filesUnder).filter(fileHoldsSecret),
        ...(holdsSecret(Buffer.from(log)) ? ['the log'] : []),
      ];
    },
    /** The same for the files of this moment alone. */
    filesNow: () => [action.temp, home, temp, '/dev/shm'].flatMap(filesUnder).filter(fileHoldsSecret),
  };
}

function fileHoldsSecret(path: string): boolean {
  try {
    return holdsSecret(readFileSync(path));
  } catch {
    // It was gone before it was read.
    return false;
  }
}

function holdsSecret(bytes: Buffer): boolean {
  return HIDDEN.some(
    (secret) => bytes.includes(secret) || bytes.includes(Buffer.from(secret).toString('base64').slice(0, -4)),
  );
}

function filesUnder(root: string): readonly string[] {
  return entriesUnder(root)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) < 8 * 1024 * 1024);
}

/**
 * Looks at the arguments of every process, again and again. Those of builders, which are machines of their own and here
 * have a process namespace each, are left out: BuildKit itself gives a token to its git as an argument.
 */
function watchArguments() {
  const namespace = readlinkSync('/proc/self/ns/pid');
  const found = new Set<string>();
  let looks = 0;
  const timer = setInterval(() => {
    looks += 1;
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        if (readlinkSync(`/proc/${pid}/ns/pid`) !== namespace) continue;
        const line = readFileSync(`/proc/${pid}/cmdline`);
        if (holdsSecret(line)) found.add(`arguments: ${line.toString().replaceAll('\0', ' ')}`);
      } catch {
        // It ended between the two looks.
      }
    }
  }, 50);
  return {
    stop() {
      clearInterval(timer);
      expect(looks).toBeGreaterThan(5);
      return [...found];
    },
  };
}

test('a build that succeeds had its secrets, and nothing and nobody else has', async () => {
  const { action, places, filesNow } = await start(1, 0);
  await action.says('the-42-secrets-are-right');
  expect(filesNow()).toEqual([]);
  expect((await action.ended).code, action.log).toBe(0);
  expect((await action.post()).code).toBe(0);
  expect(await places()).toEqual([]);
});

test('nor after a build that fails', async () => {
  const { action, places } = await start(0, 9);
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain('the-42-secrets-are-right');
  expect(await places()).toEqual([]);
});

test('nor after one that is cancelled, or killed without warning', async () => {
  const cancelled = await start(60, 0);
  await cancelled.action.says('the-42-secrets-are-right');
  cancelled.action.signal('SIGINT');
  await cancelled.action.ended;
  expect(await cancelled.places()).toEqual([]);

  const killed = await start(60, 0);
  await killed.action.says('the-42-secrets-are-right');
  killed.action.signal('SIGKILL');
  await killed.action.ended;
  await killed.action.post();
  expect(await killed.places()).toEqual([]);
});

test('nor where the inputs are refused', async () => {
  const action = new RunningAction(
    { endpoint: 'nowhere', context: 'missing', secrets: `"value=${VALUE}`, 'github-token': TOKEN },
    { env: { RUNNER_DEBUG: '1' } },
  );
  cleanups.push(() => action.remove());
  expect((await action.ended).code).toBe(1);
  expect(action.log).toContain('`secrets`: its double quotes do not match');
  expect(holdsSecret(Buffer.from(action.log))).toBe(false);
});
