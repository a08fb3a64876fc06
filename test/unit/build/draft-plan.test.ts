import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ARCHITECTURES,
  NATIVE_PLATFORMS,
  type Platform,
  parsePlatform,
  serves,
} from '../../../src/build/architecture.ts';
import { type DraftPlan, PlanProblems, settlePlan } from '../../../src/build/draft-plan.ts';
import {
  POOL_DOCUMENT_SCHEMA,
  type PoolArchitecture,
  type PoolDocument,
} from '../../../src/pool-document/document.ts';

const platform = (text: string): Platform => {
  const parsed = parsePlatform(text);
  if (parsed === undefined) throw new Error(`${text} is no platform`);
  return parsed;
};

const draft = (platforms: readonly string[], change: Partial<DraftPlan> = {}): DraftPlan => ({
  pool: { kind: 'endpoint', endpoint: { text: 'tcp://pool-{arch}:1234', from: 'endpoint' } },
  runnerArch: 'amd64',
  platforms: platforms.map(platform),
  tls: undefined,
  queueTimeoutMs: undefined,
  connectTimeoutMs: undefined,
  lostBuilderRetries: 1,
  fallback: 'none',
  buildxVersion: undefined,
  work: { kind: 'run', script: '', platforms: [] },
  warnings: [],
  ...change,
});

const architecture = (
  arch: string,
  platforms: readonly string[],
  tls: string | null = null,
): PoolArchitecture => ({
  arch,
  platforms,
  endpoint: `tcp://${arch}.pool:99`,
  max_builders: 30,
  expected_cold_start_s: 420,
  tls: tls === null ? null : { server_name: tls },
  proxies: { frontend: arch, backend: `builders_${arch}` },
});
const document: PoolDocument = {
  schema: POOL_DOCUMENT_SCHEMA,
  name: 'default',
  queue_timeout_s: 5_400,
  connect_timeout_s: 10,
  redial: { base_ms: 100, cap_ms: 2_000 },
  linger_s: 60,
  metrics: { url: 'http://pool/metrics', interval_s: 15 },
  architectures: [
    architecture('s390x', ['linux/s390x']),
    architecture('loong64', ['linux/loong64']),
    architecture('arm64', ['linux/arm64', 'linux/arm/v7'], 'arm64.pool.example'),
    architecture('amd64', ['linux/amd64']),
  ],
  versions: {},
};

const nodes = (of: DraftPlan, from?: PoolDocument) =>
  settlePlan(of, from).nodes.map(({ arch, endpoint, platforms }) => [arch, endpoint.url, platforms]);
const problems = (of: DraftPlan, from?: PoolDocument): readonly string[] => {
  try {
    settlePlan(of, from);
  } catch (error) {
    if (error instanceof PlanProblems) return error.problems;
    throw error;
  }
  return [];
};

describe('the one order of places', () => {
  const all = Object.values(NATIVE_PLATFORMS).flat();

  test('is the same for every build, whatever it names in which order: no two can wait for each other', () => {
    const some = fc.shuffledSubarray(all, { minLength: 1 });
    fc.assert(
      fc.property(some, some, (one, another) => {
        const orders = [one, another].map((platforms) =>
          settlePlan(draft(platforms), undefined).nodes.map(({ arch }) => arch),
        );
        const [first = [], second = []] = orders;
        // What both take, both take in the same order.
        expect(first.filter((arch) => second.includes(arch))).toEqual(
          second.filter((arch) => first.includes(arch)),
        );
        expect(first).toEqual(ARCHITECTURES.filter((arch) => first.includes(arch)));
      }),
    );
  });

  test('every platform asked for is built exactly once, by one that serves it', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(all, { minLength: 1 }), (platforms) => {
        const plan = settlePlan(draft(platforms), undefined);
        expect(plan.nodes.flatMap((node) => node.platforms).toSorted()).toEqual(platforms.toSorted());
        for (const node of plan.nodes) {
          for (const text of node.platforms) expect(NATIVE_PLATFORMS[node.arch]).toContain(text);
        }
      }),
    );
  });
});

