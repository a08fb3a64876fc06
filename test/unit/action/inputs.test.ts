import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { parseList } from '../../../src/action/inputs/list.ts';
import { INPUTS, type InputName, InputProblems, readDraft } from '../../../src/action/inputs.ts';
import { settlePlan } from '../../../src/build/draft-plan.ts';
import { secretValues } from '../../../src/build/work.ts';
import { workCommand } from '../../../src/build/work-command.ts';
import { CsvProblem, joinFields, parseFields } from '../../../src/csv.ts';

const workspace = mkdtempSync(join(tmpdir(), 'workspace-'));
writeFileSync(join(workspace, 'Dockerfile.test'), 'FROM scratch\n');
writeFileSync(join(workspace, 'bake.hcl'), '');
afterAll(() => rmSync(workspace, { recursive: true }));

type Given = Partial<Record<InputName, string>>;
type Env = Readonly<Record<string, string>>;
const draft = (given: Given, runnerArch = 'X64', env: Env = {}) =>
  readDraft({
    read: (name) => (given[name as InputName] ?? '').trim(),
    readWhole: (name) => given[name as InputName] ?? '',
    env,
    runnerArch,
    workspace,
  });
const plan = (given: Given, runnerArch?: string, env?: Env) =>
  settlePlan(draft(given, runnerArch, env), undefined);
const problemsOf = (given: Given, runnerArch?: string, env?: Env): readonly string[] => {
  try {
    draft(given, runnerArch, env);
  } catch (error) {
    if (error instanceof InputProblems) return error.problems;
    throw error;
  }
  return [];
};

const endpoint = 'tcp://pool-{arch}:1234';
const JOB = { GITHUB_REPOSITORY: 'octo/app', GITHUB_SHA: 'abc', GITHUB_REF: 'refs/heads/main' };

