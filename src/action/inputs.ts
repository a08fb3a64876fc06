/** Every input of the Action; action.yml and the README's table are generated from these tables. */
import type { Plan } from '../build/plan.ts';
import { planNodes } from '../build/plan-nodes.ts';
import { POOL_INPUTS, readArch, readEndpoint, readQueueTimeout, readRetries } from './inputs/pool-inputs.ts';
import { SETUP_INPUTS } from './inputs/setup-inputs.ts';
import { InputProblems, type InputSource, type InputTable, Problems } from './inputs/source.ts';
import { readWork, WORK_INPUTS } from './inputs/work-inputs.ts';

export { InputProblems };

export const INPUTS = { ...POOL_INPUTS, ...WORK_INPUTS, ...SETUP_INPUTS } as const satisfies InputTable;
export type InputName = keyof typeof INPUTS;

/** The plan that the inputs stand for. Opens nothing; throws `InputProblems` with all of them at once. */
export function readPlan(source: InputSource): Plan {
  const problems = new Problems();
  for (const name of Object.keys(INPUTS)) {
    // Neither an argument nor a path can hold one.
    if (source.read(name).includes('\0')) problems.add(name, source.read(name), 'remove the NUL character');
  }
  const arch = readArch(source, problems);
  const endpoint = readEndpoint(source, arch, problems);
  const queueTimeoutMs = readQueueTimeout(source, problems);
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
  const nodes = planNodes(source.read('endpoint'), arch, readPlatforms(source));
  return { arch, endpoint, nodes, queueTimeoutMs, lostBuilderRetries, work };
}

function readPlatforms(source: InputSource): string[] {
  return source
    .read('platforms')
    .split(/[\r\n,]+/)
    .map((text) => text.trim())
    .filter((text) => text !== '');
}
