/** From the text of pool.yaml to every number, or to everything that is wrong with it. */
import { checkShape } from './config/check-shape.ts';
import { isDoubtful, prune, spreadDoubt } from './config/doubt.ts';
import { type Finding, KEYS, type Path } from './config/finding.ts';
import type { PoolFile, Problem } from './config/model.ts';
import { resolveFile } from './config/resolve.ts';
import type { WrittenFile } from './config/schema.ts';
import { has, readSource, valueAt } from './config/source.ts';
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
    return { kind: 'refused', problems: problemsOf(findAll(source.value, shape.findings)) };
  }
  const { file, findings, sizing } = resolveAndSize(shape.written);
  const problems = problemsOf(findings);
  return problems.some(({ severity }) => severity === 'error')
    ? { kind: 'refused', problems }
    : { kind: 'accepted', file, sizing, warnings: problems };
}

/** What is wrong with a file in which some values are not even values, and with the rest of it. */
function findAll(value: unknown, misshapen: readonly Finding[]): readonly Finding[] {
  const misnamed = misshapen.filter(({ path }) => isPoolName(value, path));
  if (misnamed.length > 0) return [...misnamed, ...findBelow(value, misnamed)];
  const faulty = misshapen.map(({ path }) => listOf(path));
  const rest = checkShape(prune(value, faulty));
  if (rest.kind === 'misshapen') return misshapen;
  const doubts = spreadDoubt(value, [...faulty, ...misshapen.flatMap(({ about }) => about)]);
  return [
    ...misshapen,
    ...resolveAndSize(rest.written).findings.filter((finding) => !isDoubtful(finding, doubts)),
  ];
}

/** What is wrong apart from names of pools: they get others, which nothing that is told goes by. */
function findBelow(value: unknown, misnamed: readonly Finding[]): readonly Finding[] {
  const names = new Map(misnamed.map(({ path }, index) => [path[1], `unnamed-${index}`]));
  const written = new Map([...names].map(([name, standIn]) => [standIn, name]));
  const pools = Object.entries(valueAt(value, ['pools']) as object);
  const renamed = {
    ...(value as object),
    pools: Object.fromEntries(pools.map(([name, pool]) => [names.get(name) ?? name, pool])),
  };
  const shape = checkShape(renamed);
  const findings =
    shape.kind === 'misshapen' ? findAll(renamed, shape.findings) : resolveAndSize(shape.written).findings;
  return findings
    .filter((finding) => !isDoubtful(finding, [['pools', KEYS]]))
    .map((finding) => {
      const [top, pool, ...rest] = finding.path;
      const name = top === 'pools' ? written.get(String(pool)) : undefined;
      return name === undefined ? finding : { ...finding, path: ['pools', name, ...rest] };
    });
}

/** The only fault that a pool can have as a whole, when it is a map. */
function isPoolName(value: unknown, path: Path): boolean {
  const pool = valueAt(value, path);
  const isMap = typeof pool === 'object' && pool !== null && !Array.isArray(pool);
  return path.length === 2 && path[0] === 'pools' && isMap;
}

function resolveAndSize(written: WrittenFile) {
  const { file, findings } = resolveFile(written);
  const sizing = sizeFile(file);
  const gaps = findings.filter(({ isGap }) => isGap === true).map(({ path }) => path);
  const doubts = spreadDoubt(written, gaps);
  const later = findImpossible(sizing).filter((finding) => !isDoubtful(finding, doubts));
  return { file, sizing, findings: [...findings, ...later] };
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
