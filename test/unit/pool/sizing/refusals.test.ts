import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import { formatProblem, readPool } from '../../../../src/pool/read.ts';
import { CASES, fileOf, type Parts } from '../../../support/pool-faults.ts';
import { problemsOf } from '../../../support/pool-yaml.ts';

for (const [name, parts, problem] of CASES) {
  test(`${name}: one problem, with its reason and its remedy`, () => {
    const reading = readPool(fileOf(parts));
    const problems = (reading.kind === 'accepted' ? reading.warnings : reading.problems).map((each) => ({
      ...each,
      text: formatProblem('pool.yaml', each),
    }));
    const told = problems.filter(({ text }) => problem.test(text));
    expect(told, problems.map(({ text }) => text).join('\n')).toHaveLength(1);
    for (const { remedy, message, line } of told) {
      expect(message.endsWith(remedy)).toBe(true);
      expect(remedy).toMatch(
        /^[^:]*\b(write|leave|lower|raise|choose|use|put|take|shorten|make|name|give)\b/,
      );
      expect(line).toBeGreaterThan(1);
    }
    // Beside it at most warnings that come with the choice itself.
    const errors = problems.filter(({ severity, text }) => severity === 'error' && !problem.test(text));
    expect(errors.filter(({ text }) => !EXPECTED_BESIDE.some((also) => also.test(text)))).toEqual([]);
  });
}

/** Faults that never come alone. */
const EXPECTED_BESIDE = [/builders-per-node: a builder gets .* of (memory|disk)/];

describe('whatever faults a file has, none comes to light only when the others are gone', () => {
  const errorsAfterRepair = (parts: Parts) =>
    problemsOf(repair(fileOf(parts))).filter((line) => line.includes(': error: '));

  test('any two', () => {
    let pairs = 0;
    const late = CASES.flatMap(([first, one], index) =>
      CASES.slice(index + 1).flatMap(([second, other]) => {
        const both = merge(one, other);
        if (both === null) return [];
        pairs++;
        return errorsAfterRepair(both).length === 0 ? [] : [`${first} / ${second}`];
      }),
    );
    expect(pairs).toBeGreaterThan(1500);
    expect(late.toSorted()).toEqual(FOLLOWING.toSorted());
  }, 60_000);

  test('any number', () => {
    const following = FOLLOWING.map((pair) => pair.split(' / '));
    fc.assert(
      fc.property(fc.shuffledSubarray([...CASES], { minLength: 3, maxLength: 12 }), (cases) => {
        // What contradicts the earlier ones stays out, and so does what follows from one of them.
        const names: string[] = [];
        let all: Parts = { pool: {}, amd64: {} };
        for (const [name, parts] of cases) {
          const more = merge(all, parts);
          if (
            more === null ||
            following.some((pair) => pair.includes(name) && names.some((other) => pair.includes(other)))
          ) {
            continue;
          }
          names.push(name);
          all = more;
        }
        expect(errorsAfterRepair(all), names.join(' / ')).toEqual([]);
      }),
      { numRuns: 150 },
    );
  }, 60_000);
});

/** Pairs of which one fault reads what the other one leaves unsaid, or is none while the other one is there. */
const FOLLOWING: readonly string[] = [
  'a certificate that is renewed too late for a roll / no number without autoscaling',
  'no number without autoscaling / a burst that never ends',
  'one port without TLS for two architectures / ports beyond the last',
  'spare builders in a pool that should be empty / no number without autoscaling',
];

/** The file with what its errors ask for. */
function repair(text: string): string {
  const reading = readPool(text);
  if (reading.kind === 'accepted') return text;
  const file = parseDocument(text);
  const isFixed = file.getIn(['pools', 'buildkitd', 'autoscaling']) === 'off';
  const repairs: Readonly<Record<string, unknown>> = {
    'exposure.host': '{arch}.builds.example.com',
    'secrets.balancer': 'front',
    'secrets.balancer-client': 'middle',
    'secrets.builders': 'back',
    'size.disk': '500Gi',
    'nodes.instance-types': ['m6id.24xlarge', 'm5d.24xlarge'],
    ...(isFixed ? { replicas: 8 } : {}),
  };
  for (const { key, severity } of reading.problems) {
    if (severity === 'warning') continue;
    // A faulty item stands for its whole list.
    const path = key.replace(/\[\d+\].*$/, '').split('.');
    const put = repairs[path.at(-1) ?? ''] ?? repairs[path.slice(-2).join('.')];
    if (put === undefined) file.deleteIn(path);
    else file.setIn(path, put);
    for (const beside of BESIDE[path.slice(-2).join('.')] ?? [])
      file.deleteIn([...path.slice(0, -2), ...beside]);
  }
  return String(file);
}

/** What an error asks for may be another key than the one it stands at. */
const BESIDE: Readonly<Record<string, readonly (readonly string[])[]>> = {
  'tls.renew-before': [['tls', 'lifetime']],
  'nodes.instance-types': [['builder']],
};

test('nothing is told that another value of a faulty key would change', () => {
  const wrong: string[] = [];
  let told = 0;
  for (const [name, parts, problem] of CASES) {
    for (const [key, values] of Object.entries(VALUES)) {
      const path = ['pools', 'buildkitd', ...key.split('.')];
      const linesWith = (value: unknown) => {
        const file = parseDocument(fileOf(parts));
        if (value === undefined) file.deleteIn(path);
        else file.setIn(path, value);
        // Places move with the lines.
        return problemsOf(String(file))
          .filter((line) => problem.test(line))
          .map((line) => line.replace(/:\d+:\d+:/, ''));
      };
      let faulty: readonly string[];
      try {
        faulty = linesWith({ no: 'value' });
      } catch {
        continue; // Its parent is no map in this file.
      }
      // What is wrong with the key itself is told in its place.
      const [line] = faulty;
      if (line === undefined || line.includes(`.${key}: `)) continue;
      told++;
      const other = values.find((value) => !linesWith(value).includes(line));
      if (other !== undefined) wrong.push(`${name}: ${key} may be ${JSON.stringify(other)}`);
    }
  }
  expect(told).toBeGreaterThan(1000);
  expect(wrong).toEqual([]);
}, 120_000);

