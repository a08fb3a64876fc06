import * as core from '@actions/core';
import { runAction } from './action/run-action.ts';

const cancelled = new AbortController();
// The runner cancels with SIGINT, then SIGTERM 7.5 s later; the first one already gives the builder back.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => cancelled.abort());

try {
  const failure = await runAction(process.env, cancelled.signal);
  if (failure !== undefined) core.setFailed(failure);
} catch (error) {
  core.setFailed(error instanceof Error ? error.message : String(error));
}
// What was given up, such as a download, must not hold up the end of a cancelled step.
if (cancelled.signal.aborted) process.exit();
