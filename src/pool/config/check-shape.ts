/** Each value of pool.yaml by itself: what the schema says, in words for a person, all at once. */
import { z } from 'zod';
import { type Finding, type Path, refusal } from './finding.ts';
import { listing, poolFileSchema, type WrittenFile } from './schema.ts';
import { has, valueAt } from './source.ts';

export type Shape =
  | { readonly kind: 'shaped'; readonly written: WrittenFile }
  | { readonly kind: 'misshapen'; readonly findings: readonly Finding[] };

export function checkShape(value: unknown): Shape {
  const result = poolFileSchema.safeParse(value);
  if (result.success) return { kind: 'shaped', written: result.data };
  const findings = result.error.issues.flatMap((issue) => findingsOf(issue, [], value));
  // One value can break several rules with the same remedy.
  const seen = new Set<string>();
  return {
    kind: 'misshapen',
    findings: findings.filter(({ path, problem, remedy }) => {
      const identity = JSON.stringify([path, problem, remedy]);
      return !seen.has(identity) && seen.add(identity);
    }),
  };
}

function findingsOf(issue: z.core.$ZodIssue, parent: Path, file: unknown): Finding[] {
  const path = [...parent, ...issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, path, file));
    case 'invalid_key':
      return [
        refusal(path, `${quote(path.at(-1))} is no name here`, issue.issues[0]?.message ?? issue.message, []),
      ];
    case 'invalid_union': {
      // A map was meant where one of the choices is a map: then its own faults say more.
      const within = issue.errors.find((errors) =>
        errors.some(({ code, path: deeper }) => deeper.length > 0 || code === 'unrecognized_keys'),
      );
      const value = valueAt(file, path);
      if (within !== undefined && typeof value === 'object' && value !== null) {
        return within.flatMap((deeper) => findingsOf(deeper, path, file));
      }
      return [wrongValue(path, file, issue.message)];
    }
    default:
      return [wrongValue(path, file, issue.message)];
  }
}

function wrongValue(path: Path, file: unknown, remedy: string): Finding {
  if (path.length === 0) return refusal(path, 'this is no pool.yaml', remedy, []);
  if (!has(file, path)) return refusal(path, `\`${path.at(-1)}\` is missing`, remedy, []);
  const value = valueAt(file, path);
  return value === null
    ? refusal(path, `\`${path.at(-1)}\` is empty`, `${remedy}, or leave the key out`, [])
    : refusal(path, `${quote(value)} does not fit`, remedy, []);
}

/** A value for a message: short, on one line. What a map or a list holds is in the file, and may go round in circles. */
export function quote(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? '`[]`' : 'a list';
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0 ? '`{}`' : 'a map';
  const text = JSON.stringify(value) ?? String(value);
  return `\`${text.length <= 80 ? text : `${text.slice(0, 77)}...`}\``;
}

function unknownKey(key: string, path: Path, file: unknown): Finding {
  const known = keysAt(poolFileSchema, path);
  const near = known
    .map((name) => ({ name, distance: editDistance(key.toLowerCase(), name) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const isNear = near !== undefined && near.distance <= Math.max(2, near.name.length / 3);
  return refusal(
    [...path, key],
    `${quote(key)} is no key here`,
    isNear
      ? `did you mean \`${near.name}\`?`
      : `known here are ${listing(known.map((name) => `\`${name}\``)) || 'none'}`,
    isNear && !has(file, [...path, near.name]) ? [[...path, near.name]] : [],
  );
}

/** The keys that the schema knows at a path of the file. */
function keysAt(schema: z.core.$ZodType, path: Path): readonly string[] {
  if (schema instanceof z.ZodOptional) return keysAt(schema.unwrap(), path);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => keysAt(option, path));
  const [step, ...rest] = path;
  if (schema instanceof z.ZodObject) {
    if (step === undefined) return Object.keys(schema.shape);
    const next = (schema.shape as Record<string, z.core.$ZodType>)[step];
    return next === undefined ? [] : keysAt(next, rest);
  }
  if (step === undefined) return [];
  if (schema instanceof z.ZodRecord) return keysAt(schema.valueType, rest);
  if (schema instanceof z.ZodArray) return keysAt(schema.element, rest);
  return [];
}

/** Levenshtein's; keys are short. */
function editDistance(a: string, b: string): number {
  if (a.length > 40) return a.length;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, character] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replace = (row[j] ?? 0) + (character === b[j] ? 0 : 1);
      next.push(Math.min(replace, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
