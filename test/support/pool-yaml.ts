/** Pool files for tests: made-up ones of every kind, and the reading of one that must be accepted. */
import fc from 'fast-check';
import { stringify } from 'yaml';
import { formatProblem, type Reading, readPool } from '../../src/pool/read.ts';

export type Accepted = Extract<Reading, { kind: 'accepted' }>;

/** The reading of a file that must be accepted; throws with every problem when it is not. */
export function accept(text: string): Accepted {
  const reading = readPool(text);
  if (reading.kind === 'accepted') return reading;
  throw new Error(reading.problems.map((problem) => formatProblem('pool.yaml', problem)).join('\n'));
}

/** `pool.yaml:1:1: error: …`, one a problem; the warnings of a file that is accepted. */
export function problemsOf(text: string): readonly string[] {
  const reading = readPool(text);
  const problems = reading.kind === 'accepted' ? reading.warnings : reading.problems;
  return problems.map((problem) => formatProblem('pool.yaml', problem));
}

const minutes = (least: number, most: number) =>
  fc.integer({ min: least, max: most }).map((amount) => `${amount}m`);
const gib = (least: number, most: number) =>
  fc.integer({ min: least, max: most }).map((amount) => `${amount}Gi`);

/** A record in which every key may be missing. */
const sometimes = <Shape>(shape: { [Key in keyof Shape]: fc.Arbitrary<Shape[Key]> }) =>
  fc.record(shape, { requiredKeys: [] });

/** Their caches live on the root volume. */
const DISKLESS = new Set(['m7i.24xlarge', 'm7g.16xlarge']);
const AMD64_TYPES = [
  'm7i.24xlarge',
  'm6id.24xlarge',
  'm5d.24xlarge',
  'm6id.12xlarge',
  'c6id.24xlarge',
  'r6id.8xlarge',
  'i4i.8xlarge',
];
const ARM64_TYPES = [
  'm7g.16xlarge',
  'm7gd.16xlarge',
  'm6gd.16xlarge',
  'c7gd.16xlarge',
  'm8gd.16xlarge',
  'r7gd.8xlarge',
];

function nodes(types: readonly string[]) {
  const karpenter = fc
    .uniqueArray(fc.constantFrom(...types), { minLength: 1, maxLength: 4 })
    .chain((chosen) =>
      fc.record(
        {
          'instance-types': fc.tuple(
            ...chosen.map((type) =>
              DISKLESS.has(type)
                ? gib(1500, 8000).map((size) => ({ type, 'root-volume': size }))
                : fc.oneof(
                    fc.constant(type),
                    sometimes({
                      weight: fc.integer({ min: 1, max: 100 }),
                      price: fc.double({ min: 0.1, max: 20, noNaN: true }),
                    }).map((more) => ({ type, ...more })),
                  ),
            ),
          ),
          capacity: fc.constantFrom('on-demand', 'on-demand', 'spot'),
          // Nearly always, for spot nodes without it are refused.
          'accept-lost-builds': fc.integer({ min: 0, max: 9 }).map((chance) => chance > 0),
        },
        { requiredKeys: ['instance-types', 'accept-lost-builds'] },
      ),
    );
  const selector = fc.record(
    {
      selector: fc.constant({ role: 'builds' }),
      size: fc.record({ cpu: fc.integer({ min: 8, max: 128 }), memory: gib(32, 512), disk: gib(200, 4000) }),
    },
    { requiredKeys: ['selector'] },
  );
  return fc.oneof({ weight: 3, arbitrary: karpenter }, selector);
}

const builds = sometimes({
  longest: minutes(30, 300),
  typical: minutes(1, 35),
  'cold-start': minutes(1, 20),
  // Sometimes more than eight builds a builder.
  burst: fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 1, max: 200 }) },
    fc.integer({ min: 700, max: 4000 }),
  ),
  'queue-timeout': minutes(18, 2000),
});

function architecture(types: readonly string[]) {
  return fc
    .record({ low: fc.integer({ min: 0, max: 400 }), more: fc.integer({ min: 0, max: 400 }) })
    .chain(({ low, more }) => {
      const max = Math.max(low + more, 1);
      return sometimes({
        min: fc.constant(low),
        max: fc.constant(max),
        replicas: fc.integer({ min: low, max }),
        spare: fc.integer({ min: 0, max: Math.min(5, max) }),
        fallback: fc.integer({ min: Math.max(low, 1), max }),
        ceiling: fc.integer({ min: max, max: 2048 }),
        builds,
        'builders-per-node': fc.integer({ min: 1, max: 5 }),
        builder: sometimes({ cpu: fc.integer({ min: 1, max: 6 }), memory: gib(1, 12), disk: gib(10, 40) }),
        nodes: nodes(types),
      });
    });
}

