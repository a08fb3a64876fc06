/** Every input of the Action; action.yml and the README's table are generated from these tables. */
import type { Plan } from '../build/plan.ts';
import { BUILDX_INPUTS, readBuildxVersion } from './inputs/buildx-inputs.ts';
import { POOL_INPUTS, readArch, readEndpoint, readQueueTimeout, readRetries } from './inputs/pool-inputs.ts';
import { InputProblems, type InputSource, type InputTable, Problems } from './inputs/source.ts';
import { readWork, WORK_INPUTS } from './inputs/work-inputs.ts';

export { InputProblems };

export const INPUTS = { ...POOL_INPUTS, ...BUILDX_INPUTS, ...WORK_INPUTS } as const satisfies InputTable;
export type InputName = keyof typeof INPUTS;

/** The plan that the inputs stand for. Opens nothing; throws `InputProblems` with all of them at once. */
export function readPlan(source: InputSource): Plan {
  const problems = new Problems();
  for (const name of Object.keys(INPUTS)) {
    // Neither an argument nor a path can hold one.
    if (source.readWhole(name).includes('\0')) problems.addSecret(name, 'remove the NUL character');
  }
  const arch = readArch(source, problems);
  const endpoint = readEndpoint(source, arch, problems);
  const queueTimeoutMs = readQueueTimeout(source, problems);
  const buildxVersion = readBuildxVersion(source, problems);
  const work = readWork(source, problems);
  const lostBuilderRetries = readRetries(source, work?.kind === 'run' ? 0 : 1, problems);
  if (
    problems.found.length > 0 ||
    arch === undefined ||
    endpoint === undefined ||
    queueTimeoutMs === undefined ||
    lostBuilderRetries === undefined ||
    work === undefined
  ) {
    throw new InputProblems(problems.found);
  }
  return {
    arch,
    endpoint,
    queueTimeoutMs,
    lostBuilderRetries,
    buildxVersion,
    work,
    warnings: problems.warnings,
  };
}
