import { expect, test } from 'vitest';
import type { Report } from '../../../src/report/report.ts';
import { renderSummary } from '../../../src/report/summary.ts';

const report: Report = {
  schema: 'buildkit-pool/report/v1',
  arch: 'amd64',
  platforms: [],
  outcome: 'succeeded',
  joined_at: '2026-11-23T12:00:00.000Z',
  granted_at: '2026-11-23T12:02:13.000Z',
  released_at: '2026-11-23T12:03:13.000Z',
  queue_ms: 133_000,
  build_ms: 60_000,
  attempts: [{ phase: 'queued', at: '2026-11-23T12:00:00.000Z', reason: 'joined the line' }],
  nodes: [
    {
      arch: 'amd64',
      endpoint: 'tcp://pool:1',
      joined_at: '2026-11-23T12:00:00.000Z',
      granted_at: '2026-11-23T12:02:13.000Z',
      queue_ms: 133_000,
    },
  ],
  builder: 'tcp://pool:1',
  fallback: false,
};

test('a plain success is one line of a table', () => {
  expect(renderSummary(report, 1, undefined)).toBe(
    [
      '### Pool build: succeeded',
      '',
      '| queued | built | builders used | architecture | pool |',
      '| --- | --- | --- | --- | --- |',
      '| 2m13s | 1m00s | 1 | amd64 | `tcp://pool:1` |',
      '',
    ].join('\n'),
  );
});

test('what builds print can neither break the table nor smuggle in markup', () => {
  const evil = 'a|b\n<script>alert(1)</script> [x](y) `z`';
  const page = renderSummary(
    {
      ...report,
      outcome: 'failed',
      attempts: [{ phase: 'done', at: report.joined_at, reason: `x: ${evil}` }],
    },
    2,
    evil,
  );
  expect(page).not.toContain('<script>');
  expect(page).not.toMatch(/(?<!\\)\[x]/);
  expect(page.split('\n').filter((line) => line.includes('alert'))).toHaveLength(2);
});

test('two hours of refusals do not fill the summary', () => {
  const attempts = Array.from({ length: 5_000 }, () => ({
    phase: 'dialling' as const,
    at: report.joined_at,
    reason: 'refused: no',
  }));
  expect(renderSummary({ ...report, attempts }, 1, undefined).split('\n').length).toBeLessThan(60);
});

test('of several architectures each wait is told, and how long builders were held for the others', () => {
  const [amd64] = report.nodes;
  const arm64 = {
    arch: 'arm64',
    endpoint: 'tcp://pool:2',
    joined_at: null,
    granted_at: null,
    queue_ms: 7_000,
  };
  const page = renderSummary(
    {
      ...report,
      granted_at: '2026-11-23T12:02:43.000Z',
      nodes: [...(amd64 === undefined ? [] : [amd64]), arm64],
    },
    1,
    undefined,
  );
  expect(page).toContain('| 2m13s | 1m00s | 1 | amd64, arm64 |');
  expect(page).toContain('| amd64 | 2m13s | 30.0 s |');
  expect(page).toContain('| arm64 | 7.0 s |  |');
});