/** Mostly usable ones, often taken ones. */
const port = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1000, max: 65_535 }) },
  fc.integer({ min: 12_335, max: 12_350 }),
  fc.integer({ min: 20_990, max: 22_010 }),
);

const pool = sometimes({
  namespace: fc.constantFrom('builds', 'ci'),
  autoscaling: fc.constantFrom('keda', 'keda', 'keda', 'off'),
  monitoring: fc.constantFrom('prometheus-operator', 'none'),
  profile: fc.constantFrom('privileged', 'rootless'),
  builds,
  'scale-down': sometimes({
    idle: minutes(15, 60),
    'at-once': sometimes({
      builders: fc.integer({ min: 1, max: 50 }),
      percent: fc.integer({ min: 1, max: 100 }),
    }),
    period: minutes(1, 22),
    grace: minutes(280, 1200),
  }),
  tls: fc.oneof(
    fc.constant('off'),
    fc.constant({}),
    fc.constant({}),
    sometimes({
      mode: fc.constantFrom('terminate', 'terminate', 'passthrough'),
      lifetime: minutes(60 * 24 * 10, 60 * 24 * 400),
      'renew-before': minutes(60 * 24 * 3, 60 * 24 * 60),
    }),
    fc.record({
      certificates: fc.constant('secrets'),
      secrets: fc.constant({ balancer: 'front', 'balancer-client': 'middle', builders: 'back' }),
    }),
  ),
  cache: fc.oneof(
    fc.constant({ kind: 'node-local' }),
    fc.record({ kind: fc.constant('volume'), size: gib(20, 2000) }, { requiredKeys: ['kind'] }),
  ),
  exposure: fc.oneof(
    sometimes({
      port: fc.integer({ min: 1, max: 65_535 }),
      'early-settings': port,
      ports: fc.constantFrom('per-architecture', 'shared'),
    }),
    fc.constant({ service: 'load-balancer', host: '{arch}.builders.example.com' }),
  ),
  egress: fc.record({ cidrs: fc.subarray(['10.0.12.34/32', '10.0.0.0/8', 'fd12:3456::/64']) }),
  balancer: sometimes({ 'metrics-port': port }),
  mirrors: fc.dictionary(
    fc.constantFrom('docker.io', 'registry.example.com:5000'),
    fc.subarray(['mirror.example.com/docker-hub', 'public.ecr.aws/docker'], { minLength: 1 }),
  ),
});

/** Files in which each value fits, and most of which fit as a whole. Keys that never go together are left out. */
export const writtenFiles: fc.Arbitrary<string> = fc
  .record({
    kubernetes: fc.constantFrom('1.30', '1.34', '1.35', '1.36'),
    pools: fc.dictionary(
      fc.constantFrom('buildkitd', 'trusted', 'forks'),
      fc
        .tuple(
          pool,
          architecture(AMD64_TYPES),
          architecture(ARM64_TYPES),
          fc.constantFrom('amd64', 'arm64', 'both'),
        )
        .map(([own, amd64, arm64, which]) => ({
          ...own,
          architectures: {
            ...(which === 'arm64' ? {} : { amd64: fitting(own, amd64) }),
            ...(which === 'amd64' ? {} : { arm64: fitting(own, arm64) }),
          },
        })),
      { minKeys: 1, maxKeys: 3 },
    ),
  })
  .map(({ kubernetes, pools }) =>
    stringify({
      version: 1,
      cluster: { kubernetes, karpenter: { discovery: 'ci', role: 'nodes' } },
      pools,
    }),
  );

/** Most combinations that are refused by a rule of one line would only hide the others. */
function fitting(
  own: { autoscaling?: string; cache?: { kind: string } },
  architecture: Record<string, unknown>,
) {
  const fixed = own.autoscaling === 'off';
  const { replicas, spare, fallback, builder, min, max, ...rest } = architecture;
  const least = Math.max(Number(min ?? 1), 1);
  const size = { ...(builder as Record<string, unknown> | undefined) };
  if (own.cache?.kind === 'volume') delete size['disk'];
  const low = typeof min === 'number' ? { min } : {};
  const high = typeof max === 'number' ? { max } : { max: Math.max(Number(min ?? 4), 4) };
  return {
    ...rest,
    ...low,
    ...high,
    ...(builder === undefined ? {} : { builder: size }),
    ...(fixed
      ? { replicas: Math.min(Math.max(Number(replicas ?? high.max), Number(min ?? 0)), high.max) }
      : {}),
    ...(fixed || fallback === undefined
      ? {}
      : { fallback: Math.min(Math.max(Number(fallback), least), high.max) }),
    ...(fixed || spare === undefined || min === 0 ? {} : { spare }),
  };
}
