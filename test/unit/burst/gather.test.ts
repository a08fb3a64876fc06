import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type GatheredBuild, gather, renderGathered } from '../../../src/burst/gather.ts';

const folder = mkdtempSync(join(tmpdir(), 'gather-'));
afterAll(() => rmSync(folder, { recursive: true }));

const at = (seconds: number) => new Date(1_790_000_000_000 + seconds * 1_000).toISOString();
function build(
  id: string,
  joined: number,
  granted: number | null,
  more: Partial<GatheredBuild> = {},
): GatheredBuild {
  return {
    id,
    schema: 'buildkit-pool/report/v1',
    arch: 'amd64',
    platforms: [],
    outcome: 'succeeded',
    joined_at: at(joined),
    granted_at: granted === null ? null : at(granted),
    released_at: granted === null ? null : at(granted + 10),
    queue_ms: ((granted ?? joined) - joined) * 1_000,
    build_ms: 10_000,
    attempts: [{ phase: 'building', at: at(granted ?? joined), reason: '' }],
    builder: 'tcp://pool:1234',
    nodes: [],
    fallback: false,
    ...more,
  };
}

test('builds are put in the order of joining, and nothing is lost', () => {
  const { builds, losses } = gather([build('b', 2, 10), build('a', 1, 2)], 2);
  expect(builds.map(({ id }) => id)).toEqual(['a', 'b']);
  expect(losses).toEqual([]);
  expect(renderGathered({ builds, losses })).toBe(
    [
      '### Burst: 2 builds, nothing lost',
      '',
      '| whole burst | queued: median | 95 % | longest | built again on another builder |',
      '| --- | --- | --- | --- | --- |',
      '| 19.0 s | 1.0 s | 8.0 s | 8.0 s | 0 |',
      '',
      '```mermaid',
      'gantt',
      '  dateFormat x',
      '  axisFormat %H:%M:%S',
      '  section a amd64',
      '  queued :done, 1790000001000, 1790000002000',
      '  succeeded :active, 1790000002000, 1790000012000',
      '  section b amd64',
      '  queued :done, 1790000002000, 1790000010000',
      '  succeeded :active, 1790000010000, 1790000020000',
      '```',
      '',
    ].join('\n'),
  );
});

test('a loss is whatever did not succeed, left no report, or was built elsewhere', () => {
  const done = [{ phase: 'done' as const, at: at(9), reason: 'no builder within 60 s' }];
  const { losses } = gather(
    [
      build('late', 1, null, { outcome: 'queue-timeout', attempts: done }),
      build('elsewhere', 1, 2, { fallback: true }),
    ],
    4,
  );
  expect(losses).toEqual([
    'late: queue-timeout (no builder within 60 s)',
    '2 of 4 builds left no report',
    '1 builds were not built by the pool',
  ]);
});

test('a name can write neither Markdown nor Mermaid', () => {
  const text = renderGathered(gather([build('x\n```\n<img src=x> | :crit, 0', 1, 2)], 1));
  expect(text.match(/```/g)).toHaveLength(2);
  expect(text).toContain('  section x img src x crit, 0 amd64');
});

test('the command reads the artifacts of many jobs and fails on a loss', () => {
  for (const [id, joined] of [
    ['burst-2', 5],
    ['burst-1', 3],
  ] as const) {
    mkdirSync(join(folder, id, 'deeper'), { recursive: true });
    const { id: _, ...report } = build(id, joined, joined + 1);
    writeFileSync(join(folder, id, 'deeper', 'report.json'), JSON.stringify(report));
  }
  const gatherWith = (...args: string[]) => ['src/cli.ts', 'gather', '--reports', folder, ...args];
  const summary = join(folder, 'summary.md');
  execFileSync(process.execPath, gatherWith('--expect', '2', '--summary', summary));
  expect(readFileSync(summary, 'utf8')).toMatch(
    /nothing lost[\s\S]*section burst-1 amd64[\s\S]*section burst-2/,
  );

  const lost = spawnSync(process.execPath, gatherWith('--expect', '3'), { encoding: 'utf8' });
  expect(lost.status).toBe(1);
  expect(lost.stderr).toContain('1 of 3 builds left no report');
  expect(spawnSync(process.execPath, gatherWith('--expect', 'x')).status).toBe(2);
});
