import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readPool } from '../../../../src/pool/read.ts';
import { accept, problemsOf, writtenFiles } from '../../../support/pool-yaml.ts';

const MINIMAL = 'version: 1\npools:\n  buildkitd:\n    architectures:\n      amd64: {}\n';

test('three decisions suffice: a version, a name, an architecture', () => {
  const { file, warnings } = accept(MINIMAL);
  expect(warnings).toEqual([]);
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

const FAULTY = `version: 1
cluster:
  kubernetes: 1.34
pools:
  Trusted:
    architectures: {amd64: {min: 9, max: 8}}
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
`;

test('every problem is told at once, with its line, its key, its value and the remedy', () => {
  const problems = problemsOf(FAULTY);
  expect(problems).toEqual([
    "pool.yaml:3:3: error: cluster.kubernetes: `1.34` does not fit: write the cluster's version in quotes, '1.30' or later, such as '1.34'",
    'pool.yaml:5:3: error: pools.Trusted: `"Trusted"` is no name here: name the pool by a DNS label: lower-case letters, digits and dashes, a letter first',
    'pool.yaml:6:29: error: pools.Trusted.architectures.amd64.min: 9 is more than max (8): lower min or raise max',
    expect.stringMatching(/:7:3: warning: pools\.forks\.monitoring: none, with TLS: /),
    'pool.yaml:9:7: error: pools.forks.builds.longest: `2` does not fit: write a duration from 1m to 168h, such as 2h',
    'pool.yaml:10:7: error: pools.forks.builds.typcal: `"typcal"` is no key here: did you mean `typical`?',
    'pool.yaml:11:18: error: pools.forks.scale-down.idle: `"2h"` does not fit: write a duration from 1m to 1h (Kubernetes allows a stabilizationWindowSeconds of at most 3600), such as 20m',
    'pool.yaml:12:5: error: pools.forks.exposure.host: `host` is missing: clients outside the cluster need a name for the load balancer; write it, such as {arch}.builders.example.com',
    expect.stringMatching(/:12:5: warning: pools\.forks\.exposure\.annotations: there are none, /),
    'pool.yaml:14:5: error: pools.forks.tls.secrets.builders: the Secret `builders` is needed with certificates: secrets; write its name',
    expect.stringMatching(/:14:34: warning: pools\.forks\.tls\.mode: passthrough: /),
    'pool.yaml:18:9: error: pools.forks.architectures.amd64.max: `"eight"` does not fit: write a whole number from 1 to 1000',
    'pool.yaml:19:9: error: pools.forks.architectures.amd64.maxx: `"maxx"` is no key here: did you mean `max`?',
    'pool.yaml:20:7: error: pools.forks.architectures.x86: `"x86"` is no key here: known here are `amd64`, `arm64`, `ppc64le`, `riscv64` or `s390x`',
    'pool.yaml:22:9: error: pools.forks.architectures.arm64.min: 9 is more than max (3): lower min or raise max',
  ]);
});

test('with what is told repaired, nothing is left to tell', () => {
  expect(
    problemsOf(
      [
        ['kubernetes: 1.34', "kubernetes: '1.34'"],
        ['Trusted:', 'trusted:'],
        ['{min: 9, max: 8}', '{min: 8, max: 8}'],
        ['longest: 2', 'longest: 2h'],
        ['typcal', 'typical'],
        ['idle: 2h', 'idle: 1h'],
        ['service: load-balancer', "service: load-balancer\n      host: '{arch}.example.com'"],
        ['mode: passthrough', 'mode: passthrough, secrets: {builders: tls}'],
        ['max: eight', 'max: 8'],
        ['        maxx: 4\n', ''],
        ['      x86: {}\n', ''],
        ['max: 3', 'max: 9'],
      ].reduce((text, [from = '', to = '']) => {
        expect(text).toContain(from);
        return text.replace(from, to);
      }, FAULTY),
    ),
  ).toEqual([
    expect.stringMatching(/warning: pools\.forks\.monitoring: none, with TLS: /),
    expect.stringMatching(/warning: pools\.forks\.exposure\.annotations: there are none, /),
    expect.stringMatching(/warning: pools\.forks\.tls\.mode: passthrough: /),
  ]);
});

test('what the schema wants is no reason to be silent about the rest', () => {
  const rest =
    'cluster: {karpenter: {discovery: ci}}\npools:\n  b:\n    tls: {issuer: {kind: Issuer}}\n    document: {port: 80}\n    architectures: ';
  expect(problemsOf(`version: 2\n${rest}5\n  c: {architectures: {amd64: {min: 5, max: 4}}}\n`)).toEqual([
    expect.stringMatching(/version: `2` does not fit/),
    expect.stringMatching(/karpenter\.role: `role` is missing/),
    expect.stringMatching(/issuer\.name: `name` is missing/),
    expect.stringMatching(/document\.port: port 80 needs root/),
    expect.stringMatching(/architectures: `5` does not fit/),
    expect.stringMatching(/c\.architectures\.amd64\.min: 5 is more than max/),
  ]);
  expect(
    problemsOf(`${rest}{amd64: {}}\n`).filter((line) => /version|role|name|port/.test(line)),
  ).toHaveLength(4);
});

test('a fault in the defaults hides what is read of them, and only where it is', () => {
  const problems = problemsOf(`version: 1
defaults:
  exposure: {service: loadbalancer}
  builds: {longest: 3}
  scale-down: {grace: 1h}
pools:
  own:
    builds: {longest: 2h}
    exposure: {service: load-balancer}
    architectures: {amd64: {}}
  inherited:
    architectures: {amd64: {builds: {typical: 3h}}}
`);
  expect(problems).toEqual([
    expect.stringMatching(/:3:14: error: defaults\.exposure\.service: `"loadbalancer"` does not fit/),
    expect.stringMatching(/:4:12: error: defaults\.builds\.longest: `3` does not fit/),
    expect.stringMatching(
      /:5:16: error: defaults\.scale-down\.grace: 1h00m is too short for amd64: its longest build of 2h/,
    ),
    expect.stringMatching(/:9:5: error: pools\.own\.exposure\.host: `host` is missing/),
    expect.stringMatching(/:9:5: warning: pools\.own\.exposure\.annotations: there are none, /),
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
    [
      'a pool that is a list',
      'version: 1\npools:\n  main:\n    - tls: off\n',
      /3:3: error: pools\.main: a list does not fit: write a map/,
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

describe('caches lie on the local disks of nodes that have some', () => {
  const file = (types: string, { ami = '', cache = '' } = {}) => `version: 1
cluster: {karpenter: {discovery: ci, role: nodes${ami === '' ? '' : `, ami: ${ami}`}}}
pools:
  b:
    cache: {${cache}}
    architectures: {amd64: {nodes: {instance-types: [${types}]}}}
`;
  const LOCAL = 'm6id.24xlarge, m5d.24xlarge';
  const ROOT =
    '{type: m7i.24xlarge, root-volume: 2Ti}, {type: m7i.48xlarge, cpu: 192, memory: 768Gi, root-volume: 2Ti}';
  const pathOf = (text: string) => accept(text).file.pools[0]?.cache;

  test.each([
    ['EKS', LOCAL, '', '/mnt/k8s-disks/0/buildkit-pool'],
    ['Bottlerocket', LOCAL, 'bottlerocket@latest', '/var/lib/kubelet/buildkit-pool'],
    ['some types without', `${LOCAL}, ${ROOT}`, '', '/mnt/k8s-disks/0/buildkit-pool'],
    ['none with', ROOT, '', '/var/lib/buildkit-pool'],
  ])('by default: %s', (_, types, ami, path) => {
    expect(pathOf(file(types, { ami }))).toEqual({ kind: 'node-local', path });
  });

  test.each([
    ['on the array', LOCAL, '', '/mnt/k8s-disks/0/caches', true],
    ["in kubelet's folder", LOCAL, '', '/var/lib/kubelet/caches', true],
    ['beside it', LOCAL, '', '/mnt/k8s-disks/00/caches', false],
    ['on the root volume', LOCAL, '', '/var/lib/buildkit-pool', false],
    ['where Bottlerocket has nothing', LOCAL, 'bottlerocket@latest', '/mnt/k8s-disks/0/caches', false],
    ['without local disks anywhere', ROOT, '', '/var/lib/buildkit-pool', true],
  ])('written: %s', (_, types, ami, path, isAccepted) => {
    const text = file(types, { ami, cache: `path: ${path}` });
    expect(problemsOf(text).filter((line) => line.includes(': error: '))).toEqual(
      isAccepted
        ? []
        : [
            expect.stringMatching(
              /:5:13: error: pools\.b\.cache\.path: .* is not on the local disks of amd64's/,
            ),
          ],
    );
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
