import { describe, expect, test } from 'vitest';
import { PINNED_VERSIONS } from '../../../../src/local/program-search.ts';
import { describePool } from '../../../../src/pool/document.ts';
import { imagesOf, versionOf } from '../../../../src/pool/images.ts';
import versions from '../../../../src/pool/versions.json' with { type: 'json' };
import { EXAMPLES, exampleNamed, sizeText } from '../../../support/examples.ts';

test('tells what the server side has derived, and nothing else', () => {
  const [pool] = sizeText(exampleNamed('two-trust-levels').poolYaml).pools;
  if (pool === undefined) throw new Error('no pool');
  const document = describePool(pool);
  const [amd64] = pool.architectures;
  expect(document).toMatchObject({
    schema: 'buildkit-pool/pool/v1',
    name: 'trusted',
    queue_timeout_s: pool.action.queueTimeoutMs.value / 1000,
    redial: { base_ms: pool.action.backoffBaseMs.value, cap_ms: pool.action.backoffCapMs.value },
    metrics: { url: 'http://trusted-haproxy.buildkit-trusted.svc.cluster.local:8405/metrics' },
    versions: { buildkit: '0.32.2', haproxy: '3.4.0' },
  });
  expect(document.architectures[0]).toEqual({
    arch: 'amd64',
    platforms: ['linux/amd64', 'linux/386'],
    endpoint: amd64?.line.endpoint.value,
    max_builders: 16,
    expected_cold_start_s: (amd64?.line.coldStartMs.value ?? 0) / 1000,
    tls: { server_name: amd64?.line.serverName },
    proxies: { frontend: 'amd64', backend: 'builders_amd64' },
  });
});

test.each(EXAMPLES)('$name: the deadline of builds ends before the load balancer lets go', ({ poolYaml }) => {
  for (const pool of sizeText(poolYaml).pools) {
    const document = describePool(pool);
    expect(document.queue_timeout_s * 1000).toBeLessThan(pool.balancer.queueTimeoutMs.value);
    for (const { expected_cold_start_s: coldStart } of document.architectures) {
      expect(coldStart).toBeLessThan(document.queue_timeout_s);
    }
  }
});

describe('images', () => {
  test('are the versions that this project is tested with', () => {
    expect(versions.haproxy.tag).toBe(PINNED_VERSIONS.haproxy);
    expect(versions.buildkit.tag).toBe(PINNED_VERSIONS.buildkit);
    expect(versions['buildkit-rootless'].tag).toBe(`${PINNED_VERSIONS.buildkit}-rootless`);
  });

  test('are the same versions in the examples that take them from elsewhere', () => {
    const elsewhere = EXAMPLES.flatMap(({ poolYaml }) => sizeText(poolYaml).pools)
      .map(({ pool }) => pool)
      .filter(({ images }) => images.buildkit !== null || images.haproxy !== null);
    expect(elsewhere.length).toBeGreaterThan(0);
    for (const pool of elsewhere) {
      const { buildkit, haproxy } = imagesOf(pool);
      expect([buildkit, haproxy].map((image) => image.split(':').at(-1))).toEqual([
        versions.buildkit.tag,
        versions.haproxy.tag,
      ]);
    }
  });

  test('have a place for a digest, which is a digest or nothing', () => {
    for (const { digest } of Object.values<{ digest: string | null }>(versions)) {
      expect(digest ?? `sha256:${'0'.repeat(64)}`).toMatch(/^sha256:[0-9a-f]{64}$/);
    }
    const [pool] = sizeText(exampleNamed('no-karpenter').poolYaml).pools;
    expect(pool === undefined ? null : imagesOf(pool.pool).buildkit).toBe(
      'docker.io/moby/buildkit:v0.32.2-rootless',
    );
  });

  test.each([
    ['docker.io/moby/buildkit:v0.32.2-rootless', '0.32.2'],
    ['r.example.com:5000/haproxy:3.4.0@sha256:00', '3.4.0'],
    ['r.example.com:5000/haproxy', null],
    ['haproxy:lts', null],
  ])('%s has the version %s', (image, version) => {
    expect(versionOf(image)).toBe(version);
  });
});
