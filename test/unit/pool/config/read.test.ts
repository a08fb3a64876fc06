import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readPool } from '../../../../src/pool/read.ts';
import { accept, problemsOf, writtenFiles } from '../../../support/pool-yaml.ts';

const MINIMAL = 'version: 1\npools:\n  buildkitd:\n    architectures:\n      amd64: {}\n';

test('three decisions suffice: a version, a name, an architecture', () => {
  const { file, warnings } = accept(MINIMAL);
  // The one decision that it lets pass: nobody is told.
  expect(warnings.map(({ key }) => key)).toEqual(['pools.buildkitd.monitoring']);
  expect(file.pools).toMatchObject([
    {
      name: 'buildkitd',
      namespace: 'buildkitd',
      autoscaling: 'keda',
      monitoring: 'none',
      profile: 'privileged',
      tls: { kind: 'terminate', certificates: { kind: 'cert-manager', issuer: null } },
      cache: { kind: 'node-local', path: '/var/lib/buildkit-pool' },
      exposure: { service: 'cluster', port: 1234, host: null, earlySettingsPort: null },
      architectures: [
        { name: 'amd64', min: 1, max: 4, spare: 0, buildersPerNode: 1, nodes: { kind: 'any' } },
      ],
    },
  ]);
});

test('every problem is told at once, with its line, its key, its value and the remedy', () => {
  const problems = problemsOf(`version: 1
cluster:
  kubernetes: 1.34
pools:
  Trusted:
    architectures: {amd64: {}}
  forks:
    builds:
      longest: 2
      typcal: 5m
    scale-down: {idle: 2h}
    exposure:
      service: load-balancer
    tls: {certificates: secrets, mode: passthrough}
    architectures:
      amd64:
        min: 8
        max: eight
        maxx: 4
      x86: {}
      arm64:
        min: 9
        max: 3
`);
  expect(problems).toEqual([
    "pool.yaml:3:3: error: cluster.kubernetes: `1.34` does not fit: write the cluster's version in quotes, '1.29' or later, such as '1.34'",
    'pool.yaml:5:3: error: pools.Trusted: `"Trusted"` is no name here: name the pool by a DNS label: lower-case letters, digits and dashes, a letter first',
    'pool.yaml:9:7: error: pools.forks.builds.longest: `2` does not fit: write a duration from 1m to 168h, such as 2h',
    'pool.yaml:10:7: error: pools.forks.builds.typcal: `"typcal"` is no key here; did you mean `typical`?',
    'pool.yaml:11:18: error: pools.forks.scale-down.idle: `"2h"` does not fit: write a duration from 1m to 1h (Kubernetes allows a stabilizationWindowSeconds of at most 3600), such as 20m',
    'pool.yaml:18:9: error: pools.forks.architectures.amd64.max: `"eight"` does not fit: write a whole number from 1 to 1000',
    'pool.yaml:19:9: error: pools.forks.architectures.amd64.maxx: `"maxx"` is no key here; did you mean `max`?',
    'pool.yaml:20:7: error: pools.forks.architectures.x86: `"x86"` is no key here; known here: `amd64`, `arm64`, `ppc64le`, `riscv64` or `s390x`',
  ]);
});

test('what values mean together is told in the same run as what does not fit, where it does not depend on it', () => {
  const problems = problemsOf(`version: 1
pools:
  buildkitd:
    monitoring: prometheus
    cache: {kind: volume, path: /cache}
    document: {port: 80}
    architectures:
      amd64: {min: 9, max: 3}
      arm64: {min: 9, maxx: 30}
`);
  expect(problems).toEqual([
    expect.stringMatching(
      /:4:5: error: .*monitoring: `"prometheus"` does not fit: write prometheus-operator or none/,
    ),
    expect.stringMatching(/:5:27: error: .*cache\.path: a volume is mounted where BuildKit wants it/),
    expect.stringMatching(/:6:16: error: .*document\.port: port 80 needs root/),
    expect.stringMatching(/:8:15: error: .*amd64\.min: 9 is more than max \(3\)/),
    // Not that 9 is more than the default of max, which was misspelt.
    expect.stringMatching(/:9:23: error: .*arm64\.maxx: .*did you mean `max`\?/),
  ]);
});

