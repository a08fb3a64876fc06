/** Inputs and outputs of bake-matrix/action.yml: docker/bake-action's sub-action `matrix`, and a little more. */
import type { InputTable } from '../action/inputs/source.ts';

export const MATRIX_INPUTS = {
  workdir: {
    description: 'Folder of the bake files',
    default: '.',
  },
  files: {
    description: 'Bake files, separated by commas or lines; by default those that buildx looks for',
  },
  target: {
    description: 'Targets or groups to list, separated by commas or lines; by default `default`',
  },
  fields: {
    description:
      'Fields of the targets to fan out too, such as platforms, separated by commas or lines: one entry for each combination of their values',
  },
  vars: {
    description: 'Variables of the bake files, one `NAME=value` a line; needs buildx 0.31',
  },
} as const satisfies InputTable;

export const MATRIX_OUTPUTS = {
  matrix: 'For `strategy.matrix.include`: JSON, a list of entries with `target` and the fields asked for',
  targets: 'Names of the targets alone: JSON, a list of texts',
} as const;