describe('an endpoint', () => {
  test('with {arch} leads each platform to the builder that runs it', () => {
    expect(nodes(draft([]))).toEqual([['amd64', 'tcp://pool-amd64:1234', []]]);
    expect(nodes(draft(['linux/arm/v7', 'linux/arm64/v8', 'linux/386', 'linux/amd64/v3']))).toEqual([
      ['amd64', 'tcp://pool-amd64:1234', ['linux/386', 'linux/amd64/v3']],
      ['arm64', 'tcp://pool-arm64:1234', ['linux/arm/v7', 'linux/arm64/v8']],
    ]);
  });

  test('without {arch} is one line, whose builders build all there is', () => {
    const pool = { kind: 'endpoint', endpoint: { text: 'tcp://one:1', from: 'BUILDKIT_HOST' } } as const;
    const asked = ['linux/arm64', 'linux/riscv64', 'linux/mips64'];
    expect(nodes(draft(asked, { pool }))).toEqual([['amd64', 'tcp://one:1', asked]]);
    expect(nodes(draft([], { pool }))).toEqual([['amd64', 'tcp://one:1', []]]);
  });

  test('without {arch} is the line of the architecture that runs all that is asked for', () => {
    const pool = { kind: 'endpoint', endpoint: { text: 'tcp://arm:1', from: 'endpoint' } } as const;
    expect(nodes(draft(['linux/arm64', 'linux/arm/v6'], { pool }))).toEqual([
      ['arm64', 'tcp://arm:1', ['linux/arm64', 'linux/arm/v6']],
    ]);
  });

  test('that is wrong is told by the name it was given under', () => {
    const pool = {
      kind: 'endpoint',
      endpoint: { text: 'unix:///run/buildkit.sock', from: 'BUILDKIT_HOST' },
    } as const;
    expect(problems(draft([], { pool }))).toEqual([
      expect.stringContaining(
        '`BUILDKIT_HOST` is "unix:///run/buildkit.sock": it does not start with tcp://',
      ) as string,
    ]);
  });

  test('has the usual deadlines', () => {
    expect(settlePlan(draft([]), undefined)).toMatchObject({
      queueTimeoutMs: 7_200_000,
      connectTimeoutMs: 15_000,
      backoff: { baseMs: 250, capMs: 4_000 },
      metrics: undefined,
    });
  });
});

describe('a document', () => {
  test('gives addresses, TLS names, deadlines and backoff; what the inputs say comes first', () => {
    const tls = { ca: 'pem' };
    const plan = settlePlan(draft(['linux/arm64', 'linux/amd64'], { tls }), document);
    expect(plan).toMatchObject({
      queueTimeoutMs: 5_400_000,
      connectTimeoutMs: 10_000,
      backoff: { baseMs: 100, capMs: 2_000 },
      metrics: document.metrics,
    });
    expect(plan.nodes).toMatchObject([
      { arch: 'amd64', endpoint: { url: 'tcp://amd64.pool:99' }, tls, maxBuilders: 30 },
      {
        arch: 'arm64',
        tls: { ca: 'pem', serverName: 'arm64.pool.example' },
        proxies: { backend: 'builders_arm64' },
      },
    ]);
    const own = settlePlan(
      draft(['linux/arm64'], { tls: { serverName: 'mine' }, queueTimeoutMs: 1_000, connectTimeoutMs: 2_000 }),
      document,
    );
    expect(own).toMatchObject({
      queueTimeoutMs: 1_000,
      connectTimeoutMs: 2_000,
      nodes: [{ tls: { serverName: 'mine' } }],
    });
  });

  test('decides what can be built', () => {
    expect(problems(draft(['linux/386', 'linux/riscv64', 'linux/arm/v6']), document)).toEqual([
      '`platforms` holds "linux/386", which the pool default has no builders for: it builds linux/amd64, linux/arm64, linux/arm/v7, linux/s390x',
      '`platforms` holds "linux/riscv64", which the pool default has no builders for: it builds linux/amd64, linux/arm64, linux/arm/v7, linux/s390x',
    ]);
    const small = { ...document, architectures: [architecture('arm64', ['linux/arm64'])] };
    expect(problems(draft([]), small)).toEqual([
      "the pool default has no builders for this runner's architecture (amd64): name one of linux/arm64 in `platforms`",
    ]);
    // A runner of any kind can have builds made elsewhere.
    expect(nodes(draft(['linux/arm64'], { runnerArch: undefined }), small)).toHaveLength(1);
  });
});

