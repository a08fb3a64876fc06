/** The drain on made-up tables of the kernel, in busybox's shell. drain.test.ts has it on real builds. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeEach, expect, test, vi } from 'vitest';
import { type DrainModel, renderDrain } from '../../../src/pool/builder/drain.ts';
import { hexPort } from '../../../src/pool/builder/shell.ts';
import { BUSYBOX, shellcheck } from './scripts.ts';

const PORT = 1234;
const INNER_PORT = 1236;
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 180_000 });

const root = mkdtempSync(join(tmpdir(), 'drain-'));
let folder: string;
let number = 0;

beforeEach(() => {
  number += 1;
  folder = join(root, String(number));
  mkdirSync(join(folder, 'net'), { recursive: true });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const MODEL = {
  port: PORT,
  innerPorts: [INNER_PORT],
  firstLookSeconds: 0.05,
  lookIntervalSeconds: 0.05,
  idleLooks: 2,
  gatePatienceSeconds: 0,
  deadlineSeconds: 60,
  reportSeconds: 60,
} as const satisfies Partial<DrainModel>;

interface Row {
  readonly family: 4 | 6;
  readonly localPort: number;
  /** As in include/net/tcp_states.h. */
  readonly state: string;
}

const HEADER =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';

function row({ family, localPort, state }: Row, index: number): string {
  const host = family === 4 ? '0501000A' : '0000000000000000FFFF00000501000A';
  const peer = family === 4 ? '0901000A' : '0000000000000000FFFF00000901000A';
  return `${String(index).padStart(4)}: ${host}:${hexPort(localPort)} ${peer}:${state === '0A' ? '0000' : 'D431'} ${state} 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 20 4 30 10 -1\n`;
}

const FAMILIES = [4, 6] as const;

function tablePath(family: 4 | 6): string {
  return join(folder, 'net', family === 4 ? 'tcp' : 'tcp6');
}

function renderTable(family: 4 | 6, rows: readonly Row[]): string {
  const lines = rows.filter((one) => one.family === family).map(row);
  return HEADER + lines.join('');
}

function writeTables(rows: readonly Row[]): void {
  for (const family of FAMILIES) writeFileSync(tablePath(family), renderTable(family, rows));
  writeFileSync(join(folder, 'net', 'if_inet6'), '');
  writeFileSync(join(folder, 'uptime'), '1908.08 3000.00\n');
}

interface Running {
  /** Exit code, or null when it was killed. */
  readonly ended: Promise<number | null>;
  log(): string;
  /** Rejects when it ends before it says so. */
  says(text: string): Promise<void>;
  kill(): void;
}

function start(
  options: Partial<DrainModel> = {},
  shell = [BUSYBOX, 'sh'],
  path = process.env['PATH'] ?? '',
): Running {
  const logPath = join(folder, 'log');
  writeFileSync(logPath, '');
  const script = join(folder, 'drain.sh');
  writeFileSync(script, renderDrain({ ...MODEL, procFolder: folder, logPath, ...options }));
  const [program = '', ...args] = shell;
  const child = spawn(program, [...args, script], { env: { PATH: path }, stdio: 'ignore' });
  let over = false;
  const ended = new Promise<number | null>((resolve) =>
    child.once('exit', (code) => {
      over = true;
      resolve(code);
    }),
  );
  const log = () => readFileSync(logPath, 'utf8');
  return {
    ended,
    log,
    says: async (text) => {
      while (!log().includes(text)) {
        if (over) throw new Error(`the drain ended without saying ${JSON.stringify(text)}:\n${log()}`);
        await sleep(10);
      }
    },
    kill: () => child.kill('SIGKILL'),
  };
}

/** One look at the tables as they are: idle or busy, by a deadline right after the second look. */
async function judge(): Promise<'idle' | 'busy'> {
  const drain = start({ firstLookSeconds: 0, lookIntervalSeconds: 0.01, deadlineSeconds: 0.05 });
  // The clock stands still, so the pauses alone are counted: five looks fit.
  return (await drain.ended) === 0 ? 'idle' : 'busy';
}

