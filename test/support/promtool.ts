/** Prometheus and promtool for tests: from PATH, or taken out of Debian's package, which would start a service if installed. */
import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, isExecutable } from '../../src/local/program-search.ts';

const run = promisify(execFile);

/** Absolute paths. `BUILDKIT_POOL_PROMTOOL` and `BUILDKIT_POOL_PROMETHEUS` choose other ones. */
export async function findPrometheus(): Promise<{ readonly promtool: string; readonly prometheus: string }> {
  const found = await Promise.all(['promtool', 'prometheus'].map(find));
  if (found.includes(null)) {
    await unpackPackage();
  }
  const [promtool, prometheus] = await Promise.all(['promtool', 'prometheus'].map(find));
  if (!(promtool && prometheus)) {
    throw new Error('promtool and prometheus are missing: put them on PATH (Debian: the package prometheus)');
  }
  return { promtool, prometheus };
}

async function find(name: string): Promise<string | null> {
  const { PATH = '', [`BUILDKIT_POOL_${name.toUpperCase()}`]: explicit } = process.env;
  const folders = [...PATH.split(delimiter).filter(isAbsolute), cacheFolder()];
  for (const path of explicit ? [explicit] : folders.map((folder) => join(folder, name))) {
    if (await isExecutable(path)) {
      return path;
    }
  }
  return null;
}

/** A mirror may not answer at once. */
const RETRIES = ['-o', 'Acquire::Retries=5'];

async function unpackPackage(): Promise<void> {
  await mkdir(cacheFolder(), { recursive: true });
  const folder = await mkdtemp(join(cacheFolder(), '.prometheus-'));
  try {
    const download = () => run('apt-get', [...RETRIES, 'download', 'prometheus'], { cwd: folder });
    await download().catch(async () => {
      // The lists may be missing, as in a fresh container.
      await run('apt-get', [...RETRIES, 'update']);
      await download();
    });
    const file = (await readdir(folder)).find((name) => name.endsWith('.deb'));
    if (file === undefined) {
      throw new Error('apt-get download left no package');
    }
    await run('dpkg-deb', ['--extract', join(folder, file), join(folder, 'package')]);
    for (const name of ['promtool', 'prometheus']) {
      const copy = join(folder, name);
      await copyFile(join(folder, 'package', 'usr', 'bin', name), copy);
      await chmod(copy, 0o755);
      await rename(copy, join(cacheFolder(), name));
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
