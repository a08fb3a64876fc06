/** How builders of one node share its cache folder: real locks, in busybox's shell. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { renderStart } from '../../../src/pool/builder/start.ts';
import { BUSYBOX, shellcheck } from './scripts.ts';

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

/** A pod whose daemon writes into its slot and then lives on. */
class Builder {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #log = '';

  constructor(slots: number, options: { readonly cacheFolder?: string } = {}) {
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
      }),
    );
    this.#child = spawn(BUSYBOX, ['sh', script], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString();
    });
    this.#ended = new Promise((resolve) => this.#child.once('close', (code) => resolve(code)));
    running.add(this);
  }

  get log(): string {
    return this.#log;
  }

  get ended(): Promise<number | null> {
    return this.#ended;
  }

  /** The slot it has claimed, once it has. */
  async slot(): Promise<number> {
    await expect.poll(() => this.#log, { timeout: 10_000 }).toMatch(/cache slot \d+ of/);
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
  const script = renderStart({ cacheFolder: "/it's", slots: 4, daemon: ['buildkitd'] });
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
  await expect.poll(() => existsSync(join(cache, 'slot-0', 'pids'))).toBe(true);
  writeFileSync(join(cache, 'slot-0', 'warm'), '');
  await first.end('SIGKILL');
  expect(await new Builder(2).slot()).toBe(0);
  expect(existsSync(join(cache, 'slot-0', 'warm'))).toBe(true);
});

test('a builder more than there are slots says what it waits for, and takes the first one that is free', async () => {
  const [one, other] = [new Builder(2), new Builder(2)];
  const slots = [await one.slot(), await other.slot()];
  const third = new Builder(2);
  await expect.poll(() => third.log).toContain('waits for one of 2 cache slots');
  // A pod that is deleted while it waits goes at once.
  const fourth = new Builder(2);
  await expect.poll(() => fourth.log).toContain('waits for one of 2 cache slots');
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
  await expect.poll(folders).toEqual(['slot-0', 'slot-1', 'slot-2', 'slot-of-somebody-else']);
  await bySlot.get(2)?.end('SIGKILL');
  expect(await new Builder(2).slot()).toBe(1);
  await expect.poll(folders).toEqual(['slot-0', 'slot-1', 'slot-of-somebody-else']);
});

test('a cache folder that cannot be written to is named, and ends the start', async () => {
  writeFileSync(join(folder, 'file'), '');
  const builder = new Builder(1, { cacheFolder: join(folder, 'file', 'cache') });
  expect(await builder.ended).toBe(1);
  expect(builder.log).toContain(
    `start: cannot write to ${join(folder, 'file', 'cache')}, where the cache belongs`,
  );
});
