/** The benchmarks run, from programs that are found as a person's are; what they measure is for a machine with nothing else to do. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'bench-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** None of the variables by which the tests tell each other where programs are. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(BUILDKITD|BUILDCTL|BUILDX|BUILDX_OLDEST|RUNC)$/.test(name),
  ),
);
const bench = async (...args: readonly string[]) =>
  (await promisify(execFile)(process.execPath, ['bench/index.ts', ...args], { env, maxBuffer: 1e8 })).stdout;

test('data: both jobs, each way, on both networks', async () => {
  const json = join(folder, 'data.json');
  const small = ['--context-mib', '2', '--result-mib', '1', '--rounds', '1', '--delay-ms', '2'];
  await bench('data', ...small, '--json', json);
  const rows = JSON.parse(readFileSync(json, 'utf8')) as readonly Record<string, unknown>[];
  expect(rows.map(({ network, job, path }) => `${network} ${job} ${path}`)).toEqual(
    ['loopback', '2 ms'].flatMap((network) =>
      ['send', 'fetch'].flatMap((job) =>
        ['direct', 'splice', 'multiplex', 'pipe'].map((path) => `${network} ${job} ${path}`),
      ),
    ),
  );
  for (const row of rows) expect(row['seconds']).toBeGreaterThan(0);
});

test('start: the Action against buildctl', async () => {
  const last = (await bench('start', '--rounds', '5')).trimEnd().split('\n').at(-1) ?? '';
  const result = JSON.parse(last) as Record<string, number>;
  expect(result['action_ms']).toBeGreaterThan(result['buildx_start_ms'] ?? Number.NaN);
});

test('burst: the same builds three ways', async () => {
  const text = await bench('burst', '--builders', '1', '--builds', '2', '--seconds', '1');
  const result = JSON.parse(text.trimEnd().split('\n').at(-1) ?? '') as unknown;
  expect(result).toMatchObject({ ours: { failed: 0, connections: 2 }, redialling: { failed: 0 } });
});
