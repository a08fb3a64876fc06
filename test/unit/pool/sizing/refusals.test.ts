import { expect, test } from 'vitest';
import { problemsOf } from '../../../support/pool-yaml.ts';

/** A file of one pool: sections of the pool, and keys of amd64, as flow or block YAML. */
function file(pool: string, amd64 = 'max: 8', arm64 = ''): string {
  return `version: 1
cluster: {karpenter: {discovery: ci, role: nodes}}
pools:
  buildkitd:
${indent(pool, 4)}
    architectures:
      amd64:
${indent(amd64, 8)}
${arm64 === '' ? '' : `      arm64:\n${indent(arm64, 8)}`}
`;
}

function indent(text: string, by: number): string {
  return text.replaceAll(/^/gm, ' '.repeat(by));
}

const NODES = (more: string) => `nodes: {instance-types: [m6id.24xlarge, m5d.24xlarge]${more}}`;

/** What is refused or warned about, and with what reason. Each file has that one fault only. */
const CASES: readonly (readonly [name: string, file: string, problem: RegExp])[] = [
  ['min above max', file('', 'min: 9\nmax: 8'), /error: .*amd64\.min: 9 is more than max \(8\)/],
  [
    'a grace period shorter than the longest build',
    file('builds: {longest: 3h}\nscale-down: {grace: 2h}'),
    /error: .*scale-down\.grace: 2h00m is too short for amd64: its longest build of 3h00m would be killed/,
  ],
  [
    'a grace period that leaves the drain no time for its looks',
    file('builds: {longest: 2h}\nscale-down: {grace: 2h1m}'),
    /error: .*scale-down\.grace: .* 2h01m: write that or more/,
  ],
  [
    'spot nodes with long builds',
    file('', NODES(', capacity: spot')),
    /error: .*nodes\.capacity: spot nodes give 2m00s of notice and the longest build takes 2h00m.*accept-lost-builds: true/,
  ],
  [
    'the same, accepted',
    file('', NODES(', capacity: spot, accept-lost-builds: true')),
    /warning: .*nodes\.capacity: .*accepted by accept-lost-builds/,
  ],
  [
    'a window that Kubernetes refuses',
    file('scale-down: {idle: 61m}'),
    /error: .*scale-down\.idle: `"61m"` does not fit: write a duration from 1m to 1h \(Kubernetes allows a stabilizationWindowSeconds of at most 3600\)/,
  ],
  [
    'a period that Kubernetes refuses',
    file('scale-down: {idle: 1h, period: 31m}'),
    /error: .*scale-down\.period: .*periodSeconds of at most 1800/,
  ],
  [
    'a period longer than the window',
    file('scale-down: {idle: 10m, period: 20m}'),
    /error: .*scale-down\.period: 20m00s is longer than the idle time \(10m00s\)/,
  ],
  [
    'a certificate that is renewed too late for a roll',
    file('tls: {lifetime: 24h, renew-before: 2h}'),
    /error: .*tls\.renew-before: 2h00m is not longer than a roll of all builders \(2h18m\): buildkitd reads its certificate at start only/,
  ],
  [
    'a certificate that is renewed before it is made',
    file('tls: {lifetime: 720h, renew-before: 720h}'),
    /error: .*tls\.renew-before: 720h00m is not less than the lifetime/,
  ],
  [
    'a certificate that leaves less than a day',
    file('tls: {lifetime: 72h, renew-before: 24h}'),
    /warning: .*tls\.renew-before: 24h00m leaves less than a day beyond a roll/,
  ],
  [
    'an open pool without TLS',
    file('tls: off\nexposure: {service: load-balancer, host: "{arch}.example.com"}'),
    /error: .*tls: off, together with a load balancer that anybody may reach/,
  ],
  [
    'certificates of which nobody hears when they end',
    file('tls: {certificates: secrets, secrets: {balancer: a, balancer-client: b, builders: c}}'),
    /warning: .*\.monitoring: none, with TLS: nobody is told .* \(30 days\).*write prometheus-operator/,
  ],
  ['no TLS at all', file('tls: off'), /warning: .*tls: off: whoever reaches the pool runs any code/],
  [
    'a load balancer without a name',
    file('exposure: {service: load-balancer}'),
    /error: .*exposure\.host: `host` is missing/,
  ],
  [
    'one port and one name for two architectures',
    file('exposure: {service: load-balancer, host: builds.example.com, ports: shared}', 'max: 8', 'max: 8'),
    /error: .*exposure\.host: .*put \{arch\} into it/,
  ],
  [
    'a port of two owners',
    file('balancer: {metrics-port: 12340}'),
    /error: .*balancer\.metrics-port: port 12340 is taken/,
  ],
  ['a port that needs root', file('document: {port: 80}'), /error: .*document\.port: port 80 needs root/],
  [
    'fallback below min',
    file('', 'min: 4\nmax: 8\nfallback: 2'),
    /error: .*fallback: 2 is less than min \(4\)/,
  ],
  ['fallback above max', file('', 'max: 8\nfallback: 9'), /error: .*fallback: 9 is more than max \(8\)/],
  [
    'spare builders in a pool that should be empty',
    file('', 'min: 0\nmax: 8\nspare: 2'),
    /error: .*spare: 2 spare builders and min: 0: the pool could never be empty/,
  ],
  [
    'a fixed number under autoscaling',
    file('', 'max: 8\nreplicas: 4'),
    /error: .*replicas: a fixed number under autoscaling would reset the pool at every apply/,
  ],
  ['no number without autoscaling', file('autoscaling: off'), /error: .*replicas: `replicas` is missing/],
  [
    'builds that are longer than the longest',
    file('builds: {longest: 10m, typical: 20m}'),
    /error: .*builds\.typical: 20m00s is longer than the longest \(10m00s\)/,
  ],
  [
    'a wait beyond the exact order',
    file('builds: {queue-timeout: 30h}'),
    /warning: .*queue-timeout: 30h00m: the order of the line is exact for waits of up to a day/,
  ],
  [
    'a builder too large for its node',
    file('', `${NODES('')}\nbuilders-per-node: 2\nbuilder: {cpu: 60}`),
    /error: .*nodes\.instance-types\[0\]: a m6id\.24xlarge has 95\.19 cores.*too little for 2 of 60 cores/,
  ],
  [
    'a second type on which no builder fits',
    file('', 'nodes: {instance-types: [m6id.24xlarge, m6id.4xlarge]}'),
    /error: .*nodes\.instance-types\[1\]: a m6id\.4xlarge has 15\.39 cores/,
  ],
  [
    'a node whose half is never used',
    file('', 'nodes: {instance-types: [m6id.16xlarge, m6id.24xlarge]}'),
    /warning: .*nodes\.instance-types\[1\]: a m6id\.24xlarge .* more than a quarter of it is never used/,
  ],
  [
    'builders that are too small to build',
    file('', 'nodes: {selector: {a: b}, size: {cpu: 2, memory: 16Gi, disk: 500Gi}}\nbuilders-per-node: 8'),
    /error: .*builders-per-node: a builder gets 0 cores of cpu .*fewer builders a node/,
  ],
  [
    'an instance type of another architecture',
    file('', 'nodes: {instance-types: [m6id.24xlarge, m7gd.16xlarge]}'),
    /error: .*nodes\.instance-types\[1\]: `m7gd\.16xlarge` is arm64, not amd64/,
  ],
  [
    'an instance type of unknown size',
    file('', 'nodes: {instance-types: [m6id.24xlarge, x9.huge]}'),
    /error: .*nodes\.instance-types\[1\]: the size of `x9\.huge` is not known here: write \{type: x9\.huge, cpu: …/,
  ],
  [
    'an instance type without a disk for caches',
    file('', 'nodes: {instance-types: [m6id.24xlarge, m7i.24xlarge]}'),
    /error: .*nodes\.instance-types\[1\]: `m7i\.24xlarge` has no local disk.*root-volume/,
  ],
  [
    'a root volume beside local disks',
    file('', 'nodes: {instance-types: [m6id.24xlarge, {type: m5d.24xlarge, root-volume: 500Gi}]}'),
    /error: .*instance-types\[1\]\.root-volume: `m5d\.24xlarge` has local disks/,
  ],
  [
    'volumes in several zones',
    file('cache: {kind: volume}', NODES('')),
    /warning: .*nodes\.zones: a volume ties its builder to one zone/,
  ],
  [
    'a size for a cache that has none',
    file('cache: {size: 100Gi}'),
    /error: .*cache\.size: only volumes have `size`/,
  ],
  [
    'priorities that nobody can see',
    file('tls: off\npriorities: [{name: release, head-start: 10m, clients: [release]}]'),
    /error: .*priorities: a class is known by the client's certificate/,
  ],
  [
    'a client of two classes',
    file(
      'priorities:\n- {name: release, head-start: 10m, clients: [a, b]}\n- {name: main, head-start: 5m, clients: [b]}',
    ),
    /error: .*priorities\[1\]\.clients: `b` is in release already/,
  ],
  [
    'Secrets that nobody gives',
    file('tls: {certificates: secrets, mode: passthrough}'),
    /error: .*tls\.secrets\.builders: .*the Secret `builders` is needed/,
  ],
  ["somebody else's namespace", file('namespace: keda'), /error: .*namespace: `keda` belongs to others/],
];

for (const [name, text, problem] of CASES) {
  test(`${name}: one problem, with its reason`, () => {
    const problems = problemsOf(text);
    expect(
      problems.filter((line) => problem.test(line)),
      problems.join('\n'),
    ).toHaveLength(1);
    // Beside it at most warnings that come with the choice itself.
    const errors = problems.filter((line) => line.includes(': error: ') && !problem.test(line));
    expect(errors.filter((line) => !EXPECTED_BESIDE.some((also) => also.test(line)))).toEqual([]);
  });
}

/** Faults that never come alone. */
const EXPECTED_BESIDE = [/builders-per-node: a builder gets .* of (memory|disk)/];

test('no builder at all, with TLS pass-through, is refused', () => {
  const problems = problemsOf(file('tls: {mode: passthrough}', 'min: 0\nmax: 8'));
  expect(problems.filter((line) => line.includes(': error: '))).toEqual([
    expect.stringMatching(
      /amd64\.min: no builder at all, with TLS pass-through: nobody answers the handshake/,
    ),
  ]);
});

test('with monitoring, or without TLS, no certificate ends unnoticed', () => {
  const warned = (pool: string) => problemsOf(file(pool)).filter((line) => line.includes('nobody is told'));
  expect(warned('namespace: builds')).toEqual([expect.stringContaining('(365 days)')]);
  expect(warned('monitoring: prometheus-operator')).toEqual([]);
  expect(warned('tls: off')).toEqual([]);
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
  const load = 'exposure: {service: load-balancer, host: a.example.com}';
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
