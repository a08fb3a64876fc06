import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { POOL_DOCUMENT_SCHEMA, type PoolDocument } from '../../../src/pool-document/document.ts';
import { readDocument } from '../../../src/pool-document/read-document.ts';

const DOCUMENT: PoolDocument = {
  schema: POOL_DOCUMENT_SCHEMA,
  name: 'default',
  queue_timeout_s: 5_400,
  connect_timeout_s: 10,
  redial: { base_ms: 250, cap_ms: 4_000 },
  linger_s: 60,
  metrics: { url: 'http://pool.svc:8404/metrics', interval_s: 15 },
  architectures: [
    {
      arch: 'arm64',
      platforms: ['linux/arm64', 'linux/arm/v7'],
      endpoint: 'tcp://pool-arm64.svc:1234',
      max_builders: 30,
      expected_cold_start_s: 420,
      tls: { server_name: 'arm64.pool.example' },
      proxies: { frontend: 'arm64', backend: 'builders_arm64' },
    },
    {
      arch: 'amd64',
      platforms: ['linux/amd64'],
      endpoint: 'tcp://pool-amd64.svc:1234',
      max_builders: 360,
      expected_cold_start_s: 420,
      tls: null,
      proxies: null,
    },
  ],
  versions: { buildkit: '0.32.2' },
};

const problems = (text: string): readonly string[] => {
  const reading = readDocument(text);
  return reading.kind === 'problems' ? reading.problems : [];
};
const changed = (change: object) => problems(JSON.stringify({ ...DOCUMENT, ...change }));
const [arm64] = DOCUMENT.architectures;

test('a document is read as it was written', () => {
  expect(readDocument(JSON.stringify(DOCUMENT))).toEqual({ kind: 'document', document: DOCUMENT });
});

test('what a newer pool adds is passed over', () => {
  const newer = {
    ...DOCUMENT,
    region: 'eu',
    architectures: DOCUMENT.architectures.map((entry) => ({ ...entry, gpu: true })),
  };
  expect(readDocument(JSON.stringify(newer))).toEqual({ kind: 'document', document: DOCUMENT });
});

describe('what is wrong is told with the path of the field', () => {
  test.each<[string, object, string]>([
    [
      'a number as text',
      { queue_timeout_s: '90m' },
      'queue_timeout_s: Invalid input: expected number, received string',
    ],
    ['nothing at all', { architectures: [] }, 'architectures: '],
    [
      'an endpoint without a port',
      { architectures: [{ ...arm64, endpoint: 'tcp://pool' }] },
      'architectures[0].endpoint: it names no port',
    ],
    [
      'no platform',
      { architectures: [{ ...arm64, platforms: ['linux/'] }] },
      'architectures[0].platforms[0]: expected a platform',
    ],
    [
      'a whole architecture twice',
      { architectures: [arm64, arm64] },
      'architectures: the same arch occurs twice',
    ],
    [
      'metrics that are no URL',
      { metrics: { url: 'pool:8404', interval_s: 15 } },
      'metrics.url: expected an http:// or https:// URL',
    ],
    [
      'a cap below the base',
      { redial: { base_ms: 500, cap_ms: 100 } },
      'redial: base_ms is more than cap_ms',
    ],
    ['TLS that is no object', { architectures: [{ ...arm64, tls: true }] }, 'architectures[0].tls: '],
  ])('%s', (_, change, problem) => {
    const found = changed(change);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(problem);
  });

  test('all at once', () => {
    expect(changed({ name: '', linger_s: -1, versions: null })).toHaveLength(3);
  });
});

test('whatever a server answers is a document or a list of problems', () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.jsonValue().map((value) => JSON.stringify({ ...DOCUMENT, architectures: value })),
    fc
      .tuple(fc.constantFrom(...Object.keys(DOCUMENT)), fc.jsonValue())
      .map(([key, value]) => JSON.stringify({ ...DOCUMENT, [key]: value })),
  );
  fc.assert(
    fc.property(text, (answer) => {
      const reading = readDocument(answer);
      if (reading.kind === 'problems') expect(reading.problems.length).toBeGreaterThan(0);
    }),
  );
});
