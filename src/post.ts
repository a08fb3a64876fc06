import * as core from '@actions/core';
import { cleanUp } from './action/clean-up.ts';
import { parseProcesses } from './action/processes.ts';
import { finishSetup } from './action/run-setup.ts';
import { STATE_FOLDER, STATE_LOCAL_BUILDER, STATE_PROCESSES, STATE_SETUP } from './action/state.ts';
import { removeLocalBuilderOf } from './build/local-builder.ts';
import { parseSetupState } from './setup/setup-state.ts';

try {
  const folder = core.getState(STATE_FOLDER);
  const setup = parseSetupState(core.getState(STATE_SETUP));
  const { endedPids } = await cleanUp(folder, parseProcesses(core.getState(STATE_PROCESSES)), async () => {
    const trouble = await removeLocalBuilderOf(core.getState(STATE_LOCAL_BUILDER), process.env);
    if (trouble !== undefined) core.warning(trouble);
    if (setup !== undefined) await finishSetup(setup, folder, process.env);
  });
  if (endedPids.length > 0)
    core.info(`ended what the killed step had left running (${endedPids.length} processes)`);
} catch (error) {
  // The job's result is the build's, not the clean-up's.
  core.warning(error instanceof Error ? error.message : String(error));
}
