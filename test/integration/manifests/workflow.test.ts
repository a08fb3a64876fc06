import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { ensurePrograms } from '../../../src/local/programs.ts';
import { exampleNamed, type Tree } from '../../support/examples.ts';

const WORKFLOW = '.github/workflows/e2e-kind.yml';

test('actionlint passes the workflow that applies the example to a cluster', async () => {
  const programs = await ensurePrograms(['actionlint', 'shellcheck'], {
    install: true,
    log: (line) => console.error(line),
  });
  const result = await promisify(execFile)(programs.actionlint, [
    '-shellcheck',
    programs.shellcheck,
    WORKFLOW,
  ]).catch((error: Tree) => error);
  expect(`${result.stdout}${result.stderr}`).toBe('');
  // They may have to be fetched.
}, 600_000);

test('it has the least permissions, and actions are pinned by commit', async () => {
  const workflow = parse(await readFile(WORKFLOW, 'utf8')) as Tree;
  expect(workflow.permissions).toEqual({});
  for (const job of Object.values<Tree>(workflow.jobs)) {
    expect(job.permissions).toEqual({ contents: 'read' });
    const used = job.steps.flatMap(({ uses }: Tree) => (uses === undefined ? [] : [uses]));
    expect(used.length).toBeGreaterThan(0);
    for (const action of used) {
      expect(action).toMatch(/@[0-9a-f]{40}$/);
    }
  }
});

test('it asks for names that the example has', async () => {
  const text = await readFile(WORKFLOW, 'utf8');
  const names = [...text.matchAll(/get service (\S+) /g)].map(([, name]) => name ?? '');
  expect(names.length).toBeGreaterThan(2);
  for (const name of names) {
    await expect(readFile(`${exampleNamed('kind').folder}/service-${name}.yaml`, 'utf8')).resolves.toContain(
      `name: ${name}`,
    );
  }
});
