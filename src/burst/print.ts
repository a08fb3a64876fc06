/** A burst's results for people. */
import type { BurstResult } from './result.ts';

const MOST_ROWS = 40;

export function renderResult(result: BurstResult): string {
  const { builds, builders } = result;
  const startMs = Math.min(...builds.map(({ joined_at }) => Date.parse(joined_at)));
  const ordered = builds.toSorted((one, other) => one.joined_at.localeCompare(other.joined_at));
  const rows = ordered
    .slice(0, MOST_ROWS)
    .map((build) => [
      build.id,
      formatSeconds(Date.parse(build.joined_at) - startMs),
      formatSeconds(build.queue_ms),
      formatSeconds(build.build_ms),
      build.outcome,
    ]);
  const left = builds.length - rows.length;
  return [
    renderTable(['build', 'joined', 'queued', 'built', 'outcome'], rows),
    ...(left > 0 ? [`… and ${left} more in the JSON file`] : []),
    '',
    renderTable(
      ['builder', 'ready', 'builds'],
      builders.map((builder) => [
        builder.name,
        formatSeconds(Date.parse(builder.ready_at) - startMs),
        String(builder.builds),
      ]),
    ),
    '',
    renderSummary(result),
  ].join('\n');
}

function renderSummary(result: BurstResult): string {
  const { handoff_ms: handoff, builds } = result;
  const excess = result.ideal_ms > 0 ? (result.makespan_ms / result.ideal_ms - 1) * 100 : 0;
  const lines: readonly (readonly [string, string])[] = [
    ['failed', `${result.failed} of ${builds.length}`],
    [
      'whole run',
      `${formatSeconds(result.makespan_ms)} (ideal ${formatSeconds(result.ideal_ms)}, ${excess < 0 ? '' : '+'}${excess.toFixed(1)} %)`,
    ],
    ['order inversions', String(result.order_inversions)],
    [
      'builder handed on in',
      handoff === null
        ? 'nobody waited'
        : `${handoff.p50} ms (p95 ${handoff.p95} ms, longest ${handoff.max} ms)`,
    ],
    ['demand error', `${(result.demand_error * 100).toFixed(2)} % of the builds`],
    ['ghosts', String(result.ghosts)],
    ['connections', `${result.connections} for ${builds.length} builds`],
  ];
  return lines.map(([label, value]) => `${label.padEnd(22)}${value}`).join('\n');
}

function formatSeconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)}s`;
}

function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  return [head, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
