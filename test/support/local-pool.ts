import { type LocalPool, type LocalPoolOptions, startLocalPool } from '../../src/local/pool.ts';
import { ensurePrograms } from '../../src/local/programs.ts';

/** A pool on this machine for one test, of this machine's architecture; ends with its scope. */
export async function openLocalPool(
  options: Partial<Omit<LocalPoolOptions, 'programs'>> = {},
): Promise<LocalPool & AsyncDisposable> {
  const programs = await ensurePrograms(['haproxy', 'runc', 'buildkitd', 'setpriv', 'unshare'], {
    install: false,
    log: () => undefined,
  });
  const pool = await startLocalPool({
    programs,
    arch: process.arch === 'arm64' ? 'arm64' : 'amd64',
    minBuilders: 1,
    maxBuilders: 3,
    port: 0,
    idleMs: 3_600_000,
    syncMs: 250,
    ...options,
  });
  return { ...pool, [Symbol.asyncDispose]: () => pool.stop() };
}

/** Settles when `condition` holds; rejects with `what` after `timeoutMs`. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) {
      throw new Error(`not within ${timeoutMs} ms: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
