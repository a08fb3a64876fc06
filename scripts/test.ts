// The test command: bundles dist/, runs every project but the long one unless told which, and ends with a line that counts.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { becomeRoot } from '../src/local/root.ts';
import { bundle } from './bundle.ts';

await bundle('dist');
becomeRoot();

const folder = mkdtempSync(join(tmpdir(), 'results-'));
const results = join(folder, 'results.json');
const given = process.argv.slice(2);
const projects = given.includes('--project')
  ? []
  : ['unit', 'integration', 'end-to-end'].flatMap((name) => ['--project', name]);
const { status } = spawnSync(
  'node_modules/.bin/vitest',
  [
    'run',
    ...projects,
    ...['--reporter=default', '--reporter=json', '--reporter=./scripts/retried-reporter.ts'],
    `--outputFile.json=${results}`,
    ...given,
  ],
  { stdio: 'inherit' },
);
try {
  const counts = JSON.parse(readFileSync(results, 'utf8')) as {
    numPassedTests: number;
    numFailedTests: number;
    numFailedTestSuites: number;
  };
  // A file that can't be loaded fails without a single test of its own.
  const failed = counts.numFailedTests || (status === 0 ? 0 : Math.max(counts.numFailedTestSuites, 1));
  console.log(`${counts.numPassedTests} passed, ${failed} failed`);
  process.exitCode = status === 0 && counts.numPassedTests > 0 ? 0 : 1;
} catch (error) {
  console.log(`0 passed, 1 failed (the test runner left no result: ${String(error)})`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
