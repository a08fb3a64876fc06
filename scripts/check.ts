// Everything that can be said about the sources without running them: types, lint and format, dist/ as they give it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from './bundle.ts';

/** Every run of the Action fetches and reads it. */
const MAX_MAIN_BYTES = 1_500_000;

const failures: string[] = [];

for (const command of [
  ['tsc', '-p', '.'],
  ['biome', 'check', '.'],
]) {
  const [program = '', ...args] = command;
  const { status } = spawnSync(join('node_modules/.bin', program), args, { stdio: 'inherit' });
  if (status !== 0) failures.push(command.join(' '));
}

const folder = mkdtempSync(join(tmpdir(), 'dist-'));
try {
  await bundle(folder);
  const names = new Set([...readdirSync(folder), ...(existsSync('dist') ? readdirSync('dist') : [])]);
  const stale = [...names].filter((name) => read(join(folder, name)) !== read(join('dist', name)));
  if (stale.length > 0)
    failures.push(`dist/ is not what the sources give (${stale.join(', ')}): run npm run build`);
  const size = statSync(join(folder, 'main.js')).size;
  if (size > MAX_MAIN_BYTES) failures.push(`dist/main.js has ${size} bytes, more than ${MAX_MAIN_BYTES}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

for (const failure of failures) console.error(`check: ${failure}`);
process.exitCode = failures.length === 0 ? 0 : 1;

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}