/** Values that each key may have. */
const VALUES: Readonly<Record<string, readonly unknown[]>> = {
  namespace: ['builds'],
  autoscaling: ['keda', 'off'],
  'builds.longest': ['1m', '10m', '5h'],
  'builds.typical': ['1m', '3h'],
  'builds.cold-start': ['1s', '1h'],
  'builds.burst': [1, 9000],
  'builds.queue-timeout': ['10m', '20h'],
  'scale-down.idle': ['5m', '1h'],
  'scale-down.period': ['1m', '30m'],
  'scale-down.grace': ['10m', '300h'],
  'scale-down.at-once': [{ builders: 1, percent: 1 }],
  tls: ['off', {}],
  'tls.mode': ['terminate', 'passthrough'],
  'tls.certificates': ['cert-manager', 'secrets'],
  'tls.lifetime': ['10h', '9000h'],
  'tls.renew-before': ['1h', '8000h'],
  'cache.kind': ['node-local', 'volume'],
  'cache.path': ['/mnt/k8s-disks/0/pool', '/data'],
  'exposure.service': ['cluster', 'load-balancer'],
  'exposure.ports': ['shared', 'per-architecture'],
  'exposure.port': [443, 65_535],
  'exposure.host': ['{arch}.example.com', 'example.com'],
  'exposure.early-settings': [1300, 1234],
  'exposure.clients': [{ namespaces: ['ci'] }],
  'balancer.metrics-port': [9000, 12_340],
  'document.port': [9000],
  'architectures.amd64.min': [0, 8],
  'architectures.amd64.max': [1, 1000],
  'architectures.amd64.replicas': [0, 4, 12],
  'architectures.amd64.spare': [0, 4],
  'architectures.amd64.fallback': [1, 8],
  'architectures.amd64.ceiling': [8, 400],
  'architectures.amd64.builders-per-node': [1, 4],
  'architectures.amd64.builder.cpu': [1, 40],
  'architectures.amd64.builder.memory': ['1Gi', '300Gi'],
  'architectures.amd64.builder.disk': ['10Gi', '4Ti'],
  'architectures.amd64.nodes.reserve': [{ cpu: 8, memory: '100Gi' }],
  'architectures.amd64.nodes.capacity': ['spot', 'on-demand'],
  'architectures.amd64.nodes.accept-lost-builds': [true, false],
  'architectures.arm64': [{}, { max: 9 }],
};

/** Null where they contradict each other. */
function merge(one: Parts, other: Parts): Parts | null {
  try {
    return mergeMaps(one, other) as Parts;
  } catch (error) {
    if (error === CONTRADICTION) return null;
    throw error;
  }
}

const CONTRADICTION = Symbol('contradiction');

function mergeMaps(one: unknown, other: unknown): unknown {
  if (one === undefined || other === undefined) return one ?? other;
  if (JSON.stringify(one) === JSON.stringify(other)) return one;
  const isMap = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isMap(one) || !isMap(other)) throw CONTRADICTION;
  const [left, right] = [one, other] as Record<string, unknown>[];
  return Object.fromEntries(
    [...new Set([...Object.keys(left ?? {}), ...Object.keys(right ?? {})])].map((key) => [
      key,
      mergeMaps(left?.[key], right?.[key]),
    ]),
  );
}

test('with monitoring, certificates that last, or no TLS, nobody has to be told', () => {
  const warned = (pool: Parts['pool']) =>
    problemsOf(fileOf({ pool, amd64: {} })).filter((line) => line.includes('nobody is told'));
  const tls = { issuer: { name: 'company' } };
  expect(warned({ tls })).toEqual([expect.stringContaining('(30 days)')]);
  expect(warned({ tls, monitoring: 'prometheus-operator' })).toEqual([]);
  expect(warned({})).toEqual([]);
  expect(warned({ tls: 'off' })).toEqual([]);
});

test('two pools that would share an object are told apart or refused', () => {
  const two = (first: string, second: string) => `version: 1
defaults: {monitoring: prometheus-operator}
pools:
  trusted:
    ${first}
    architectures: {amd64: {}}
  trusted-amd64:
    ${second}
    architectures: {amd64: {}}
`;
  const load = 'exposure: {service: load-balancer, host: a.example.com, annotations: {a: b}}';
  expect(
    problemsOf(
      two('namespace: builds', `{namespace: builds, ${load}}`.slice(1, -1).split(', exp').join('\n    exp')),
    ),
  ).toEqual([
    expect.stringMatching(
      /pools\.trusted-amd64: pools trusted and trusted-amd64 would both have an object `builds\/trusted-amd64`/,
    ),
  ]);
  expect(problemsOf(two('namespace: one', `namespace: two\n    ${load}`))).toEqual([]);
});

test('a name that Kubernetes cannot label is refused before anything is rendered', () => {
  const name = 'a'.repeat(40);
  expect(
    problemsOf(
      `version: 1\npools:\n  ${name}:\n    monitoring: prometheus-operator\n    architectures: {amd64: {}}\n`,
    ),
  ).toEqual([expect.stringMatching(/54 characters, more than the 52 .*shorten the pool's name by 2/)]);
});
