/** What `buildkit-pool render`, `explain` and `validate` do. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { PoolArguments, RenderArguments } from './command.ts';
import { explain } from './explain.ts';
import { formatProblem, type Reading, readPool } from './read.ts';
import { type Change, compareObjects, EFFECTS, type Effect, gravest } from './render/compare.ts';
import { compareFolder, type FolderDifference, readObjects, writeFolder } from './render/folder.ts';
import { inspect } from './render/inspect.ts';
import { composePool, renderPool } from './render/render.ts';
import type { Sizing } from './sizing/model.ts';

type Accepted = Extract<Reading, { kind: 'accepted' }>;

export async function runValidate({ pool }: PoolArguments): Promise<void> {
  const { warnings, sizing } = await readAccepted(pool);
  const pools = sizing.pools.map(({ pool: { name } }) => name).join(', ');
  console.log(
    `${pool}: ${pools}: valid${warnings.length === 0 ? '' : `, ${plural(warnings.length, 'warning')}`}`,
  );
}

export async function runExplain({ pool }: PoolArguments): Promise<void> {
  const { sizing } = await readAccepted(pool);
  console.log(explain(sizing));
}

export async function runRender({ pool, out, check, against }: RenderArguments): Promise<void> {
  const { sizing } = await readAccepted(pool);
  // Before anything is written: both may be the same folder.
  if (against !== undefined) {
    const before = await readObjects(resolve(against));
    if (before.length === 0) {
      throw new Error(`--against: expected a folder of rendered manifests, \`${against}\` has none`);
    }
    console.log(describeChanges(compareObjects(before, composePool(sizing))));
  }
  const faults = inspect(composePool(sizing), { foreignSecrets: foreignSecrets(sizing) });
  if (faults.length > 0) {
    throw new Error(
      ['What was rendered would not work, which is a mistake of buildkit-pool:', ...faults].join('\n'),
    );
  }
  const files = renderPool(sizing);
  if (check === true) {
    const found = await compareFolder(resolve(out), files);
    if (found.length > 0) {
      throw new Error(
        [
          `${out} is not what ${pool} gives:`,
          ...found.map(describeDifference),
          `run \`buildkit-pool render --pool ${pool} --out ${out}\``,
        ].join('\n'),
      );
    }
    console.log(`${out}: ${plural(files.length, 'file')}, all as ${pool} gives them`);
    return;
  }
  const written = await writeFolder(resolve(out), files);
  console.log(`${out}: ${plural(files.length, 'file')}, ${written.length} changed`);
  for (const { path, kind } of written) {
    console.log(`  ${kind === 'superfluous' ? 'removed' : 'written'}  ${path}`);
  }
}

/** Those that pool.yaml names and somebody else makes. */
function foreignSecrets({ pools }: Sizing): readonly string[] {
  return pools.flatMap(({ pool: { tls } }) =>
    tls.kind !== 'off' && tls.certificates.kind === 'secrets' ? Object.values(tls.certificates.secrets) : [],
  );
}

/** Prints warnings; throws one error that names every problem of a refused file. */
async function readAccepted(path: string): Promise<Accepted> {
  const text = await readFile(resolve(path), 'utf8').catch((cause: unknown) => {
    throw new Error(
      `--pool: cannot read \`${path}\`: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  });
  const reading = readPool(text);
  if (reading.kind === 'refused') {
    const errors = reading.problems.filter(({ severity }) => severity === 'error').length;
    throw new Error(
      [
        `${path} has ${plural(errors, 'error')}`,
        ...reading.problems.map((problem) => formatProblem(path, problem)),
      ].join('\n'),
    );
  }
  for (const warning of reading.warnings) {
    console.error(formatProblem(path, warning));
  }
  return reading;
}

function describeDifference({ path, kind }: FolderDifference): string {
  return `  ${kind.padEnd('superfluous'.length)}  ${path}`;
}

const MEANINGS: Readonly<Record<Effect, string>> = {
  nothing: 'No build and no builder notices.',
  nodes: 'New nodes have it; one with builders stays as it is until it is rolled: see docs/operations.md.',
  builders: 'Builders have to be replaced: each takes the change when its pod is deleted and drained.',
  balancer:
    'The way into the line is replaced. Where no reason above says otherwise, running builds end on the old one and waiting ones keep their places.',
  trust:
    'Load balancer, builders and runners may no longer understand or trust each other. Apply it only as the reason above says.',
  immutable: 'Kubernetes refuses some of it: see docs/operations.md.',
};

/** One line a change, the gravest first, and what it all comes to. */
export function describeChanges(changes: readonly Change[]): string {
  if (changes.length === 0) {
    return 'Nothing differs.';
  }
  const width = Math.max(...EFFECTS.map((effect) => effect.length));
  const lines = changes.map(({ effect, object, path, before, after, reason }) => {
    const what =
      path === '' ? (after === null ? 'removed' : 'added') : `${path}: ${before ?? '-'} → ${after ?? '-'}`;
    return `${effect.padEnd(width)}  ${object}  ${what} (${reason})`;
  });
  const effects = EFFECTS.toReversed().filter((effect) => changes.some((change) => change.effect === effect));
  const told = gravest(changes) === 'nothing' ? effects : effects.filter((effect) => effect !== 'nothing');
  return [...lines, '', ...told.map((effect) => MEANINGS[effect])].join('\n');
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