test('the script is one that shellcheck has nothing to say about, and every value is quoted', () => {
  const script = renderDrain({ ...MODEL, procFolder: "/it's", logPath: '/proc/1/fd/2' });
  expect(shellcheck(join(folder, 'drain.sh'), script)).toBe('');
  expect(script).toContain(`proc='/it'\\''s'`);
});

test('a builder that only listens is idle', async () => {
  writeTables([
    { family: 6, localPort: PORT, state: '0A' },
    { family: 4, localPort: INNER_PORT, state: '0A' },
  ]);
  expect(await judge()).toBe('idle');
});

test('any connection that may still carry a build counts, on either port, over IPv4 and IPv6', async () => {
  const allStates = fc.constantFrom(...Array.from({ length: 12 }, (_, index) => hexPort(index + 1).slice(2)));
  const anyPort = fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom(PORT, INNER_PORT) },
    // Others, with neighbours and with the same digits in another place.
    fc.constantFrom(1235, 0x2d2, 0x04d3, 0xd204, 22, 65_535),
  );
  const anyRow = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    localPort: anyPort,
    state: allStates,
  });
  // Who is connected to another port, or has been let go of with everything that was sent to it, is none of a build.
  const over = ['05', '06', '07', '09', '0A'];
  await fc.assert(
    fc.asyncProperty(fc.array(anyRow, { maxLength: 8 }), async (rows) => {
      writeTables(rows);
      const busy = rows.some(
        ({ localPort, state }) => [PORT, INNER_PORT].includes(localPort) && !over.includes(state),
      );
      expect(await judge()).toBe(busy ? 'busy' : 'idle');
    }),
    { numRuns: 60 },
  );
});

test('a kernel without IPv6 has no table for it', async () => {
  writeTables([{ family: 4, localPort: PORT, state: '0A' }]);
  for (const name of ['tcp6', 'if_inet6']) rmSync(join(folder, 'net', name));
  expect(await judge()).toBe('idle');
  writeTables([{ family: 4, localPort: PORT, state: '01' }]);
  expect(await judge()).toBe('busy');
});

test.each<readonly [what: string, change: () => void]>([
  ['there is no /proc', () => rmSync(folder, { recursive: true })],
  ['the IPv4 table is missing', () => rmSync(join(folder, 'net', 'tcp'))],
  ['the IPv6 table alone is missing', () => rmSync(join(folder, 'net', 'tcp6'))],
  ['a table is empty', () => writeFileSync(join(folder, 'net', 'tcp6'), '')],
  [
    'a table is a folder',
    () => {
      rmSync(join(folder, 'net', 'tcp'));
      mkdirSync(join(folder, 'net', 'tcp'));
    },
  ],
  [
    'the header is another',
    () => writeFileSync(join(folder, 'net', 'tcp'), HEADER.replace('local_address', 'local')),
  ],
  ['a row has a hole', () => appendFileSync(join(folder, 'net', 'tcp'), '   1: 0501000A:0016 01\n')],
  [
    'a row is cut off',
    () => appendFileSync(join(folder, 'net', 'tcp'), '   1: 0501000A:0016 0901000A:D431 01 0000'),
  ],
  ['a row is text', () => appendFileSync(join(folder, 'net', 'tcp6'), 'permission denied\n')],
  [
    'a row has no port',
    () => appendFileSync(join(folder, 'net', 'tcp'), '   1: 0501000A 0901000A:D431 01 00\n'),
  ],
])('incident 6: a drain that cannot see never ends early: %s', async (_, change) => {
  writeTables([{ family: 6, localPort: PORT, state: '0A' }]);
  expect(await judge()).toBe('idle');
  change();
  // Without a folder there is no place for the log or the script either.
  mkdirSync(folder, { recursive: true });
  const drain = start({ lookIntervalSeconds: 0.02, deadlineSeconds: 0.5 });
  expect(await drain.ended).toBe(1);
  expect(drain.log()).toMatch(/cannot read .*net\/tcp6?, so a build may be running/);
  expect(drain.log()).not.toContain('idle');
});

