import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../../src/queue/endpoint.ts';

const hosts = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}[a-z0-9](\.[a-z]{2,8}){0,3}$/);
const ports = fc.integer({ min: 1, max: 65_535 });

test('every tcp://host:port is read as it was written', () => {
  fc.assert(
    fc.property(hosts, ports, (host, port) => {
      expect(parseEndpoint(`tcp://${host}:${port}`, 'amd64')).toEqual({
        kind: 'endpoint',
        endpoint: { host, port, url: `tcp://${host}:${port}` },
      });
    }),
  );
});

test('{arch} becomes the architecture, and an IPv6 address loses its brackets for the dialler only', () => {
  expect(parseEndpoint('tcp://buildkitd-{arch}.pool.svc:1234', 'arm64')).toMatchObject({
    endpoint: { host: 'buildkitd-arm64.pool.svc', port: 1234 },
  });
  expect(parseEndpoint('tcp://[::1]:1234', 'amd64')).toMatchObject({
    endpoint: { host: '::1', port: 1234, url: 'tcp://[::1]:1234' },
  });
});

describe('what is no endpoint is refused with what would be right', () => {
  test.each([
    ['buildkitd:1234', 'does not start with tcp://'],
    ['https://pool:1234', 'does not start with tcp://'],
    ['tcp://pool', 'names no port'],
    ['tcp://pool:0', 'names no port'],
    ['tcp://pool:99999', 'is not a URL'],
    ['tcp://:1234', 'is not a URL'],
    ['tcp://pool-{os}:1234', 'no usable host'],
    ['tcp://user:word@pool:1234', 'user name or password'],
    ['tcp://pool:1234/path', 'carries a path'],
    ['tcp://pool:1234?x=1', 'carries a query'],
  ])('%s', (text, what) => {
    const result = parseEndpoint(text, 'amd64');
    expect(result.kind).toBe('problem');
    expect(result.kind === 'problem' && result.problem).toContain(what);
    expect(result.kind === 'problem' && result.problem).toContain('tcp://host:port');
  });

  test('never with an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `tcp://${text}`),
        ),
        (text) => {
          expect(['endpoint', 'problem']).toContain(parseEndpoint(text, 'amd64').kind);
        },
      ),
    );
  });
});