test('defaults: two hours in line, one more run for a lost builder, none for a script', () => {
  expect(plan({ endpoint, context: '.' }, 'ARM64')).toMatchObject({
    nodes: [{ arch: 'arm64', endpoint: { host: 'pool-arm64' } }],
    fallback: 'none',
    queueTimeoutMs: 7_200_000,
    lostBuilderRetries: 1,
  });
  expect(plan({ endpoint, targets: 'app' }, 'X64', JOB).lostBuilderRetries).toBe(1);
  expect(plan({ endpoint, run: 'make image' })).toMatchObject({
    lostBuilderRetries: 0,
    work: { kind: 'run', script: 'make image', platforms: [] },
  });
  expect(plan({ endpoint, run: 'x', 'lost-builder-retries': '2' }).lostBuilderRetries).toBe(2);
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
        'no-cache': '0',
      },
      'S390X',
    );
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      '`queue-timeout` is "-5m"',
      '`no-cache` is "0"',
      '`push` is "yes"',
      '`context` is "nowhere"',
      '`file` is "Dockerfile.none"',
      '`lost-builder-retries` is "many"',
      `the runner's architecture is "S390X"`,
      '`endpoint` is "tcp',
    ]);
  });

  test.each<[string, Given, string]>([
    ['no endpoint', { context: '.' }, '`endpoint` is not given'],
    [
      'a builder for later steps and a build',
      { endpoint, name: 'mine', context: '.' },
      '`name` set up a builder for later steps, but `context` make this step use one itself',
    ],
    ['a fallback without a build', { endpoint, fallback: 'local' }, "can't be changed for another"],
    ['an unknown fallback', { endpoint, context: '.', fallback: 'cloud' }, 'write none or local'],
    ['an old buildx', { endpoint, context: '.', 'buildx-version': '0.15.1' }, 'choose 0.16.0 or newer'],
    ['no version', { endpoint, context: '.', 'buildx-version': 'new' }, 'write a version such as v0.36.1'],
    ['no context', { endpoint, tags: 'a' }, '`context` is not given'],
    ['no bake files', { endpoint, targets: 'a' }, '`source` is not given'],
    ['two things to do', { endpoint, run: 'x', context: '.' }, '`run` is given together with `context`'],
    [
      'a script and a bake',
      { endpoint, run: 'x', targets: 'a', push: 'false' },
      '`run` is given together with `targets`, `push`',
    ],
    [
      'a build and a bake',
      { endpoint, context: '.', tags: 'a', targets: 'b', pull: 'true' },
      '`context`, `tags` say how to build one image, and `targets` which targets',
    ],
    ['push without a name', { endpoint, context: '.', push: 'true' }, 'give `tags`'],
    [
      'push without a name, elsewhere',
      { endpoint, context: '.', push: 'true', outputs: 'type=local,dest=name=x' },
      'give `tags`',
    ],
    [
      'all stages anew, and some',
      { endpoint, context: '.', 'no-cache': 'true', 'no-cache-filters': 'a,b' },
      '`no-cache-filters` is "a,b": `no-cache` is true',
    ],
    ['quotes that do not match', { endpoint, context: '.', tags: '"a' }, '`tags` is "\\"a": its double'],
    ['an output that is no CSV', { endpoint, context: '.', outputs: '"type=local' }, '`outputs` is'],
    ['provenance that is no CSV', { endpoint, context: '.', provenance: '"mode=max' }, '`provenance` is'],
    ['attestations that are no CSV', { endpoint, context: '.', attests: '"type=sbom' }, '`attests` is'],
    ['another template', { endpoint, context: '{{ github.sha }}' }, 'only {{defaultContext}} can stand'],
    [
      'a template without a job',
      { endpoint, context: '{{defaultContext}}' },
      'there is no default context here',
    ],
    ['a folder that looks like a flag', { endpoint, context: '--push' }, '`context` is "--push"'],
    ['a target that looks like a flag', { endpoint, source: '.', targets: '--push' }, 'not begin with -'],
    ['a missing bake file', { endpoint, source: '.', files: 'bake.hcl,b.hcl' }, '`files` is "b.hcl"'],
    ['a remote bake file', { endpoint, source: '.', files: 'https://a/b.hcl' }, 'is given by `source`'],
    ['a missing bake folder', { endpoint, source: './nowhere' }, '`source` is "./nowhere"'],
    ['a bare number', { endpoint, context: '.', 'queue-timeout': '90' }, 'with its unit'],
    ['no time at all', { endpoint, context: '.', 'queue-timeout': '0s' }, 'between 1s and 168h'],
    ['a month', { endpoint, context: '.', 'queue-timeout': '720h' }, 'between 1s and 168h'],
  ])('%s', (_, given, remedy) => {
    expect(problemsOf(given)).toEqual([expect.stringContaining(remedy)]);
  });

  test('of a variable that docker’s own Actions read', () => {
    const env = { BUILDX_NO_DEFAULT_ATTESTATIONS: 'perhaps' };
    expect(problemsOf({ endpoint, context: '.' }, 'X64', env)).toEqual([
      '`BUILDX_NO_DEFAULT_ATTESTATIONS` is "perhaps": write true or false in this variable, or unset it',
    ]);
  });

  test('never tells a secret', () => {
    const secrets = 'A=hidden-1\n"B=hidden-2';
    const told = problemsOf({ endpoint, context: 'nowhere', secrets, 'github-token': 'hidden\0-3' }).join();
    expect(told).toContain('`secrets`: its double quotes do not match');
    expect(told).toContain('`github-token`: remove the NUL character');
    expect(told).not.toContain('hidden');
  });
});

describe('the inputs choose the mode', () => {
  test.each<[string, Given]>([
    ['build', { context: '.' }],
    ['build', { push: 'false' }],
    ['build', { pull: 'true' }],
    ['build', { tags: 'a', platforms: 'linux/amd64', 'github-token': 'x' }],
    ['bake', { targets: 'a' }],
    ['bake', { files: 'docker-bake.hcl', push: 'true', 'no-cache': 'false' }],
    ['bake', { source: '.', platforms: 'linux/amd64,linux/arm64' }],
    ['run', { run: 'make', platforms: 'linux/arm64' }],
  ])('%s: %j', (kind, given) => {
    expect(plan({ endpoint, ...given }, 'X64', JOB).work).toMatchObject({
      kind,
      platforms: given.platforms?.split(',') ?? [],
    });
  });
});

test('what has no effect is said, and keeps nothing from being done', () => {
  expect(plan({ endpoint, context: '.', builder: 'mine' }).warnings).toEqual([
    '`builder` is "mine" and has no effect: the work is done on a builder of the pool',
  ]);
  const { warnings, work } = plan({
    endpoint,
    context: '.',
    secrets: 'EMPTY=\nno sign\n=hidden\nGOOD=hidden',
    'secret-files': 'FILE=nowhere',
  });
  expect(warnings).toEqual([
    '`secrets`: the secret "EMPTY" has no value; left out',
    '`secrets`: one item has no id before a =; left out',
    '`secrets`: one item has no id before a =; left out',
    '`secret-files`: the file of the secret "FILE" does not exist; left out',
  ]);
  expect(secretValues(work)).toEqual(['hidden']);
});

