/** From the text of pool.yaml to every number, or to everything that is wrong with it. */
import { checkShape } from './config/check-shape.ts';
import type { Finding, Path } from './config/finding.ts';
import type { PoolFile, Problem } from './config/model.ts';
import { isIndependent, prune } from './config/prune.ts';
import { resolveFile } from './config/resolve.ts';
import { has, readSource } from './config/source.ts';
import { findImpossible } from './sizing/check.ts';
import type { Sizing } from './sizing/model.ts';
import { sizeFile } from './sizing/size.ts';

export type Reading =
  | {
      readonly kind: 'accepted';
      readonly file: PoolFile;
      readonly sizing: Sizing;
      /** Risky, not wrong; in the order of the file. */
      readonly warnings: readonly Problem[];
    }
  | {
      readonly kind: 'refused';
      /** Errors and warnings, in the order of the file; at least one error. */
      readonly problems: readonly Problem[];
    };

/** Reads pool.yaml. Pure: opens nothing, never throws for what is in `text`. */
export function readPool(text: string): Reading {
  const source = readSource(text);
  if (source.kind === 'broken') return { kind: 'refused', problems: source.problems };
  const problemsOf = (findings: readonly Finding[]): readonly Problem[] =>
    findings
      .map((finding) => ({ ...source.locate({ ...finding, path: writtenPath(source.value, finding.path) }) }))
      .sort((a, b) => a.line - b.line || a.column - b.column);

  const shape = checkShape(source.value);
  if (shape.kind === 'misshapen') {
    return {
      kind: 'refused',
      problems: problemsOf([...shape.findings, ...checkRest(source.value, shape.findings)]),
    };
  }
  const { file, findings } = resolveFile(shape.written);
  const sizing = sizeFile(file);
  const problems = problemsOf([...findings, ...beyond(findings, findImpossible(sizing))]);
  return problems.some(({ severity }) => severity === 'error')
    ? { kind: 'refused', problems }
    : { kind: 'accepted', file, sizing, warnings: problems };
}

/** What is to be said about the rest of a file in which some values are not even values. */
function checkRest(value: unknown, misshapen: readonly Finding[]): readonly Finding[] {
  const paths = misshapen.map(({ path }) => listOf(path));
  const rest = checkShape(prune(value, paths));
  if (rest.kind === 'misshapen') return [];
  const { file, findings } = resolveFile(rest.written);
  return [...findings, ...beyond(findings, findImpossible(sizeFile(file)))].filter(({ path }) =>
    isIndependent(path, paths),
  );
}

/** What is known of a value that could not be resolved is a stand-in, and nothing follows from it. */
function beyond(findings: readonly Finding[], later: readonly Finding[]): readonly Finding[] {
  const refused = new Set(
    findings.filter(({ severity }) => severity === 'error').map(({ path }) => JSON.stringify(path)),
  );
  return later.filter(({ path }) => !refused.has(JSON.stringify(path)));
}

/** A faulty item stands for its whole list. */
function listOf(path: Path): Path {
  const item = path.findIndex((step) => typeof step === 'number');
  return item === -1 ? path : path.slice(0, item);
}

/** One line a problem, as compilers print them: `pool.yaml:12:5: error: pools.main.tls.mode: …`. */
export function formatProblem(fileName: string, problem: Problem): string {
  const key = problem.key === '' ? '' : `${problem.key}: `;
  return `${fileName}:${problem.line}:${problem.column}: ${problem.severity}: ${key}${problem.message}`;
}

/**
 * Where in the file a value stands that may be inherited: an architecture's builds from its pool, a pool's section from
 * the defaults. The place that goes deepest wins, the most specific first.
 */
function writtenPath(value: unknown, path: Path): Path {
  const [pools, pool, section, ...rest] = path;
  if (pools !== 'pools' || pool === undefined || section === undefined) return path;
  const [, ...deeper] = rest;
  const candidates: Path[] =
    section === 'architectures' && deeper[0] === 'builds'
      ? [path, [pools, pool, ...deeper], ['defaults', ...deeper]]
      : section === 'architectures'
        ? [path]
        : [path, ['defaults', section, ...rest]];
  const depths = candidates.map((candidate) => depth(value, candidate) - candidate.length);
  const best = depths.indexOf(Math.max(...depths));
  return candidates[best] ?? path;
}

/** How many steps of a path the file has. */
function depth(value: unknown, path: Path): number {
  let steps = 0;
  while (steps < path.length && has(value, path.slice(0, steps + 1))) steps++;
  return steps;
}
