import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalPool, startLocalPool } from '../../src/local/pool.ts';
import { ensurePrograms } from '../../src/local/programs.ts';

/** A real pool of `builders` builders on this machine, ready; of its own folder, gone when disposed of. */
export async function openPool(
  builders: number,
  options: { max?: number; idleMs?: number } = {},
): Promise<LocalPool & AsyncDisposable> {
  const programs = await ensurePrograms(['haproxy', 'runc', 'buildkitd', 'buildctl', 'setpriv', 'unshare'], {
    install: false,
    log: () => {},
  });
  const baseFolder = mkdtempSync(join(tmpdir(), 'pools-'));
  const pool = await startLocalPool({
    programs,
    arch: process.arch === 'arm64' ? 'arm64' : 'amd64',
    minBuilders: builders,
    maxBuilders: options.max ?? builders,
    port: 0,
    idleMs: options.idleMs ?? 1_200_000,
    syncMs: 500,
    baseFolder,
  });
  await pool.untilReady(builders);
  return Object.assign(pool, {
    [Symbol.asyncDispose]: async () => {
      await pool.stop();
      rmSync(baseFolder, { recursive: true, force: true });
    },
  });
}

/** Connections the line holds at this moment, by the load balancer's own counter. */
export async function sessionsOf(pool: LocalPool): Promise<number> {
  const counters = await pool.readCounters();
  if (counters === null) throw new Error('the load balancer does not answer');
  return counters.sessions;
}

/** Resolves when `check` holds; rejects with `what` after `limitMs`. Returns how long it took, ms. */
export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<number> {
  const from = performance.now();
  while (!(await check())) {
    if (performance.now() - from > limitMs) throw new Error(`not in ${limitMs} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
  return performance.now() - from;
}