test('an event that can’t be read counts as one of a private repository', () => {
  const event = join(workspace, 'event.json');
  const attests = (content: string) => {
    writeFileSync(event, content);
    const { work } = plan({ endpoint, context: '.' }, 'X64', { GITHUB_EVENT_PATH: event });
    return work.kind === 'build' ? work.attests : [];
  };
  expect(attests('{"repository":{"private":false}}')).toEqual(['type=provenance,mode=max']);
  expect(attests('{"repository":')).toEqual(['type=provenance,mode=min,inline-only=true']);
});

describe('a list', () => {
  /** Text without anything that CSV gives a meaning to. */
  const plain = fc.stringMatching(/^[^\s",\ufeff]([^",\r\n]*[^\s",])?$/);

  test('of plain items is read the same however it is separated', () => {
    const separator = fc.constantFrom(',', '\n', ' ,', '\n\n', ',\n');
    fc.assert(
      fc.property(fc.array(fc.tuple(plain, separator)), (items) => {
        const text = items.map(([item, after]) => `${item}${after}`).join('');
        expect(parseList(text)).toEqual(items.map(([item]) => item));
      }),
    );
  });

  test('where commas belong to the value keeps whatever is enclosed in quotes', () => {
    const anything = fc.string({ minLength: 1 }).filter((text) => text.trim() !== '');
    fc.assert(
      fc.property(fc.array(anything, { minLength: 1 }), (items) => {
        const text = items.map((item) => `"${item.replaceAll('"', '""')}"`).join('\n');
        expect(parseList(text, { commas: 'belong', whiteSpace: 'keep' })).toEqual(items);
      }),
    );
  });

  test('of fields is the same after it was joined and read again', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ minLength: 1 }), { minLength: 1 }), (fields) => {
        expect(parseFields(joinFields(fields))).toEqual(fields);
      }),
    );
  });

  test('of any text is items or a problem, which holds nothing of the text', () => {
    const form = fc.record({
      commas: fc.constantFrom('separate' as const, 'belong' as const),
      quotes: fc.constantFrom('enclose' as const, 'belong' as const),
      whiteSpace: fc.constantFrom('trim' as const, 'keep' as const),
    });
    const text = fc.string({
      unit: fc.constantFrom('a', '"', ',', '\n', '\r', ' ', '=', '\ufeff', 'ü'),
    });
    fc.assert(
      fc.property(text, form, (list, given) => {
        try {
          for (const item of parseList(list, given)) expect(item.trim()).not.toBe('');
        } catch (error) {
          expect(error).toBeInstanceOf(CsvProblem);
          expect((error as Error).message).toMatch(/^its double quotes do not match; /);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

/** Everything that can be wrong with the value of an input. */
const REMEDIES = [
  'give the address of the pool, ',
  '(it|the) .*; ',
  'its double quotes do not match; ',
  'write a duration with its unit, ',
  'choose between 1s and 168h$',
  'write a whole number from 0 to 10$',
  'write true or false$',
  'there is nothing to call the image; give `tags`$',
  "Docker's format holds one platform, and `platforms` has several; write type=oci$",
  '`no-cache` is true, which means every stage; leave one of them out$',
  "and the job's repository is unknown ",
  'no such (folder|file) in ',
  'a folder whose name begins with - is written ',
  'a target does not begin with -$',
  'a remote definition is given by `source`$',
  '.* is unknown: only {{defaultContext}} can stand in double braces$',
  'there is no default context here ',
  'write the URL of the pool document, ',
  'choose between 1s and (168h|10m)$',
  'write a whole number from 1 to ',
  'write seconds such as 15, or a duration such as 15s$',
  'begin with a letter, go on with at most 99 ',
  'write step or job$',
  'choose 24h or less; ',
  'write none or local$',
  "a builder set up for later steps can't be changed for another",
  'write a version such as v0.36.1, or latest$',
  'choose 0.16.0 or newer: ',
];
/** And everything that can be said of the inputs at all. */
const LISTED = [
  /^the runner's architecture is ".*": pools serve X64 and ARM64; use such a runner, or say in `platforms` what to build$/s,
  /^(`[a-z-]+`(, )?)+ set up a builder for later steps, but (`[a-z-]+`(, )?)+ make this step use one itself: use two steps$/,
  /^`run` is given together with (`[a-z-]+`(, )?)+: a step either runs a script or builds; use two steps$/,
  /^(`[a-z-]+`(, )?)+ say how to build one image, and (`[a-z-]+`(, )?)+ which targets of a bake file/,
  /^`secrets`: its double quotes do not match; /,
  /^`[a-z-]+`: remove the NUL character$/,
  /^`[A-Z_]+` is ".*": write (true or false in this variable, or unset it|the URL of the Git server in this variable)$/s,
  /^`platforms` holds ".*"(: write platforms as os\/architecture, |, which the endpoint has no builders for: it builds )/s,
  /^`pool` carries a user name or password, which would end up in logs; write the URL/,
  /^`(ca|cert|key|server-name)` (is neither PEM nor the path of a file that can be read \(|holds no |holds a certificate that |is not given, but `|is no host name: )/,
  /^`[a-z-]+` and `[a-z-]+` are both given, and differ: .* is another name of .*; leave one of them out$/,
  /^`queue-timeout` is given together with `connect-attempts` or `connect-delay`: /,
  new RegExp(`^\`[a-z-]+\` is (not given|".*"): (${REMEDIES.join('|')})`, 's'),
];

test('a run whose number is no number is told to the provenance as one field', () => {
  const { work } = draft({ endpoint, context: '.', provenance: 'mode=max' }, 'X64', {
    ...JOB,
    GITHUB_RUN_ID: ',"',
  });
  if (work.kind !== 'build') throw new Error(work.kind);
  const [attest = ''] = work.attests;
  expect(parseFields(attest).at(-1)).toMatch(/^builder-id=.*,"/);
});

test('a variable that is nothing but slashes is named with its value', () => {
  expect(() => draft({ endpoint, context: '.' }, 'X64', { ...JOB, GITHUB_SERVER_URL: '/' })).toThrow(
    '`GITHUB_SERVER_URL` is "/": write the URL of the Git server',
  );
});

test('1,000 sets of inputs of any shape end in a plan or in listed problems, never in anything else', () => {
  const value = fc.oneof(
    fc.constantFrom('', 'true', 'false', '.', '1h', '3', endpoint, 'bake.hcl', '{{defaultContext}}', '{{x}}'),
    fc.constantFrom('type=local,dest=x', 'type=docker', '"type=image', 'a=b\n"c=d', '-x', 'a,,b', '""'),
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '=', '{', '}', '-', ' ', '\0') }),
  );
  const given = fc.dictionary(fc.constantFrom(...(Object.keys(INPUTS) as InputName[])), value, {
    maxKeys: 4,
  });
  const env = fc.dictionary(
    fc.constantFrom(
      ...['GITHUB_REPOSITORY', 'GITHUB_SHA', 'GITHUB_REF', 'GITHUB_SERVER_URL', 'GITHUB_RUN_ID'],
      ...['GITHUB_EVENT_PATH', 'BUILDX_NO_DEFAULT_ATTESTATIONS', 'BUILDX_SEND_GIT_QUERY_AS_INPUT'],
    ),
    fc.oneof(fc.constantFrom('octo/app', 'true', 'refs/pull/1/merge', 'https://ghe'), fc.string()),
    { maxKeys: 2 },
  );
  const seen = { plans: 0, problems: 0 };
  fc.assert(
    fc.property(given, env, fc.constantFrom('X64', 'ARM64', 'X86'), (inputs, variables, arch) => {
      try {
        const { work } = draft({ endpoint, ...inputs }, arch, { ...JOB, ...variables });
        seen.plans += 1;
        // What was accepted can be made into a command, too.
        const files = { imageId: '/iid', metadata: '/meta' };
        if (work.kind !== 'run' && work.kind !== 'setup')
          workCommand(work, { builder: 'b', files, definition: { target: { a: {} } } });
      } catch (error) {
        if (!(error instanceof InputProblems)) throw error;
        seen.problems += 1;
        const unlisted = error.problems.filter((problem) => !LISTED.some((listed) => listed.test(problem)));
        expect(unlisted).toEqual([]);
      }
    }),
    { numRuns: 1_000 },
  );
  // Both ends were met often enough to mean something.
  expect(Math.min(seen.plans, seen.problems)).toBeGreaterThan(25);
});
