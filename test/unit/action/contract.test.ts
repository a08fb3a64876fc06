import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { DEFAULT_QUEUE_TIMEOUT, INPUTS } from '../../../src/action/inputs.ts';

interface Entry {
  readonly name: string;
  readonly description: string;
  readonly fallback: string;
}

/** The entries of one top-level section of action.yml, which is plain enough to be read by its indentation. */
function section(title: string): Entry[] {
  const entries: { name: string; description: string; fallback: string }[] = [];
  let within = false;
  for (const line of readFileSync('action.yml', 'utf8').split('\n')) {
    if (/^\S/.test(line)) within = line === `${title}:`;
    const name = /^ {2}([a-z-]+):$/.exec(line)?.[1];
    if (within && name !== undefined) entries.push({ name, description: '', fallback: '' });
    const [, key, value] = /^ {4}(description|default): (.*)$/.exec(line) ?? [];
    const entry = entries.at(-1);
    if (within && entry !== undefined && value !== undefined) {
      if (key === 'default') entry.fallback = value;
      else entry.description = value;
    }
  }
  return entries;
}

const readme = (marker: string) =>
  readFileSync('README.md', 'utf8').split(`<!-- ${marker} -->`)[1]?.split('<!-- end -->')[0]?.trim();

test('action.yml, the inputs module and the README tell of the same inputs', () => {
  const inputs = section('inputs');
  expect(inputs.map((input) => input.name)).toEqual([...INPUTS]);
  expect(inputs.find((input) => input.name === 'queue-timeout')?.fallback).toBe(DEFAULT_QUEUE_TIMEOUT);
  const rows = inputs.map(
    ({ name, fallback, description }) =>
      `| \`${name}\` | ${fallback && `\`${fallback}\` `}| ${description} |`,
  );
  expect(readme('inputs')).toBe(['| input | default | |', '| --- | --- | --- |', ...rows].join('\n'));
});

test('action.yml, the code and the README tell of the same outputs', () => {
  const outputs = section('outputs');
  const set = [...readFileSync('src/action/run-action.ts', 'utf8').matchAll(/setOutput\('([a-z-]+)'/g)].map(
    ([, name]) => name,
  );
  expect(set).toEqual(outputs.map((output) => output.name));
  const rows = outputs.map(({ name, description }) => `| \`${name}\` | ${description} |`);
  expect(readme('outputs')).toBe(['| output | |', '| --- | --- |', ...rows].join('\n'));
});
