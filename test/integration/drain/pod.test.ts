/** What the committed examples put into their builders' pods, as real programs see it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { ANY_ADDRESS } from '../../../src/pool/builder/gate.ts';
import { type BuilderPod, builderPod, CACHE_VOLUME } from '../../../src/pool/builder/pod.ts';
import { readPool } from '../../../src/pool/read.ts';
import type { ArchitectureSizing, PoolSizing } from '../../../src/pool/sizing/model.ts';
import { shellcheck } from './scripts.ts';

interface Case {
  readonly name: string;
  readonly pool: PoolSizing;
  readonly architecture: ArchitectureSizing;
  readonly pod: BuilderPod;
}

/** Besides the examples: what none of them has. */
const ROOTLESS = `
version: 1
pools:
  rootless:
    namespace: buildkit
    profile: rootless
    builds: { longest: 30m, typical: 1m, cold-start: 1m }
    architectures:
      amd64: { min: 1, max: 4 }
`;

/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 180_000 });

const folder = mkdtempSync(join(tmpdir(), 'pods-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function cases(): readonly Case[] {
  const files = [
    ...readdirSync('manifests').map((name) => ({
      name,
      text: readFileSync(join('manifests', name, 'pool.yaml'), 'utf8'),
    })),
    {
      name: 'node-local',
      text: ROOTLESS.replace('builds:', 'cache: { kind: node-local, path: /mnt/k8s-disks/0 }\n    builds:'),
    },
    { name: 'volume', text: ROOTLESS.replace('builds:', 'cache: { kind: volume, size: 50Gi }\n    builds:') },
  ];
  return files.flatMap(({ name, text }) => {
    const reading = readPool(text);
    if (reading.kind !== 'accepted') throw new Error(`${name}: ${JSON.stringify(reading.problems)}`);
    return reading.sizing.pools.flatMap((pool) =>
      pool.architectures.map((architecture) => ({
        name: `${name}, ${pool.pool.name}, ${architecture.name}`,
        pool,
        architecture,
        pod: builderPod(pool, architecture, {
          images: { buildkit: 'moby/buildkit:v0', haproxy: 'haproxy:3' },
          configMapName: 'builders',
        }),
      })),
    );
  });
}

describe.each(cases().map((one) => [one.name, one] as const))('%s', (_, { pool, architecture, pod }) => {
  const file = (name: string): string => pod.files[name] ?? '';
  const container = (name: string) => pod.containers.find((one) => one.name === name);

  test('shellcheck has nothing to say about its scripts', () => {
    const scripts = Object.keys(pod.files).filter((name) => name.endsWith('.sh'));
    expect(scripts.sort()).toEqual(['drain.sh', 'gate.sh', 'start.sh']);
    for (const name of scripts) expect(shellcheck(join(folder, name), file(name))).toBe('');
  });

  test('HAProxy accepts the configuration of the gate, without a warning', () => {
    const path = join(folder, 'gate.cfg');
    writeFileSync(path, file('gate.cfg'));
    const { HAPROXY: haproxy = 'haproxy' } = process.env;
    const { PATH = '' } = process.env;
    for (const address of ['::', '0.0.0.0']) {
      const output = execFileSync(haproxy, ['-c', '-f', path], {
        env: { PATH, ANY_ADDRESS: address },
        stdio: ['ignore', 'pipe', 'pipe'],
      }).toString();
      expect(output).not.toMatch(/warning/i);
    }
  });

  test('load balancer, gate, daemon and drain mean the same ports', () => {
    const [builds, slot] = (container('gate')?.ports ?? []).map(({ containerPort }) => containerPort);
    expect(builds).toBe(architecture.builder.port);
    const { grpc } = parse(file('buildkitd.toml')) as { grpc: { address: string[]; tls?: object } };
    const daemon = Number(/^tcp:\/\/127\.0\.0\.1:(\d+)$/.exec(grpc.address[1] ?? '')?.[1]);
    expect(new Set([builds, slot, daemon]).size).toBe(3);
    expect(file('gate.cfg')).toContain(`bind ${ANY_ADDRESS}:${builds}\n`);
    expect(file('gate.cfg')).toContain(`server daemon 127.0.0.1:${daemon} maxconn 1`);
    const hex = (port = 0): string => port.toString(16).toUpperCase().padStart(4, '0');
    expect(file('drain.sh')).toContain(`port='${hex(builds)}'\nports='${hex(builds)} ${hex(daemon)}'`);
    // Probes pass the gate by.
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'] as const) {
      const command = container('buildkitd')?.[probe]?.exec?.command ?? [];
      expect(command).toContain(grpc.address[0]);
      expect(command[0]).toBe('buildctl');
    }
    expect(grpc.tls !== undefined).toBe(pool.pool.tls.kind !== 'off');
  });

  test('the drain waits for DNS, ends before the grace period does, and the gate stays open as long', () => {
    const { drain } = architecture;
    expect(file('drain.sh')).toContain(`first_look='${drain.firstLookSeconds.value}'`);
    expect(file('drain.sh')).toContain(`deadline_cs=${drain.deadlineSeconds.value * 100}`);
    expect(drain.deadlineSeconds.value).toBeLessThan(drain.graceSeconds.value);
    expect(container('gate')?.lifecycle?.preStop?.exec?.command).toEqual([
      'sleep',
      String(drain.firstLookSeconds.value),
    ]);
    expect(container('buildkitd')?.lifecycle?.preStop?.exec?.command?.at(-1)).toMatch(/\/drain\.sh$/);
  });

  test('every file and folder that a container names is mounted there, and every mount has its volume', () => {
    const volumes = new Set([...pod.volumes.map(({ name }) => name), CACHE_VOLUME]);
    for (const { volumeMounts = [] } of [...pod.containers, ...pod.initContainers])
      for (const { name } of volumeMounts) expect(volumes).toContain(name);
    const paths = [
      ...Object.values(pod.files).flatMap(
        (text) => text.match(/(?<=["'])\/(etc\/buildkit|cache|run\/buildkit)[^"']*/g) ?? [],
      ),
      ...pod.containers.map(({ command = [] }) => command.at(-1) ?? ''),
    ];
    expect(paths.length).toBeGreaterThanOrEqual(5);
    const mounts = pod.containers.flatMap(({ volumeMounts = [] }) =>
      volumeMounts.map(({ mountPath }) => mountPath),
    );
    for (const path of paths)
      expect(
        mounts.some((mount) => path === mount || path.startsWith(`${mount}/`)),
        path,
      ).toBe(true);
  });

  test('the gate has no privileges, and the key of the builders is not in it', () => {
    const gate = container('gate');
    expect(gate?.securityContext).toMatchObject({
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(gate?.volumeMounts?.map(({ name }) => name)).toEqual(['configuration']);
  });

  test("builds keep to the pod's limits: a privileged daemon is started by the entrypoint of its image", () => {
    // Without privileges the container has a control group namespace anyway, and its image no such program.
    expect(container('buildkitd')?.securityContext?.privileged ?? false).toBe(
      file('start.sh').includes("entrypoint='buildkitd-entrypoint'\n"),
    );
  });

  test("incident 10: the cache folder is the pool and architecture's own, with no pod in its name", () => {
    const volume = pod.volumes.find(({ name }) => name === CACHE_VOLUME);
    const slots = architecture.builder.cacheSlots?.value ?? 1;
    expect(file('start.sh')).toContain(`slots=${slots}\n`);
    if (pool.pool.cache.kind === 'volume') {
      expect(volume).toBeUndefined();
      expect(slots).toBe(1);
    } else {
      expect(volume?.hostPath?.path).toBe(
        `${pool.pool.cache.path}/${pool.names.namespace}.${architecture.names.statefulSet}`,
      );
    }
  });
});