describe('YAML', () => {
  test.each([
    ['nothing', '', /1:1: error: the file is empty/],
    ['no map', '- a\n- b\n', /1:1: error: this is no pool\.yaml: write a map with version and pools/],
    ['a tab', 'version: 1\npools:\n\tb: {}\n', /3:\d+: error: not valid YAML/],
    ['a key twice', `${MINIMAL}version: 1\n`, /6:1: error: not valid YAML: Map keys must be unique/],
    ['two documents', `${MINIMAL}---\n${MINIMAL}`, /6:\d+: error: the file holds several YAML documents/],
    [
      'an unknown alias',
      'version: *v\npools: {}\n',
      /:1:10: error: not valid YAML: no anchor &v stands before the alias \*v/,
    ],
    ['no pools', 'version: 1\n', /error: pools: `pools` is missing: write a map of at least one pool/],
    [
      'empty pools',
      'version: 1\npools: {}\n',
      /2:1: error: pools: `\{\}` does not fit: write a map of at least one pool/,
    ],
    ['an empty key', `${MINIMAL}    tls:\n`, /6:5: error: pools\.buildkitd\.tls: `tls` is empty/],
    [
      'no architecture',
      'version: 1\npools:\n  b:\n    monitoring: prometheus-operator\n    architectures: {}\n',
      /5:5: error: .*has no architecture/,
    ],
    ['another version', MINIMAL.replace('1', '2'), /1:1: error: version: `2` does not fit: write version: 1/],
    ['a prototype', `${MINIMAL}__proto__: {min: 1}\n`, /error: __proto__: `"__proto__"` is no key here/],
  ])('%s: one line that says so', (_name, text, problem) => {
    const problems = problemsOf(text);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });

  test('a value that contains itself is refused like any other that does not fit', () => {
    expect(problemsOf('version: &a [*a]\npools: &p {b: *p}\n')).toEqual([
      expect.stringMatching(/:1:1: error: version: a list does not fit: write version: 1/),
      expect.stringMatching(/:2:\d+: error: pools\.b\.architectures: `architectures` is missing/),
      expect.stringMatching(/:2:\d+: error: pools\.b\.b: `"b"` is no key here/),
    ]);
  });

  test('aliases that multiply beyond reason are refused', () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) => `a${level + 1}: &a${level + 1} [${Array(9).fill(`*a${level}`).join(', ')}]`,
    );
    const problems = problemsOf(`a0: &a0 [x]\n${levels.join('\n')}\n`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/error: not usable YAML: Excessive alias count/);
  });

  test('anchors and merge keys work, and a problem is told where the value stands', () => {
    const problems = problemsOf(`version: 1
defaults: {monitoring: prometheus-operator}
pools:
  one: &one
    namespace: first
    builds: {typical: 3h}
    architectures: &both
      amd64: {}
  two:
    <<: *one
    namespace: second
`);
    expect(problems).toEqual([
      expect.stringMatching(/:6:14: error: pools\.one\.builds\.typical: 3h00m is longer/),
      expect.stringMatching(/:6:14: error: pools\.two\.builds\.typical: 3h00m is longer/),
    ]);
  });
});

describe('defaults of all pools', () => {
  test('a pool lays its sections over them, key by key, and an architecture its builds over those', () => {
    const { file } = accept(`version: 1
defaults:
  builds: {longest: 3h, typical: 20m}
  scale-down: {idle: 30m}
  monitoring: prometheus-operator
  tls: {lifetime: 1000h, renew-before: 500h}
pools:
  trusted:
    builds: {typical: 30m}
    architectures:
      amd64: {}
      arm64: {builds: {longest: 4h}}
  forks:
    monitoring: none
    tls: {renew-before: 400h}
    architectures: {amd64: {}}
`);
    const [trusted, forks] = file.pools;
    const minutes = (value: number | undefined) => (value ?? 0) / 60_000;
    expect(
      trusted?.architectures.map(({ builds }) => [minutes(builds.longestMs), minutes(builds.typicalMs)]),
    ).toEqual([
      [180, 30],
      [240, 30],
    ]);
    expect(minutes(forks?.architectures[0]?.builds.typicalMs)).toBe(20);
    expect([trusted?.monitoring, forks?.monitoring]).toEqual(['prometheus-operator', 'none']);
    expect(minutes(forks?.scaleDown.idleMs)).toBe(30);
    expect(forks?.tls).toMatchObject({
      certificates: { lifetimeMs: 3_600_000_000, renewBeforeMs: 1_440_000_000 },
    });
  });

  test('a problem with an inherited value is told where the value is written', () => {
    expect(
      problemsOf(`version: 1
defaults:
  monitoring: prometheus-operator
  builds: {longest: 10m}
pools:
  buildkitd:
    architectures:
      amd64:
        builds: {typical: 20m}
      arm64: {}
`),
    ).toEqual([
      expect.stringMatching(/:9:18: error: pools\.buildkitd\.architectures\.amd64\.builds\.typical/),
    ]);
    expect(
      problemsOf(
        'version: 1\ndefaults:\n  monitoring: prometheus-operator\n  scale-down: {grace: 1h}\npools:\n  buildkitd:\n    architectures: {amd64: {}}\n',
      ),
    ).toEqual([expect.stringMatching(/:4:16: error: defaults\.scale-down\.grace: 1h00m is too short/)]);
  });
});

test('whatever is in the file, reading it ends with an answer that names places in it', () => {
  const mangled = fc
    .tuple(
      writtenFiles,
      fc.array(
        fc.tuple(
          fc.nat(),
          fc.nat({ max: 12 }),
          fc.oneof(
            fc.string({ maxLength: 6 }),
            fc.constantFrom(
              '{',
              ']',
              ': ',
              '\n',
              '&a ',
              '*a',
              '<<: ',
              '- ',
              '!!x ',
              '"',
              '\t',
              '\u0000',
              '0x',
              '1e999',
              'null',
            ),
          ),
        ),
        {
          minLength: 1,
          maxLength: 4,
        },
      ),
    )
    .map(([text, cuts]) =>
      cuts.reduce((so, [at, length, put]) => {
        const start = at % (so.length + 1);
        return so.slice(0, start) + put + so.slice(start + length);
      }, text),
    );
  fc.assert(
    fc.property(fc.oneof(mangled, fc.string(), fc.json()), (text) => {
      const reading = readPool(text);
      const lines = text.split('\n').length;
      const problems = reading.kind === 'accepted' ? reading.warnings : reading.problems;
      if (reading.kind === 'refused')
        expect(problems.some(({ severity }) => severity === 'error')).toBe(true);
      for (const { line, column, message } of problems) {
        expect(line).toBeGreaterThanOrEqual(1);
        expect(line).toBeLessThanOrEqual(lines);
        expect(column).toBeGreaterThanOrEqual(1);
        expect(message).not.toMatch(/\n|Invalid input|undefined|\[object/);
      }
    }),
    { numRuns: 200 },
  );
});