test('incident 6: without sleep it stands still, using nothing, until it is killed', async () => {
  writeTables([{ family: 6, localPort: PORT, state: '0A' }]);
  // Not in busybox's shell: where it is built to, it finds sleep in itself.
  const drain = start({}, ['/bin/sh'], join(root, 'nothing'));
  await drain.says('stands still until the grace period is over');
  const stopped = async () =>
    (await promisify(execFile)('ps', ['-eo', 'stat,args'])).stdout
      .split('\n')
      .some((line) => line.includes(join(folder, 'drain.sh')) && line.startsWith('T'));
  await expect.poll(stopped, { timeout: 60_000 }).toBe(true);
  drain.kill();
  expect(await drain.ended).toBe(null);
  expect(drain.log()).not.toContain('idle');
});

test('the first look comes after the wait, and two idle looks must follow each other', async () => {
  const busy: Row = { family: 6, localPort: PORT, state: '01' };
  writeTables([]);
  // Each look waits for what it is to see: a pipe is opened by both ends at the same time.
  for (const family of FAMILIES) {
    rmSync(tablePath(family));
    execFileSync('mkfifo', [tablePath(family)]);
  }
  const drain = start({ firstLookSeconds: 1 });
  let ended = false;
  void drain.ended.then(() => {
    ended = true;
  });
  const showNextLook = async (rows: readonly Row[]): Promise<void> => {
    for (const family of FAMILIES) {
      const pipe = await openForReader(tablePath(family), () => ended);
      writeFileSync(pipe, renderTable(family, rows));
      closeSync(pipe);
    }
  };
  // A build that arrives by an old DNS answer, after the builder began to terminate and before the first look.
  await showNextLook([busy]);
  await drain.says('a build is connected to port 1234 (after 1 s');
  // It ends; one look finds the builder idle, and then the next build is there.
  for (const rows of [[], [busy], [], [busy], [busy], [], []]) await showNextLook(rows);
  expect(await drain.ended).toBe(0);
  expect(drain.log()).toMatch(/waits 1 s(.|\n)*the builder is idle/);
});

/** The end for writing of a pipe that somebody reads, or is about to; throws when `isOver`. */
async function openForReader(path: string, isOver: () => boolean): Promise<number> {
  for (;;) {
    if (isOver()) throw new Error(`the drain ended before it read ${path}`);
    try {
      return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENXIO')) throw error;
    }
    await sleep(5);
  }
}

test('a gate that still lets builds in is waited for, within its patience', async () => {
  writeTables([{ family: 6, localPort: PORT, state: '0A' }]);
  const patient = start({ gatePatienceSeconds: 30 });
  await patient.says('port 1234 still takes builds');
  writeTables([{ family: 4, localPort: INNER_PORT, state: '0A' }]);
  expect(await patient.ended).toBe(0);
  writeTables([{ family: 6, localPort: PORT, state: '0A' }]);
  expect(await start({ gatePatienceSeconds: 0.3 }).ended).toBe(0);
});

test('it ends before the grace period does and says what it was waiting for, and says so on the way', async () => {
  writeTables([{ family: 6, localPort: PORT, state: '01' }]);
  const drain = start({ deadlineSeconds: 2, reportSeconds: 0.5 });
  expect(await drain.ended).toBe(1);
  expect(drain.log().split('a build is connected to port 1234 (after').length - 1).toBeGreaterThanOrEqual(2);
  expect(drain.log()).toMatch(
    /gives up after 2 s, because the grace period ends: a build is connected to port 1234\n$/,
  );
});

test('the clock counts where there is one, not the pauses: looking takes time too', async () => {
  writeTables([{ family: 6, localPort: PORT, state: '01' }]);
  const drain = start({ deadlineSeconds: 7_000 });
  await drain.says('a build is connected');
  writeFileSync(join(folder, 'uptime'), '8909.09 3000.00\n');
  expect(await drain.ended).toBe(1);
  expect(drain.log()).toContain('gives up after 7001 s');
});
