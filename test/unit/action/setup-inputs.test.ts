import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InputProblems, readDraft } from '../../../src/action/inputs.ts';
import { settlePlan } from '../../../src/build/draft-plan.ts';

const endpoint = 'tcp://pool-{arch}:1234';
const plan = (given: Readonly<Record<string, string>>) =>
  settlePlan(
    readDraft({
      read: (name) => given[name] ?? '',
      readWhole: (name) => given[name] ?? '',
      env: {},
      runnerArch: 'X64',
      workspace: process.cwd(),
    }),
    undefined,
  );
const problemsOf = (given: Readonly<Record<string, string>>): readonly string[] => {
  try {
    plan({ endpoint, ...given });
  } catch (error) {
    if (error instanceof InputProblems) return error.problems;
    throw error;
  }
  return [];
};

test('without anything to build or run, a step sets a builder up', () => {
  expect(plan({ endpoint })).toMatchObject({
    work: { kind: 'setup', name: undefined, use: true, hold: 'step', lingerMs: undefined, cleanup: true },
    nodes: [{ arch: 'amd64', platforms: [] }],
  });
  expect(
    plan({ endpoint, name: 'Mine.1', use: 'false', hold: 'job', linger: '5m', cleanup: 'False' }).work,
  ).toEqual({ kind: 'setup', name: 'Mine.1', use: false, hold: 'job', lingerMs: 300_000, cleanup: false });
});

test('platforms alone name the builders, in the order in which places are taken', () => {
  expect(plan({ endpoint, platforms: 'linux/arm64, linux/amd64\nlinux/arm/v7' })).toMatchObject({
    work: { kind: 'setup' },
    nodes: [
      { arch: 'amd64', endpoint: { host: 'pool-amd64' }, platforms: ['linux/amd64'] },
      { arch: 'arm64', endpoint: { host: 'pool-arm64' }, platforms: ['linux/arm64', 'linux/arm/v7'] },
    ],
  });
});

describe('problems name the input, the value and the remedy', () => {
  test.each([
    [{ name: 'default' }, '`name` is "default": begin with a letter, go on with at most 99'],
    [{ name: '../x' }, '`name` is "../x": begin with a letter'],
    [{ hold: 'forever' }, '`hold` is "forever": write step or job'],
    [{ linger: '30' }, '`linger` is "30": write a duration with its unit, such as 30s or 5m'],
    [{ linger: '100h' }, '`linger` is "100h": choose 24h or less; `hold: job` keeps it longer'],
    [{ use: 'yes' }, '`use` is "yes": write true or false'],
    [{ cleanup: '1' }, '`cleanup` is "1": write true or false'],
    [
      { run: './x.sh', hold: 'job' },
      '`hold` set up a builder for later steps, but `run` make this step use one itself',
    ],
    [
      { context: '.', name: 'x', use: 'true' },
      '`name`, `use` set up a builder for later steps, but `context`',
    ],
  ])('%j', (given, problem) => {
    const found = problemsOf(given);
    expect(found).toHaveLength(1);
    expect(found[0]?.startsWith(problem), found[0]).toBe(true);
  });
});

test('whatever is written there is a plan or a list of problems', () => {
  const text = fc.oneof(fc.string(), fc.constantFrom('', 'true', 'step', 'job', '30s', 'a', 'linux/arm64'));
  fc.assert(
    fc.property(
      fc.record({ name: text, use: text, hold: text, linger: text, cleanup: text, platforms: text }),
      (given) => {
        problemsOf(Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value.trim()])));
      },
    ),
    { numRuns: 1_000 },
  );
});
