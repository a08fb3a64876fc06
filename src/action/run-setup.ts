/** GitHub's edge of set-up mode: outputs and state in main, summary in post. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as core from '@actions/core';
import type { Buildx } from '../build/buildx.ts';
import type { Plan } from '../build/plan.ts';
import { giveBack } from '../setup/give-back.ts';
import { findRunner } from '../setup/runner-process.ts';
import { setUp } from '../setup/set-up.ts';
import { describeBuilds, renderSetupSummary } from '../setup/setup-report.ts';
import type { SetupState } from '../setup/setup-state.ts';
import type { SetupWork } from '../setup/setup-work.ts';
import { formatDuration } from './duration.ts';
import { removeRunFolder } from './run-folder.ts';
import { STATE_SETUP } from './state.ts';

/** Leaves a builder for the later steps. Resolves with the message of a failure, or undefined. */
export async function runSetup(
  plan: Plan,
  work: SetupWork,
  world: {
    readonly env: NodeJS.ProcessEnv;
    readonly folder: string;
    readonly buildx: Promise<Buildx>;
    readonly signal: AbortSignal;
  },
): Promise<string | undefined> {
  const { env, folder, buildx, signal } = world;
  // A folder of its own: mkdtemp finds a name that no other step of the job has.
  const reports = await mkdtemp(join(env['RUNNER_TEMP'] || tmpdir(), 'buildkit-pool-report-'));
  const reportPath = join(reports, 'report.json');
  try {
    const builder = await setUp(work, plan, {
      env,
      folder,
      buildx,
      gatewayEntry: fileURLToPath(new URL('./gateway.js', import.meta.url)),
      reportPath,
      runner: findRunner(process.ppid),
      signal,
      onState: (state) => core.saveState(STATE_SETUP, JSON.stringify(state)),
    });
    const platforms = plan.nodes.map(({ builds }) => builds.join(','));
    core.setOutput('name', builder.name);
    core.setOutput('driver', 'remote');
    core.setOutput('platforms', platforms.join(','));
    core.setOutput('endpoint', builder.nodes[0]?.address);
    core.setOutput(
      'nodes',
      JSON.stringify(
        builder.nodes.map((node, index) => ({
          name: node.name,
          endpoint: node.address,
          status: 'running',
          platforms: platforms[index],
        })),
        undefined,
        2,
      ),
    );
    core.setOutput('report', reportPath);
    // Two jobs on one machine share buildx's default; what a variable says is said to this job alone.
    if (work.use) core.exportVariable('BUILDX_BUILDER', builder.name);
    core.info(
      `builder ${builder.name} leads to ${plan.nodes.map((node) => node.endpoint.url).join(', ')}; a place in line is taken when the first build comes`,
    );
    return undefined;
  } catch (error) {
    await removeRunFolder(folder);
    if (signal.aborted) return 'cancelled; nothing was taken from the pool';
    throw error;
  }
}

/** Gives back what a set-up step has left, and tells what came of it. */
export async function finishSetup(state: SetupState, folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const { report, log } = await giveBack(state, folder, env);
  // A builder that is gone must not be the default of the steps whose post is still to come.
  if (state.previousBuilder !== undefined && state.cleanup) {
    core.exportVariable('BUILDX_BUILDER', state.previousBuilder);
  }
  if (log.length > 0) {
    core.startGroup('What the gateway did');
    for (const line of log) core.info(line);
    core.endGroup();
  }
  if (report === undefined) return;
  core.info(
    `builder ${report.builder}: queued ${formatDuration(report.queue_ms)}, builds: ${describeBuilds(report.builds)}; everything was given back`,
  );
  if (env['GITHUB_STEP_SUMMARY']) await core.summary.addRaw(renderSetupSummary(report)).write();
}
