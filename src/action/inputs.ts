/** Every input of the Action; action.yml and the README's table are generated from these tables. */
import { runnerArchitecture } from '../build/architecture.ts';
import { type DraftPlan, PlanProblems, settlePlan } from '../build/draft-plan.ts';
import { withAliases } from './inputs/alias-inputs.ts';
import { BUILDX_INPUTS, readBuildxVersion } from './inputs/buildx-inputs.ts';
import { FALLBACK_INPUTS, readFallback } from './inputs/fallback-inputs.ts';
import {
  POOL_INPUTS,
  readConnectTimeout,
  readPlatforms,
  readPool,
  readQueueTimeout,
  readRetries,
} from './inputs/pool-inputs.ts';
import { SETUP_INPUTS } from './inputs/setup-inputs.ts';
import { InputProblems, type InputSource, type InputTable, Problems } from './inputs/source.ts';
import { readTls } from './inputs/tls-inputs.ts';
import { readWork, WORK_INPUTS } from './inputs/work-inputs.ts';

export { InputProblems };

export const INPUTS = {
  ...POOL_INPUTS,
  ...FALLBACK_INPUTS,
  ...BUILDX_INPUTS,
  ...WORK_INPUTS,
  ...SETUP_INPUTS,
} as const satisfies InputTable;
export type InputName = keyof typeof INPUTS;

/**
 * What the inputs stand for, as far as they can tell without the pool. Opens nothing but files of certificates; throws
 * `InputProblems` with all of them at once.
 */
export function readDraft(given: InputSource): DraftPlan {
  const problems = new Problems();
  for (const name of Object.keys(INPUTS)) {
    // Neither an argument nor a path can hold one.
    if (given.read(name).includes('\0')) problems.addSecret(name, 'remove the NUL character');
  }
  const source = withAliases(given, problems);
  const runnerArch = runnerArchitecture(source.runnerArch);
  const pool = readPool(source, problems);
  const tls = readTls(source, problems, Date.now());
  const platforms = readPlatforms(source, problems);
  const queueTimeoutMs = readQueueTimeout(source, problems);
  const connectTimeoutMs = readConnectTimeout(source, problems);
  const buildxVersion = readBuildxVersion(source, problems);
  const work = readWork(source, problems);
  const lostBuilderRetries = readRetries(source, work?.kind === 'run' ? 0 : 1, problems);
  if (platforms.length === 0 && runnerArch === undefined) {
    problems.addPlain(
      `the runner's architecture is ${JSON.stringify(source.runnerArch)}: pools serve X64 and ARM64; use such a runner, or say in \`platforms\` what to build`,
    );
  }
  if (pool === undefined) throw new InputProblems(problems.found);
  const draft: DraftPlan = {
    pool,
    runnerArch,
    platforms,
    tls,
    queueTimeoutMs,
    connectTimeoutMs,
    // What is wrong with these has been said, and does not hide what is wrong with the pool.
    lostBuilderRetries: lostBuilderRetries ?? 0,
    fallback: readFallback(source, work, problems),
    buildxVersion,
    work: work ?? { kind: 'run', script: '', platforms: [] },
    warnings: problems.warnings,
  };
  addProblemsOfPlan(draft, problems);
  if (problems.found.length > 0) throw new InputProblems(problems.found);
  return draft;
}

/** Without a document an endpoint must do, alone or as the one to fall back on. */
function addProblemsOfPlan(draft: DraftPlan, problems: Problems): void {
  if (draft.pool.endpoint === undefined) return;
  try {
    // A runner of an unknown kind has been told of already.
    settlePlan({ ...draft, runnerArch: draft.runnerArch ?? 'amd64' }, undefined);
  } catch (error) {
    if (!(error instanceof PlanProblems)) throw error;
    for (const problem of error.problems) problems.addPlain(problem);
  }
}
