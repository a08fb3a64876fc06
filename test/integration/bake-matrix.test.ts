/** The sub-action bake-matrix as the runner starts it, on real buildx and without any builder. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { RunningAction } from '../support/action.ts';

const folder = mkdtempSync(join(tmpdir(), 'matrix-'));
mkdirSync(join(folder, 'inner'));
writeFileSync(
  join(folder, 'inner', 'docker-bake.hcl'),
  `
variable "TAG" { default = "1" }
group "default" { targets = ["lint", "image"] }
target "lint" { output = ["type=cacheonly"] }
target "image" {
  tags = ["app:\${TAG}"]
  platforms = ["linux/amd64", "linux/arm64"]
}
`,
);
afterAll(() => rmSync(folder, { recursive: true }));

async function list(inputs: Record<string, string>) {
  const [, main = ''] = /^ {2}main: (.*)$/m.exec(readFileSync('bake-matrix/action.yml', 'utf8')) ?? [];
  const action = new RunningAction(inputs, { cwd: folder, main: join('bake-matrix', main) });
  const { code } = await action.ended;
  const { log, outputs } = action;
  action.remove();
  return { code, log, matrix: outputs['matrix'] ?? '', targets: outputs['targets'] ?? '' };
}

test('lists the targets of the default group', async () => {
  const { code, log, matrix, targets } = await list({ workdir: 'inner' });
  expect(code, log).toBe(0);
  expect(JSON.parse(matrix)).toEqual([{ target: 'image' }, { target: 'lint' }]);
  expect(JSON.parse(targets)).toEqual(['image', 'lint']);
});

test('fans out to every combination of the fields that are asked for', async () => {
  const { matrix } = await list({
    workdir: './inner',
    target: 'image,lint',
    fields: 'platforms\ntags',
    vars: 'TAG=2',
  });
  expect(JSON.parse(matrix)).toEqual([
    { target: 'image', platforms: 'linux/amd64', tags: 'app:2' },
    { target: 'image', platforms: 'linux/arm64', tags: 'app:2' },
    { target: 'lint' },
  ]);
});

test('tells what is wrong, with the input or the file that it is wrong with', async () => {
  const target = await list({ workdir: 'inner', target: 'missing' });
  expect(target.code).toBe(1);
  expect(target.log).toMatch(/::error::the folder has no readable bake definition: ERROR: .*missing/);
  const inputs = await list({ workdir: 'outer', target: '--push', files: '"x' });
  expect(inputs.log).toContain('::error::3 inputs need a change:');
  for (const name of ['workdir', 'target', 'files']) expect(inputs.log).toContain(`\`${name}\` is `);
});
