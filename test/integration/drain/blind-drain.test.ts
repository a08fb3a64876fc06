/**
 * Incident 6, on a real build: the drain in busybox's shell, where it cannot see, or has no program to use. All the hooks
 * are run against the same build at the same time, as kubelet would run one: killed when the grace period is over.
 */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { renderDrain } from '../../../src/pool/builder/drain.ts';
import { freePort, startBuildkitd } from '../../support/buildkitd.ts';
import { eventually, makeHeldContext, startBuildctl } from '../../support/local-pool.ts';
import { BUSYBOX } from './scripts.ts';

/** Of hooks that cannot see. The build has long ended by then, even on a machine that has much else to do. */
const DEADLINE_SECONDS = 45;
/** Of those that can: it takes them seconds to read a long table on such a machine. */
const LONG_DEADLINE_SECONDS = 240;
const GRACE_SECONDS = 250;

interface Hook {
  readonly procFolder?: string;
  readonly deadlineSeconds?: number;
  /** Comes before the shell of the hook. */
  readonly wrapper?: readonly string[];
  readonly path?: string;
}

interface Outcome {
  /** Exit code; null when the grace period was over first. */
  readonly code: number | null;
  readonly log: string;
  /** Whether the build was over when the hook ended. */
  readonly afterBuild: boolean;
}

const { SETPRIV: setpriv = 'setpriv', UNSHARE: unshare = 'unshare' } = process.env;
const WITHOUT_PROC = [unshare, '--mount', '--', '/bin/sh', '-c', 'umount -l /proc && exec "$@"', 'sh'];
/** For root no folder is unreadable. */
const AS_NOBODY = [setpriv, '--reuid', '65534', '--regid', '65534', '--clear-groups', '--'];

const folder = mkdtempSync(join(tmpdir(), 'blind-'));
const locked = join(folder, 'locked');

const HOOKS = {
  sighted: { deadlineSeconds: LONG_DEADLINE_SECONDS },
  'no folder of tables': { procFolder: join(folder, 'missing') },
  'a folder of tables that it may not read': { procFolder: locked, wrapper: AS_NOBODY },
  'no /proc': { wrapper: WITHOUT_PROC },
  'no tools': { path: join(folder, 'missing'), deadlineSeconds: LONG_DEADLINE_SECONDS },
  'no /proc and no tools': { wrapper: WITHOUT_PROC, path: join(folder, 'missing') },
} as const satisfies Readonly<Record<string, Hook>>;

let outcomes: Readonly<Record<string, Outcome>>;
let buildCode: number | null;

beforeAll(async () => {
  chmodSync(folder, 0o755);
  mkdirSync(locked, { mode: 0o000 });
  const port = await freePort();
  const daemon = await startBuildkitd({
    root: join(folder, 'root'),
    address: `tcp://127.0.0.1:${port}`,
  });
  try {
    const held = makeHeldContext(folder);
    const build = startBuildctl(daemon.address, held.context, basename(folder));
    let over = false;
    const built = build.ended.then(({ code }) => {
      over = true;
      return code;
    });
    await eventually('the step runs', () => held.running() > 0, 120_000);
    const hooks = Object.entries(HOOKS).map(
      ([name, hook], index) =>
        [name, startHook(hook, port, join(folder, `drain-${index}`), () => over)] as const,
    );
    const isTold = ({ log }: StartedHook): boolean =>
      /a build is connected|cannot read|stands still/.test(log());
    await eventually('all hooks know of a build', () => hooks.every(([, hook]) => isTold(hook)), 120_000);
    held.release();
    // The grace period is over when only those are left that stand still.
    const isAtRest = ({ isOver, log }: StartedHook): boolean => isOver() || log().includes('stands still');
    await eventually(
      'all hooks have ended or stand still',
      () => over && hooks.every(([, hook]) => isAtRest(hook)),
      GRACE_SECONDS * 1000,
    ).finally(() => {
      for (const [, { kill }] of hooks) kill();
    });
    const ended = hooks.map(async ([name, { outcome }]) => [name, await outcome] as const);
    outcomes = Object.fromEntries(await Promise.all(ended));
    buildCode = await built;
  } finally {
    await daemon.stop();
  }
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface StartedHook {
  log(): string;
  isOver(): boolean;
  kill(): void;
  readonly outcome: Promise<Outcome>;
}

function startHook(hook: Hook, port: number, files: string, isBuilt: () => boolean): StartedHook {
  const [script, logPath] = [`${files}.sh`, `${files}.log`];
  writeFileSync(logPath, '');
  chmodSync(logPath, 0o666);
  writeFileSync(
    script,
    renderDrain({
      ...{ port, innerPorts: [], procFolder: hook.procFolder ?? '/proc', logPath },
      ...{ firstLookSeconds: 0.5, lookIntervalSeconds: 0.5, idleLooks: 2, gatePatienceSeconds: 0 },
      ...{ deadlineSeconds: hook.deadlineSeconds ?? DEADLINE_SECONDS, reportSeconds: 5 },
    }),
  );
  const path = hook.path ?? process.env['PATH'];
  const shell = ['/usr/bin/env', `PATH=${path}`, BUSYBOX, 'sh', script];
  const [program = '', ...args] = [...(hook.wrapper ?? []), ...shell];
  const child = spawn(program, args, { stdio: 'ignore' });
  const log = () => readFileSync(logPath, 'utf8');
  let isOver = false;
  const outcome = new Promise<Outcome>((resolve) =>
    child.once('exit', (code) => {
      isOver = true;
      resolve({ code, log: log(), afterBuild: isBuilt() });
    }),
  );
  return { log, isOver: () => isOver, kill: () => child.kill('SIGKILL'), outcome };
}

test('no hook ends before the build does, and the build succeeds', () => {
  expect(buildCode).toBe(0);
  expect(Object.values(outcomes).map(({ afterBuild }) => afterBuild)).toEqual(
    Object.keys(HOOKS).map(() => true),
  );
});

test('one that sees ends soon after the build', () => {
  const { code, log } = outcomes['sighted'] ?? {};
  expect(code).toBe(0);
  expect(log).toMatch(/a build is connected to port(.|\n)*the builder is idle/);
});

test.each([
  ['no folder of tables', join(folder, 'missing')],
  ['a folder of tables that it may not read', locked],
  ['no /proc', '/proc'],
])('%s: it waits for as long as it may, says why, and ends within the grace period', (name, proc) => {
  const { code, log = '' } = outcomes[name] ?? {};
  expect(code).toBe(1);
  const reason = `cannot read ${proc}/net/tcp, so a build may be running`;
  expect(log.split(`drain: ${reason} (after`).length - 1).toBeGreaterThanOrEqual(3);
  const [, waited] = /gives up after (\d+) s, because the grace period ends: cannot read/.exec(log) ?? [];
  expect(Number(waited)).toBeGreaterThanOrEqual(DEADLINE_SECONDS);
  expect(log).not.toMatch(/idle/);
});

test('no tools: it goes on with what its shell has, or stands still until the grace period is over', () => {
  const { code, log = '' } = outcomes['no tools'] ?? {};
  if (code === 0) expect(log).toMatch(/a build is connected to port(.|\n)*the builder is idle/);
  else expect([code, log]).toEqual([null, expect.stringContaining('stands still')]);
});

test('no /proc and no tools: it stands still until the grace period is over', () => {
  const { code, log } = outcomes['no /proc and no tools'] ?? {};
  expect(code).toBe(null);
  expect(log).toContain('cannot run sleep, so it cannot watch this builder: stands still until');
});
