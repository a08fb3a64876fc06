/** How builders of one node share its cache folder: real locks, in busybox's shell. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CGROUP_ENTRYPOINT, renderStart } from '../../../src/pool/builder/start.ts';
import { BUSYBOX, shellcheck } from './scripts.ts';

const WAIT = { timeout: 60_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 });

let folder: string;
let cache: string;
let started = 0;
const running = new Set<Builder>();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'slots-'));
  cache = join(folder, 'cache');
});
afterEach(async () => {
  await Promise.all([...running].map((builder) => builder.end('SIGKILL')));
  rmSync(folder, { recursive: true, force: true });
});

interface BuilderOptions {
  readonly cacheFolder?: string;
  /** Whether the image has it; left out: it is not asked for. */
  readonly entrypoint?: 'present' | 'missing';
}

/** A pod whose daemon writes into its slot and then lives on. */
class Builder {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #log = '';

  constructor(slots: number, options: BuilderOptions = {}) {
    started += 1;
    // Files of its own: a shell reads its script as it goes.
    const script = join(folder, `start-${started}.sh`);
    const daemon = join(folder, `daemon-${started}`);
    // The slot is the last argument. The program has the process that the shell had, as buildkitd has.
    writeFileSync(daemon, '#!/bin/sh\nfor root; do :; done\necho "$$" >> "$root/pids"\nexec sleep 1000\n', {
      mode: 0o755,
    });
    writeFileSync(
      script,
      renderStart({
        cacheFolder: options.cacheFolder ?? cache,
        slots,
        daemon: [daemon, '--config', "/etc/it's.toml"],
        entrypoint: options.entrypoint === undefined ? null : CGROUP_ENTRYPOINT,
      }),
    );
    const image = join(folder, 'image');
    mkdirSync(image, { recursive: true });
    if (options.entrypoint === 'present') {
      // As BuildKit's own: a shell that starts something on the way and becomes the daemon, whose name only it knows.
      writeFileSync(
        join(image, CGROUP_ENTRYPOINT),
        `#!/bin/sh\nset -e\n/bin/true\nprintf '%s\\n' "$$" "$@" > ${join(folder, 'entrypoint')}\nexec ${daemon} "$@"\n`,
        { mode: 0o755 },
      );
    }
    this.#child = spawn(BUSYBOX, ['sh', script], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: `${image}:${process.env['PATH']}` },
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString();
    });
    this.#ended = new Promise((resolve) => this.#child.once('close', (code) => resolve(code)));
    running.add(this);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get log(): string {
    return this.#log;
  }

  get ended(): Promise<number | null> {
    return this.#ended;
  }

  /** The slot it has claimed, once it has. */
  async slot(): Promise<number> {
    await expect.poll(() => this.#log, WAIT).toMatch(/cache slot \d+ of/);
    return Number(/cache slot (\d+) of/.exec(this.#log)?.[1]);
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    running.delete(this);
    this.#child.kill(signal);
    return this.#ended;
  }
}

function folders(): readonly string[] {
  return readdirSync(cache, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

test('the script is one that shellcheck has nothing to say about', () => {
  const script = renderStart({
    cacheFolder: "/it's",
    slots: 4,
    daemon: ['buildkitd'],
    entrypoint: CGROUP_ENTRYPOINT,
  });
  expect(shellcheck(join(folder, 'start.sh'), script)).toBe('');
});

test('incident 10: a hundred builders that come and go leave as many cache folders as there are slots', async () => {
  const slots = 3;
  let builders: Builder[] = [];
  for (let round = 0; round < 34; round += 1) {
    builders.push(...Array.from({ length: slots - builders.length }, () => new Builder(slots)));
    const taken = await Promise.all(builders.map((builder) => builder.slot()));
    // Each has one of its own, whoever else is there.
    expect([...taken].sort()).toEqual([0, 1, 2]);
    // Killed or stopped, all of them or some: the next ones get what they left.
    const leaving = builders.filter((_, index) => (round + index) % 3 !== 0 || round % 5 === 0);
    await Promise.all(leaving.map((builder, index) => builder.end(index % 2 === 0 ? 'SIGKILL' : 'SIGTERM')));
    builders = builders.filter((builder) => !leaving.includes(builder));
  }
  expect(folders()).toEqual(['slot-0', 'slot-1', 'slot-2']);
});

test('the next builder finds what the one before has left in the slot', async () => {
  const first = new Builder(2);
  expect(await first.slot()).toBe(0);
  await expect.poll(() => existsSync(join(cache, 'slot-0', 'pids')), WAIT).toBe(true);
  writeFileSync(join(cache, 'slot-0', 'warm'), '');
  await first.end('SIGKILL');
  expect(await new Builder(2).slot()).toBe(0);
  expect(existsSync(join(cache, 'slot-0', 'warm'))).toBe(true);
});

test('a builder more than there are slots says what it waits for, and takes the first one that is free', async () => {
  const [one, other] = [new Builder(2), new Builder(2)];
  const slots = [await one.slot(), await other.slot()];
  const third = new Builder(2);
  await expect.poll(() => third.log, WAIT).toContain('waits for one of 2 cache slots');
  // A pod that is deleted while it waits goes at once.
  const fourth = new Builder(2);
  await expect.poll(() => fourth.log, WAIT).toContain('waits for one of 2 cache slots');
  expect(await fourth.end('SIGTERM')).toBe(0);
  await other.end('SIGTERM');
  expect(await third.slot()).toBe(slots[1]);
});

test('slots beyond the number are emptied, but never under a builder', async () => {
  const old = [new Builder(4), new Builder(4), new Builder(4), new Builder(4)];
  const bySlot = new Map<number, Builder>();
  for (const builder of old) bySlot.set(await builder.slot(), builder);
  writeFileSync(join(cache, 'somebody-elses'), '');
  mkdirSync(join(cache, 'slot-of-somebody-else'));
  await Promise.all([0, 1, 3].map((slot) => bySlot.get(slot)?.end('SIGKILL')));
  // Slot 2 still has its builder, slot 3 has none.
  expect(await new Builder(2).slot()).toBe(0);
  await expect.poll(folders, WAIT).toEqual(['slot-0', 'slot-1', 'slot-2', 'slot-of-somebody-else']);
  await bySlot.get(2)?.end('SIGKILL');
  expect(await new Builder(2).slot()).toBe(1);
  await expect.poll(folders, WAIT).toEqual(['slot-0', 'slot-1', 'slot-of-somebody-else']);
});

test('a cache folder that cannot be written to is named, and ends the start', async () => {
  writeFileSync(join(folder, 'file'), '');
  const builder = new Builder(1, { cacheFolder: join(folder, 'file', 'cache') });
  expect(await builder.ended).toBe(1);
  expect(builder.log).toContain(
    `start: cannot write to ${join(folder, 'file', 'cache')}, where the cache belongs`,
  );
});

test("the image's entrypoint becomes the daemon: the same process, with its arguments, the slot and the signals", async () => {
  const builder = new Builder(1, { entrypoint: 'present' });
  expect(await builder.slot()).toBe(0);
  const pids = join(cache, 'slot-0', 'pids');
  await expect.poll(() => readFileSync(pids, 'utf8'), WAIT).toBe(`${builder.pid}\n`);
  expect(readFileSync(join(folder, 'entrypoint'), 'utf8').trim().split('\n')).toEqual([
    ...[`${builder.pid}`, '--config', "/etc/it's.toml", '--root', join(cache, 'slot-0')],
  ]);
  expect(builder.log).toBe(`start: cache slot 0 of 1 in ${cache}\n`);
  const second = new Builder(1, { entrypoint: 'present' });
  await expect.poll(() => second.log, WAIT).toContain('waits for one of 1 cache slots');
  // Neither the shell nor the entrypoint is left to hold the signal back, or the lock.
  expect(await builder.end('SIGTERM')).toBe(null);
  expect(await second.slot()).toBe(0);
});

test('an image without the entrypoint starts the daemon all the same, and one line says what that means', async () => {
  const builder = new Builder(1, { entrypoint: 'missing' });
  expect(await builder.slot()).toBe(0);
  await expect.poll(() => existsSync(join(cache, 'slot-0', 'pids')), WAIT).toBe(true);
  await expect
    .poll(() => builder.log.split('\n').filter((line) => line.includes('entrypoint')), WAIT)
    .toEqual([
      'start: this image has no buildkitd-entrypoint: limits of this pod may not apply to its builds',
    ]);
});
