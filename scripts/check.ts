// Everything that can be said about the sources without running them: types, lint and format, workflows, dist/ and the
// examples as the sources give them.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensurePrograms } from '../src/local/programs.ts';
import { formatProblem, readPool } from '../src/pool/read.ts';
import { compareFolder } from '../src/pool/render/folder.ts';
import { renderPool } from '../src/pool/render/render.ts';
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

const linters = await ensurePrograms(['actionlint', 'shellcheck'], { install: true, log: console.error });
const { status: workflows } = spawnSync(linters.actionlint, ['-shellcheck', linters.shellcheck], {
  stdio: 'inherit',
});
if (workflows !== 0) failures.push('actionlint');

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

for (const { name } of readdirSync('manifests', { withFileTypes: true }).filter((entry) =>
  entry.isDirectory(),
)) {
  const example = join('manifests', name);
  const reading = readPool(readFileSync(join(example, 'pool.yaml'), 'utf8'));
  if (reading.kind === 'refused') {
    failures.push(...reading.problems.map((problem) => formatProblem(join(example, 'pool.yaml'), problem)));
    continue;
  }
  const differences = await compareFolder(example, renderPool(reading.sizing));
  if (differences.length > 0) {
    failures.push(
      `${example} is not what its pool.yaml gives (${differences.map(({ path }) => path).join(', ')}): run npm run examples`,
    );
  }
}

for (const failure of failures) console.error(`check: ${failure}`);
process.exitCode = failures.length === 0 ? 0 : 1;

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}
