/** Before any test with real programs: finds or fetches them, tells where they are, and builds the Action. */
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { ensurePrograms } from '../../src/local/programs.ts';

export default async function setUp(): Promise<void> {
  const programs = await ensurePrograms(
    [
      ...(['haproxy', 'runc', 'busybox', 'buildkitd', 'buildctl', 'buildx', 'buildx-oldest'] as const),
      ...(['setpriv', 'unshare', 'docker-registry', 'dockerd', 'git'] as const),
    ],
    { install: true, log: (line) => console.error(line) },
  );
  for (const [name, path] of Object.entries(programs)) {
    process.env[name.toUpperCase().replaceAll('-', '_')] = path;
  }
  await promisify(execFile)(process.execPath, [resolve('scripts/build.ts')]);
}
