import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderAction, renderReadme } from '../../../scripts/contract-text.ts';
import { INPUTS } from '../../../src/action/inputs.ts';
import { OUTPUTS } from '../../../src/action/outputs.ts';

test('action.yml is what the tables of inputs and outputs give: npm run contract', () => {
  expect(readFileSync('action.yml', 'utf8')).toBe(renderAction());
});

test('the README is what the tables of inputs and outputs give: npm run contract', () => {
  const readme = readFileSync('README.md', 'utf8');
  expect(readme).toBe(renderReadme(readme));
});

test('every input has one line that says what it is', () => {
  for (const [name, { description }] of Object.entries({ ...INPUTS }))
    expect(description, name).toMatch(/^[^\n]{10,400}$/);
});

test('every output is set by the code, and nothing else is', () => {
  const source = ['run-action', 'run-setup']
    .map((name) => readFileSync(`src/action/${name}.ts`, 'utf8'))
    .join('');
  const set = [...new Set([...source.matchAll(/setOutput\(\s*'([a-z-]+)'/g)].map(([, name]) => name))];
  expect(set.toSorted()).toEqual(Object.keys(OUTPUTS).toSorted());
});
