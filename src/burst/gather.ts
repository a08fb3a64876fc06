/** Many builds' reports, from wherever they ran, as one result. Pure; `gather-command.ts` reads the files. */
import { formatDuration } from '../action/duration.ts';
import type { Report } from '../report/report.ts';

export interface GatheredBuild extends Report {
  /** What the build is called: its artifact's name, as a rule. */
  readonly id: string;
}

export interface Gathered {
  /** In the order in which they joined. */
  readonly builds: readonly GatheredBuild[];
  /** What must not be: whole sentences, empty when all is well. */
  readonly losses: readonly string[];
}

/** GitHub draws a Mermaid text of at most 50,000 characters; a build takes some 150. */
const MOST_BARS = 200;

/** Puts the builds in order and says what is lost: builds that left no report, or none of the pool's successes. */
export function gather(builds: readonly GatheredBuild[], expected: number): Gathered {
  const losses = builds
    .filter(({ outcome }) => outcome !== 'succeeded')
    .map(
      ({ id, outcome, attempts }) => `${id}: ${outcome} (${attempts.at(-1)?.reason ?? 'no reason given'})`,
    );
  if (builds.length < expected) {
    losses.push(`${expected - builds.length} of ${expected} builds left no report`);
  }
  const elsewhere = builds.filter(({ fallback }) => fallback).length;
  if (elsewhere > 0) losses.push(`${elsewhere} builds were not built by the pool`);
  return {
    builds: builds.toSorted((one, other) => one.joined_at.localeCompare(other.joined_at)),
    losses,
  };
}

/** The whole burst in GitHub's Markdown: numbers, losses, a timeline. */
export function renderGathered({ builds, losses }: Gathered): string {
  const waits = builds.map(({ queue_ms }) => queue_ms).toSorted((one, other) => one - other);
  const lines = [
    `### Burst: ${builds.length} builds, ${losses.length === 0 ? 'nothing lost' : 'something was lost'}`,
    '',
    ...losses.map((loss) => `- ${plain(loss)}`),
    ...(losses.length > 0 ? [''] : []),
  ];
  const first = builds[0];
  if (first === undefined) return lines.join('\n');
  const ends = builds.flatMap(({ released_at }) => (released_at === null ? [] : [Date.parse(released_at)]));
  const wholeMs = ends.length === 0 ? 0 : Math.max(...ends) - Date.parse(first.joined_at);
  const again = builds.filter(
    ({ attempts }) => attempts.filter(({ phase }) => phase === 'building').length > 1,
  );
  return [
    ...lines,
    '| whole burst | queued: median | 95 % | longest | built again on another builder |',
    '| --- | --- | --- | --- | --- |',
    `| ${[
      formatDuration(wholeMs),
      ...[0.5, 0.95, 1].map((share) => formatDuration(atShare(waits, share))),
      again.length,
    ].join(' | ')} |`,
    '',
    ...renderTimeline(builds.slice(0, MOST_BARS)),
    ...(builds.length > MOST_BARS ? [`The first ${MOST_BARS} builds are drawn.`, ''] : []),
  ].join('\n');
}

function renderTimeline(builds: readonly GatheredBuild[]): string[] {
  return [
    '```mermaid',
    'gantt',
    '  dateFormat x',
    '  axisFormat %H:%M:%S',
    ...builds.flatMap(({ id, arch, outcome, joined_at, granted_at, released_at }) => {
      const joined = Date.parse(joined_at);
      const granted = granted_at === null ? undefined : Date.parse(granted_at);
      const released = released_at === null ? (granted ?? joined) : Date.parse(released_at);
      const bars = [`  queued :done, ${joined}, ${Math.max(granted ?? released, joined + 1)}`];
      if (granted !== undefined) {
        const tag = outcome === 'succeeded' ? 'active' : 'crit';
        bars.push(`  ${outcome} :${tag}, ${granted}, ${Math.max(released, granted + 1)}`);
      }
      return [`  section ${plain(id)} ${arch}`, ...bars];
    }),
    '```',
    '',
  ];
}

/** The smallest value that at least `share` of all do not exceed; 0 without values. */
function atShare(sorted: readonly number[], share: number): number {
  return sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)] ?? 0;
}

/** Neither Markdown nor Mermaid may be written through a name. */
function plain(text: string): string {
  return text
    .replace(/[^\w.,()/-]+/g, ' ')
    .trim()
    .slice(0, 200);
}
