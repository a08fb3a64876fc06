import { formatDuration } from '../action/duration.ts';
import type { Outcome, Report } from './report.ts';

const WORDS: Record<Outcome, string> = {
  succeeded: 'succeeded',
  failed: 'failed',
  cancelled: 'cancelled',
  'queue-timeout': 'no builder in time',
  unreachable: 'pool not reached',
  'builder-lost': 'builder lost',
};

/** The job summary of one build, in GitHub's Markdown. */
export function renderSummary(report: Report, runs: number, reason: string | undefined): string {
  const several = report.nodes.length > 1;
  const lines = [
    `### Pool build: ${WORDS[report.outcome]}`,
    '',
    '| queued | built | builders used | architecture | pool |',
    '| --- | --- | --- | --- | --- |',
    `| ${formatDuration(report.queue_ms)} | ${formatDuration(report.build_ms)} | ${runs} | ${several ? report.nodes.map(({ arch }) => arch).join(', ') : report.arch} | \`${report.builder}\` |`,
    '',
    ...(several ? waits(report) : []),
  ];
  if (report.fallback)
    lines.push('> The pool could not be had: built on this machine (`fallback: local`).', '');
  if (reason !== undefined) lines.push(`> ${escapeMarkdown(reason)}`, '');
  if (runs > 1 || report.attempts.some((attempt) => attempt.reason.includes(':'))) {
    lines.push('<details><summary>Timeline</summary>', '', '| at | phase | why |', '| --- | --- | --- |');
    // A pool that refused for two hours would fill the summary: the last steps tell the story.
    for (const { at, phase, reason: why } of report.attempts.slice(-30)) {
      lines.push(`| ${at} | ${phase} | ${escapeMarkdown(why)} |`);
    }
    lines.push('', '</details>', '');
  }
  return lines.join('\n');
}

/** Where the time went, line by line. */
function waits(report: Report): readonly string[] {
  const held = (from: string | null) =>
    from === null || report.granted_at === null
      ? ''
      : formatDuration(Math.max(Date.parse(report.granted_at) - Date.parse(from), 0));
  return [
    '| architecture | queued | held for the others |',
    '| --- | --- | --- |',
    ...report.nodes.map(
      (node) => `| ${node.arch} | ${formatDuration(node.queue_ms)} | ${held(node.granted_at)} |`,
    ),
    '',
  ];
}

function escapeMarkdown(text: string): string {
  return text
    .replace(/[\r\n]+/g, ' ')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/[|`*_[\]\\]/g, (character) => `\\${character}`);
}
