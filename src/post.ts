import * as core from '@actions/core';
import { cleanUp } from './action/clean-up.ts';
import { parseProcesses } from './action/processes.ts';
import { STATE_FOLDER, STATE_PROCESSES } from './action/state.ts';

try {
  const { endedPids } = await cleanUp(
    core.getState(STATE_FOLDER),
    parseProcesses(core.getState(STATE_PROCESSES)),
  );
  if (endedPids.length > 0)
    core.info(`ended what the killed step had left running (${endedPids.length} processes)`);
} catch (error) {
  // The job's result is the build's, not the clean-up's.
  core.warning(error instanceof Error ? error.message : String(error));
}
