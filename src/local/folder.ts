/**
 * The one private folder of a pool, and what a pool that died left of its own.
 *
 *     <base>/pool-XXXXXX/owner.json          who runs the pool: pid and start time
 *     <base>/pool-XXXXXX/processes/<pid>-<t>  one empty file a child
 */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { identify, isAlive, isIdentity, type ProcessIdentity } from '../process-identity.ts';
import { removeCgroups } from './cgroups.ts';

export interface PoolFolder {
  readonly path: string;
  /** Name of the control group that the pool's builds run in. */
  readonly cgroup: string;
  /** Remembers a child, so that the next start ends it should everything else have failed. */
  record(child: ProcessIdentity): Promise<void>;
  forget(child: ProcessIdentity): Promise<void>;
  remove(): Promise<void>;
}

/** Makes a folder that only this user can enter. Rejects when `base` belongs to someone else. */
export async function createPoolFolder(base: string): Promise<PoolFolder> {
  await mkdir(base, { recursive: true, mode: 0o700 });
  const uid = process.getuid?.();
  if ((await stat(base)).uid !== uid) {
    throw new Error(`${base} belongs to another user; give a folder of your own with --dir`);
  }
  const path = await mkdtemp(join(base, 'pool-'));
  const processes = join(path, 'processes');
  await mkdir(processes);
  await writeFile(join(path, 'owner.json'), JSON.stringify(identify(process.pid)));
  const fileOf = ({ pid, startedAt }: ProcessIdentity) => join(processes, `${pid}-${startedAt}`);
  return {
    path,
    cgroup: cgroupOf(path),
    record: (child) => writeFile(fileOf(child), ''),
    forget: (child) => rm(fileOf(child), { force: true }),
    remove: () => removeAll(path),
  };
}

/** Ends the children and removes the folders of pools whose own process is gone. Returns the folders removed. */
export async function sweepDeadPools(base: string): Promise<readonly string[]> {
  const entries = await readdir(base).catch(() => []);
  const removed: string[] = [];
  for (const entry of entries.filter((name) => name.startsWith('pool-'))) {
    const path = join(base, entry);
    const owner = await readOwner(path);
    // Without an owner's file the pool is just being made, unless it is old.
    const dead =
      owner === null ? Date.now() - (await stat(path)).mtimeMs > UNOWNED_AFTER_MS : !isAlive(owner);
    if (dead) {
      await killRecorded(join(path, 'processes'));
      await removeAll(path);
      removed.push(path);
    }
  }
  return removed;
}

const UNOWNED_AFTER_MS = 60_000;

async function readOwner(path: string): Promise<ProcessIdentity | null> {
  try {
    const owner: unknown = JSON.parse(await readFile(join(path, 'owner.json'), 'utf8'));
    return isIdentity(owner) ? owner : null;
  } catch {
    return null;
  }
}

async function killRecorded(processes: string): Promise<void> {
  for (const name of await readdir(processes).catch(() => [])) {
    const [pid, startedAt] = name.split('-');
    if (pid && startedAt && isAlive({ pid: Number(pid), startedAt })) {
      process.kill(Number(pid), 'SIGKILL');
    }
  }
}

function cgroupOf(path: string): string {
  return `buildkit-${basename(path)}`;
}

async function removeAll(path: string): Promise<void> {
  await removeCgroups(cgroupOf(path));
  // A builder that was killed a moment ago may still be letting go of its files.
  await rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
