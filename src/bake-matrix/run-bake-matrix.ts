import { statSync } from 'node:fs';
import * as core from '@actions/core';
import { parseList } from '../action/inputs/list.ts';
import { InputProblems, Problems } from '../action/inputs/source.ts';
import { readDefinition } from '../build/bake-reading.ts';
import { findBuildx } from '../build/buildx.ts';
import { CsvProblem } from '../csv.ts';
import { MATRIX_INPUTS } from './contract.ts';
import { MAX_ENTRIES, makeMatrix } from './matrix.ts';

/** Lists the targets of bake files, without any builder. Rejects with a message for a person. */
export async function runBakeMatrix(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<void> {
  const { folder, files, targets, fields, vars } = readInputs();
  const work = {
    source: { kind: 'folder', path: folder },
    files,
    targets,
    set: [],
    vars,
    load: false,
    push: false,
    gitToken: undefined,
  } as const;
  const buildx = await findBuildx(env);
  const definition = await readDefinition(work, { buildx, builder: '', env, cwd: process.cwd(), signal });
  const matrix = makeMatrix(definition, fields);
  if (matrix.length > MAX_ENTRIES) {
    throw new Error(
      `the matrix has ${matrix.length} entries, and GitHub runs at most ${MAX_ENTRIES} jobs of one: name fewer targets or fields`,
    );
  }
  for (const entry of matrix) core.info(JSON.stringify(entry));
  core.setOutput('matrix', JSON.stringify(matrix));
  core.setOutput('targets', JSON.stringify(Object.keys(definition.target)));
}

function readInputs() {
  const problems = new Problems();
  const list = (name: keyof typeof MATRIX_INPUTS, commas: 'separate' | 'belong' = 'separate') => {
    const text = core.getInput(name);
    try {
      return parseList(text, { commas, quotes: commas === 'belong' ? 'belong' : 'enclose' });
    } catch (error) {
      if (!(error instanceof CsvProblem)) throw error;
      problems.add(name, text, error.message);
      return [];
    }
  };
  const folder = core.getInput('workdir') || MATRIX_INPUTS.workdir.default;
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    problems.add('workdir', folder, 'no such folder; is a checkout step missing?');
  }
  const inputs = {
    folder,
    files: list('files'),
    targets: list('target'),
    fields: list('fields'),
    vars: list('vars', 'belong'),
  };
  for (const target of inputs.targets) {
    if (target.startsWith('-')) problems.add('target', target, 'a target does not begin with -');
  }
  if (problems.found.length > 0) throw new InputProblems(problems.found);
  return inputs;
}
