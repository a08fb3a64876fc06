import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { INPUTS, type InputName, InputProblems, readPlan } from '../../../src/action/inputs.ts';
import { buildArguments } from '../../../src/build/arguments.ts';

const workspace = mkdtempSync(join(tmpdir(), 'workspace-'));
writeFileSync(join(workspace, 'Dockerfile.test'), 'FROM scratch\n');
afterAll(() => rmSync(workspace, { recursive: true }));

type Given = Partial<Record<InputName, string>>;
const plan = (given: Given, runnerArch = 'X64') =>
  readPlan({ read: (name) => given[name as InputName] ?? '', runnerArch, workspace });
const problemsOf = (given: Given, runnerArch?: string): readonly string[] => {
  try {
    plan(given, runnerArch);
  } catch (error) {
    if (error instanceof InputProblems) return error.problems;
    throw error;
  }
  return [];
};

const endpoint = 'tcp://pool-{arch}:1234';
const FILES = { imageId: '/iid', metadata: '/meta' };

test('a build takes every input to the argument it stands for, values untouched', () => {
  const { work } = plan({
    endpoint,
    context: '.',
    file: 'Dockerfile.test',
    tags: 'a:1, b:2\nc:3',
    'build-args': 'A=1,2\nB=x y\n',
    target: 'final',
    outputs: 'type=local,dest=out\ntype=tar,dest=x.tar',
    platforms: 'linux/amd64,linux/arm64',
    'no-cache': 'true',
  });
  expect(work.kind === 'build' && buildArguments(work, 'pool-1', FILES)).toEqual(
    [
      'build',
      ['--builder', 'pool-1', '--file', 'Dockerfile.test'],
      ['--tag', 'a:1', '--tag', 'b:2', '--tag', 'c:3'],
      ['--build-arg', 'A=1,2', '--build-arg', 'B=x y'],
      ['--target', 'final', '--output', 'type=local,dest=out', '--output', 'type=tar,dest=x.tar'],
      ['--platform', 'linux/amd64,linux/arm64', '--no-cache'],
      ['--iidfile', '/iid', '--metadata-file', '/meta', '.'],
    ].flat(),
  );
});

test('defaults: two hours in line, one more run for a lost builder, none for a script', () => {
  expect(plan({ endpoint, context: '.' }, 'ARM64')).toMatchObject({
    arch: 'arm64',
    endpoint: { host: 'pool-arm64' },
    queueTimeoutMs: 7_200_000,
    lostBuilderRetries: 1,
  });
  expect(plan({ endpoint, run: 'make image' })).toMatchObject({
    lostBuilderRetries: 0,
    work: { kind: 'run', script: 'make image' },
  });
  expect(plan({ endpoint, run: 'x', 'lost-builder-retries': '2' }).lostBuilderRetries).toBe(2);
  expect(
    plan({ endpoint, context: 'https://github.com/o/r.git#main:dir', push: 'true', tags: 'a' }).work,
  ).toMatchObject({
    push: true,
  });
});

describe('bad input', () => {
  test('is told all at once, each with its name, its value and the remedy', () => {
    const problems = problemsOf(
      {
        endpoint: 'tcp://pool',
        'queue-timeout': '-5m',
        'lost-builder-retries': 'many',
        context: 'nowhere',
        file: 'Dockerfile.none',
        push: 'yes',
        load: 'true',
        outputs: 'type=local,dest=out',
      },
      'S390X',
    );
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      `the runner's architecture is "S390X"`,
      '`endpoint` is "tcp',
      '`queue-timeout` is "-5m"',
      '`push` is "yes"',
      '`context` is "nowhere"',
      '`file` is "Dockerfile.none"',
      '`load` is "true"',
      '`lost-builder-retries` is "many"',
    ]);
  });

  test.each<[string, Given, string]>([
    ['no endpoint', { context: '.' }, '`endpoint` is not given'],
    ['no context', { endpoint, tags: 'a' }, '`context` is not given'],
    ['two things to do', { endpoint, run: 'x', context: '.' }, '`run` is given together with `context`'],
    [
      'push and load',
      { endpoint, context: '.', tags: 'a', push: 'true', load: 'true' },
      '`push` is true as well',
    ],
    ['push without a name', { endpoint, context: '.', push: 'true' }, 'give `tags`'],
    ['load of two platforms', { endpoint, context: '.', load: 'true', platforms: 'a,b' }, 'one platform'],
    [
      'push elsewhere',
      { endpoint, context: '.', tags: 'a', push: 'true', outputs: 'type=local,dest=x' },
      'elsewhere',
    ],
    ['a bare number', { endpoint, context: '.', 'queue-timeout': '90' }, 'with its unit'],
    ['no time at all', { endpoint, context: '.', 'queue-timeout': '0s' }, 'between 1s and 168h'],
    ['a month', { endpoint, context: '.', 'queue-timeout': '720h' }, 'between 1s and 168h'],
  ])('%s', (_, given, remedy) => {
    expect(problemsOf(given)).toHaveLength(1);
    expect(problemsOf(given)[0]).toContain(remedy);
  });

  test('of any shape ends in a plan or in listed problems, never in anything else', () => {
    const value = fc.oneof(
      fc.constantFrom('', 'true', 'false', '.', '1h', '3', endpoint),
      fc.string({ unit: 'binary' }),
    );
    const given = fc.dictionary(fc.constantFrom(...(Object.keys(INPUTS) as InputName[])), value);
    fc.assert(
      fc.property(given, fc.constantFrom('X64', 'ARM64', 'X86', ''), (inputs, arch) => {
        try {
          plan(inputs, arch);
        } catch (error) {
          expect(error).toBeInstanceOf(InputProblems);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
