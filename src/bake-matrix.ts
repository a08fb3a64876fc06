import * as core from '@actions/core';
import { runBakeMatrix } from './bake-matrix/run-bake-matrix.ts';
import { BakeProblem } from './build/bake-definition.ts';

const cancelled = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => cancelled.abort());

try {
  await runBakeMatrix(process.env, cancelled.signal);
} catch (error) {
  // A problem of a bake reads on from «it»: the bake, or here the folder.
  const message = error instanceof Error ? error.message : String(error);
  core.setFailed(error instanceof BakeProblem ? `the folder ${message}` : message);
}
