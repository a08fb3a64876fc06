import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as core from '@actions/core';
import { findBuildx } from '../build/buildx.ts';
import { fitMetadata } from '../build/image-result.ts';
import { runSession, type SessionResult } from '../build/session.ts';
import { secretValues } from '../build/work.ts';
import { identify, type ProcessIdentity } from '../process-identity.ts';
import { makeReport } from '../report/build-report.ts';
import type { Report } from '../report/report.ts';
import { renderSummary } from '../report/summary.ts';
import { Announcer } from './announcer.ts';
import { formatDuration } from './duration.ts';
import { readPlan } from './inputs.ts';
import { makeRunFolder, removeRunFolder } from './run-folder.ts';
import { STATE_FOLDER, STATE_PROCESSES } from './state.ts';

/**
 * The Action, from inputs to outputs. Resolves with the message of a failure, or undefined.
 * Rejects on bad input before anything is opened, and on a machine that can't build (no buildx, or an old one).
 */
export async function runAction(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string | undefined> {
  const plan = readPlan({
    read: (name) => core.getInput(name),
    readWhole: (name) => core.getInput(name, { trimWhitespace: false }),
    env,
    runnerArch: env['RUNNER_ARCH'] ?? process.arch,
    workspace: process.cwd(),
  });
  // Anywhere else the command that hides a value would show it.
  if (env['GITHUB_ACTIONS'] === 'true') for (const value of secretValues(plan.work)) core.setSecret(value);
  for (const warning of plan.warnings) core.warning(warning);

  const folder = await makeRunFolder(env);
  const leftBehind = new LeftBehind(folder);
  const announcer = new Announcer(plan.endpoint.url, (line) => core.info(line));
  const buildx = findBuildx(env);
  // Awaited in the session, which may end without it.
  buildx.catch(() => {});
  try {
    const result = await runSession(plan, {
      env,
      cwd: process.cwd(),
      folder,
      buildx,
      signal,
      onStep: (step) => {
        if (step.kind === 'started') leftBehind.add(step.pid);
        announcer.tell(step);
      },
    });
    const report = makeReport(plan, result);
    await publish(report, result, env);
    return result.outcome === 'succeeded' ? undefined : describeFailure(result);
  } finally {
    announcer.stop();
    await removeRunFolder(folder);
  }
}

/** What `post` has to look for should this process be killed without warning. Saved before anything is opened. */
class LeftBehind {
  readonly #processes: ProcessIdentity[] = [];

  constructor(folder: string) {
    core.saveState(STATE_FOLDER, folder);
    this.add(process.pid);
  }

  add(pid: number): void {
    const identity = identify(pid);
    if (identity === undefined) return;
    this.#processes.push(identity);
    core.saveState(STATE_PROCESSES, JSON.stringify(this.#processes));
  }
}

async function publish(report: Report, result: SessionResult, env: NodeJS.ProcessEnv): Promise<void> {
  core.setOutput('queue-time', formatDuration(report.queue_ms));
  core.setOutput('queue-time-ms', report.queue_ms);
  core.setOutput('build-time-ms', report.build_ms);
  core.setOutput('attempts', result.runs);
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
    const name = `buildkit-pool-report-${randomBytes(6).toString('hex')}.json`;
    const path = join(env['RUNNER_TEMP'] || tmpdir(), name);
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

function describeFailure(result: SessionResult): string {
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
