import type { BakeDefinition } from '../build/bake-definition.ts';

/** A job's part of the matrix: `target`, and those of the fields that the target has. */
export type MatrixEntry = Readonly<Record<string, unknown>>;

/** GitHub's limit for the jobs of one matrix. */
export const MAX_ENTRIES = 256;

/** One entry a target; for fields with several values, one for each combination of them. */
export function makeMatrix(definition: BakeDefinition, fields: readonly string[]): readonly MatrixEntry[] {
  return Object.entries(definition.target).flatMap(([target, values]) =>
    fields
      .filter((field) => Object.hasOwn(values, field))
      .reduce<readonly MatrixEntry[]>(
        (entries, field) =>
          entries.flatMap((entry) => listOf(values[field]).map((value) => ({ ...entry, [field]: value }))),
        [{ target }],
      ),
  );
}

/** A list without values fans out into nothing, and so counts as one value that is not there. */
function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) return [value];
  return value.length === 0 ? [undefined] : value;
}
