/** What a session came to, for the job: outputs, log, report, summary. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as core from '@actions/core';
import { fitMetadata } from '../build/image-result.ts';
import type { SessionResult } from '../build/story.ts';
import type { Report } from '../report/report.ts';
import { renderSummary } from '../report/summary.ts';
import { formatDuration } from './duration.ts';

export async function publish(report: Report, result: SessionResult, env: NodeJS.ProcessEnv): Promise<void> {
  core.setOutput('queue-time', formatDuration(report.queue_ms));
  core.setOutput('queue-time-ms', report.queue_ms);
  const queueTimes = Object.fromEntries(report.nodes.map(({ arch, queue_ms }) => [arch, queue_ms]));
  core.setOutput('queue-times-ms', JSON.stringify(queueTimes));
  core.setOutput('build-time-ms', report.build_ms);
  core.setOutput('attempts', result.runs);
  core.setOutput('builder', report.builder);
  core.setOutput('imageid', result.image.imageId);
  core.setOutput('digest', result.image.digest);
  const metadata = fitMetadata(result.image.metadata);
  core.setOutput('metadata', metadata);
  if (metadata.length < result.image.metadata.length) {
    core.warning(
      `the metadata has ${result.image.metadata.length} characters, more than an output holds: ${metadata === '' ? 'it is left out' : 'provenance is left out of it'}`,
    );
  }
  core.info(
    `${report.outcome}: queued ${formatDuration(report.queue_ms)}, built ${formatDuration(report.build_ms)}, builders used: ${result.runs}`,
  );
  try {
    // A folder of its own: mkdtemp finds a name that no other step of the job has.
    const path = join(
      await mkdtemp(join(env['RUNNER_TEMP'] || tmpdir(), 'buildkit-pool-report-')),
      'report.json',
    );
    await writeFile(path, `${JSON.stringify(report, undefined, 2)}\n`);
    core.setOutput('report', path);
    if (env['GITHUB_STEP_SUMMARY']) {
      await core.summary.addRaw(renderSummary(report, result.runs, result.reason)).write();
    }
  } catch (error) {
    // The build's result stands, whatever becomes of what is written about it.
    core.warning(
      `the report could not be written: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

export function describeFailure(result: SessionResult): string {
  switch (result.outcome) {
    case 'succeeded':
      return '';
    case 'failed':
      return `the build failed: it ${result.reason}`;
    case 'cancelled':
      return 'cancelled; the builder was given back';
    case 'queue-timeout':
      return `${result.reason}; a longer \`queue-timeout\` waits longer, a larger pool is faster`;
    case 'unreachable':
      return `${result.reason}`;
    case 'builder-lost':
      return `${result.reason}, and \`lost-builder-retries\` allows no further run (builders used: ${result.runs})`;
  }
}