describe('what its builder builds, before there is one', () => {
  const builds = (of: DraftPlan, from?: PoolDocument) =>
    settlePlan(of, from).nodes.map((node) => node.builds);
  const pool = { kind: 'endpoint', endpoint: { text: 'tcp://arm:1', from: 'endpoint' } } as const;

  test('is what was asked for', () => {
    expect(builds(draft(['linux/arm64', 'linux/386']))).toEqual([['linux/386'], ['linux/arm64']]);
    expect(builds(draft(['linux/arm64', 'linux/amd64']), document)).toEqual([
      ['linux/amd64'],
      ['linux/arm64'],
    ]);
    expect(builds(draft(['linux/arm64', 'linux/amd64'], { pool }))).toEqual([['linux/arm64', 'linux/amd64']]);
  });

  test('else what the pool says, else its own architecture', () => {
    expect(builds(draft([], { runnerArch: 'arm64' }), document)).toEqual([['linux/arm64', 'linux/arm/v7']]);
    expect(builds(draft([], { runnerArch: 'arm64' }))).toEqual([['linux/arm64']]);
    expect(builds(draft([], { runnerArch: 'arm64', pool }))).toEqual([['linux/arm64']]);
  });
});

test('a CA that is there for the document’s own server does not make a plain line speak TLS', () => {
  const tlsOf = (url: string, tls: DraftPlan['tls']) =>
    settlePlan(draft([], { pool: { kind: 'document', url, endpoint: undefined }, tls }), document).nodes.map(
      (node) => node.tls,
    );
  expect(tlsOf('https://pool/pool.json', { ca: 'pem' })).toEqual([undefined]);
  expect(tlsOf('http://pool/pool.json', { ca: 'pem' })).toEqual([{ ca: 'pem' }]);
  const mutual = { ca: 'pem', cert: 'pem', key: 'pem' };
  expect(tlsOf('https://pool/pool.json', mutual)).toEqual([mutual]);
});

test('platforms as people write them', () => {
  const shape = (text: string) => {
    const parsed = parsePlatform(text);
    return (
      parsed && `${parsed.os}/${parsed.architecture}${parsed.variant === '' ? '' : `/${parsed.variant}`}`
    );
  };
  expect(
    [
      'arm64',
      'linux/aarch64',
      'linux/arm64/v8',
      'Linux/AMD64',
      'linux/x86_64',
      'linux/arm',
      'linux/armhf',
      'linux/armel',
      'windows/amd64',
    ].map(shape),
  ).toEqual([
    'linux/arm64',
    'linux/arm64',
    'linux/arm64',
    'linux/amd64',
    'linux/amd64',
    'linux/arm/v7',
    'linux/arm/v7',
    'linux/arm/v6',
    'windows/amd64',
  ]);
  expect(['', 'linux', 'linux/', 'linux/arm64/v8/x', 'linux/arm 64', '/arm64', 'a//b'].map(shape)).toEqual(
    Array.from({ length: 7 }, () => undefined),
  );
  expect(serves(platform('linux/arm/v7'), platform('linux/arm/v6'))).toBe(true);
  expect(serves(platform('linux/arm/v6'), platform('linux/arm/v7'))).toBe(false);
  expect(serves(platform('linux/amd64'), platform('linux/amd64/v3'))).toBe(true);
  expect(serves(platform('linux/arm64'), platform('linux/arm/v7'))).toBe(false);
  expect(serves(platform('linux/amd64'), platform('windows/amd64'))).toBe(false);
});
