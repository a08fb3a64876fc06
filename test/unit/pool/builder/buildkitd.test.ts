import { readFileSync } from 'node:fs';
import { parse } from 'smol-toml';
import { expect, test } from 'vitest';
import { type BuildkitdModel, renderBuildkitd } from '../../../../src/pool/builder/buildkitd.ts';

/** Keys that the pinned buildkitd knows; tools/buildkit/configkeys reads them from its source. */
const KNOWN = new Set(
  readFileSync(new URL('buildkitd-keys.txt', import.meta.url), 'utf8')
    .trim()
    .split('\n'),
);

const MODEL: BuildkitdModel = {
  socketPath: '/run/buildkit/buildkitd.sock',
  address: '127.0.0.1',
  port: 1236,
  tls: { certificatePath: '/tls/tls.crt', keyPath: '/tls/tls.key', clientCaPath: '/tls/ca.crt' },
  profile: 'privileged',
  maxParallelism: 12,
  cache: { reservedBytes: 10_000_000_000, maxUsedBytes: 3_000_000_000_000, minFreeBytes: 20_000_000_000 },
  history: { maxAgeSeconds: 172_800, maxEntries: 50 },
  mirrors: { 'docker.io': ['registry.example.com/docker-hub', 'public.ecr.aws/docker'] },
};

/** Every key with a value, its parts separated by spaces; [] stands for the elements of a list. */
function keysOf(value: unknown, path = ''): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((one) => keysOf(one, `${path} []`));
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([key, one]) =>
      // Registries are named by who writes the file.
      keysOf(one, path === '' ? key : `${path} ${path === 'registry' ? '*' : key}`),
    );
  return [path];
}

function unknownKeys(file: string): readonly string[] {
  return keysOf(parse(file)).filter((key) => !KNOWN.has(key));
}

test('no key is unknown to the pinned buildkitd, which would ignore it without a word', () => {
  for (const profile of ['privileged', 'rootless'] as const) {
    for (const tls of [MODEL.tls, null]) {
      expect(unknownKeys(renderBuildkitd({ ...MODEL, profile, tls }))).toEqual([]);
    }
  }
  // Keys that look right: another case, another level, the name that other files use.
  expect(
    unknownKeys('[worker.oci]\nmaxParallelism = 1\nreservedspace = 1\n[grpc]\nmaxUsedSpace = 1'),
  ).toEqual(['worker oci maxParallelism', 'worker oci reservedspace', 'grpc maxUsedSpace']);
});

test('the file says what the model does', () => {
  const limits = {
    reservedSpace: 10_000_000_000,
    maxUsedSpace: 3_000_000_000_000,
    minFreeSpace: 20_000_000_000,
  };
  expect(parse(renderBuildkitd({ ...MODEL, profile: 'rootless' }))).toEqual({
    log: { format: 'json', level: 'info' },
    grpc: {
      address: ['unix:///run/buildkit/buildkitd.sock', 'tcp://127.0.0.1:1236'],
      tls: { cert: '/tls/tls.crt', key: '/tls/tls.key', ca: '/tls/ca.crt' },
    },
    cdi: { disabled: true },
    registry: { 'docker.io': { mirrors: ['registry.example.com/docker-hub', 'public.ecr.aws/docker'] } },
    history: { maxAge: 172_800, maxEntries: 50 },
    worker: {
      containerd: { enabled: false },
      oci: {
        enabled: true,
        rootless: true,
        noProcessSandbox: true,
        'max-parallelism': 12,
        gc: true,
        gcpolicy: [limits, { all: true, ...limits }],
      },
    },
  });
});

test('without a limit of steps, TLS and mirrors the keys are not there at all', () => {
  const file = renderBuildkitd({ ...MODEL, tls: null, maxParallelism: 0, mirrors: {} });
  expect(file).not.toMatch(/tls|parallelism|rootless|Sandbox|registry/);
});
