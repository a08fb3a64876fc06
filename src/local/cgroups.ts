/** Control groups of a pool's builds. A container that is killed leaves its own behind, empty: the pool removes them. */
import { readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const ROOT = '/sys/fs/cgroup';
const ATTEMPTS = 200;
const PAUSE_MS = 50;

/** Removes the group `name` and all below it, in every hierarchy (one with cgroup v2, several with v1). */
export async function removeCgroups(name: string): Promise<void> {
  const hierarchies = [ROOT, ...(await listFolders(ROOT))];
  await Promise.all(hierarchies.map((hierarchy) => removeGroup(join(hierarchy, name))));
}

async function removeGroup(group: string): Promise<void> {
  for (const child of await listFolders(group)) {
    await removeGroup(child);
  }
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const code = await rmdir(group).then(
      () => null,
      (error: unknown) => (error instanceof Error && 'code' in error ? error.code : 'unknown'),
    );
    // The kernel lets go of a dead process's group a moment after its end.
    if (code !== 'EBUSY') {
      return;
    }
    await sleep(PAUSE_MS);
  }
}

async function listFolders(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
}
