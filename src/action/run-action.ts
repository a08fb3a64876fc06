import * as core from '@actions/core';
import { findBuildx, type WantedBuildx } from '../build/buildx.ts';
import type { LocalWorld } from '../build/local-session.ts';
import type { Plan, SessionPlan } from '../build/plan.ts';
import { runSession } from '../build/session.ts';
import { isOutOfReach, Story } from '../build/story.ts';
import { secretValues } from '../build/work.ts';
import { makeReport } from '../report/build-report.ts';
import { Announcer } from './announcer.ts';
import { readDraft } from './inputs.ts';
import { LeftBehind } from './left-behind.ts';
import { watchLines } from './line-watch.ts';
import { describeFailure, publish } from './publish.ts';
import { makeRunFolder, removeRunFolder } from './run-folder.ts';
import { settle } from './settle.ts';

/**
 * The Action, from inputs to outputs. Resolves with the message of a failure, or undefined.
 * Rejects on bad input before anything is opened, and on a machine that can't build (no buildx, or an old one).
 */
export async function runAction(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string | undefined> {
  const draft = readDraft({
    read: (name) => core.getInput(name),
    readWhole: (name) => core.getInput(name, { trimWhitespace: false }),
    runnerArch: env['RUNNER_ARCH'] ?? process.arch,
    workspace: process.cwd(),
    env,
  });
  // Anywhere else the command that hides a value would show it.
  if (env['GITHUB_ACTIONS'] === 'true') {
    for (const value of secretValues(draft.work)) core.setSecret(value);
    if (draft.tls?.key !== undefined) core.setSecret(draft.tls.key);
  }
  for (const warning of draft.warnings) core.warning(warning);
  const orCancelled = (error: unknown): undefined => {
    if (!signal.aborted) throw error;
    return undefined;
  };
  const plan = await settle(draft, signal, (message) => core.warning(message)).catch(orCancelled);
  if (plan === undefined) return 'cancelled; nothing had been asked for yet';

  // Installed before the line is joined: no builder has to wait for a download.
  const wanted = wantedBuildx(plan, signal);
  const installed = wanted === undefined ? undefined : await findBuildx(env, wanted).catch(orCancelled);
  if (wanted !== undefined && installed === undefined) return 'cancelled; no builder had been asked for yet';
  const folder = await makeRunFolder(env);
  const leftBehind = new LeftBehind(folder);
  const buildx = installed === undefined ? findBuildx(env) : Promise.resolve(installed);
  // Awaited in the session, which may end without it.
  buildx.catch(() => {});
  const { work } = plan;
  if (work.kind === 'setup') {
    const { runSetup } = await import('./run-setup.ts');
    return await runSetup(plan, work, { env, folder, buildx, signal });
  }
  const over = new AbortController();
  const look = watchLines(plan, AbortSignal.any([signal, over.signal]));
  const announcer = new Announcer({
    urls: new Map(plan.nodes.map(({ arch, endpoint }) => [arch, endpoint.url])),
    print: (line) => core.info(line),
    ...(look === undefined ? {} : { look }),
  });
  const session: SessionPlan = { ...plan, work };
  const world: LocalWorld = {
    env,
    cwd: process.cwd(),
    folder,
    buildx,
    signal,
    onStep: (step) => {
      if (step.kind === 'started') leftBehind.add(step.pid);
      announcer.tell(step);
    },
    onBuilder: (trace) => leftBehind.addLocalBuilder(trace),
    onWarning: (message) => core.warning(message),
  };
  try {
    let result =
      plan.unreached === undefined
        ? await runSession(session, world)
        : new Story([]).finish('unreachable', undefined, plan.unreached);
    announcer.stop();
    if (plan.fallback === 'local' && isOutOfReach(result)) {
      const { runLocally } = await import('../build/local-session.ts');
      core.warning(`${result.reason}; building on this machine instead (\`fallback: local\`)`);
      result = await runLocally(work, world, result);
    }
    const report = makeReport(session, result);
    await publish(report, result, env);
    return result.outcome === 'succeeded' ? undefined : describeFailure(result);
  } finally {
    announcer.stop();
    over.abort();
    await removeRunFolder(folder);
  }
}

function wantedBuildx({ buildxVersion, work }: Plan, signal: AbortSignal): WantedBuildx | undefined {
  if (buildxVersion === undefined) return undefined;
  return {
    version: buildxVersion,
    asPlugin: work.kind === 'run' || work.kind === 'setup',
    onProgress: (line) => core.info(line),
    signal,
  };
}
