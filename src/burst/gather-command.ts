/** `buildkit-pool gather`: the reports of many jobs as one summary. */
import { appendFile, readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import type { Command } from 'commander';
import { readArguments } from '../local/arguments.ts';
import type { Report } from '../report/report.ts';
import { type GatheredBuild, gather, renderGathered } from './gather.ts';

const SCHEMA = 'buildkit-pool/report/v1';

interface GatherArguments {
  readonly reports: string;
  readonly expect: string;
  readonly summary?: string;
}

export function addGatherCommand(program: Command): void {
  program
    .command('gather')
    .description(
      'put the report.json files of many jobs together: a summary with a timeline; fails on any loss',
    )
    .requiredOption('--reports <folder>', 'where the report files are, at any depth')
    .requiredOption('--expect <builds>', 'how many builds there must be')
    .option('--summary <file>', 'append the Markdown here instead of printing it (GITHUB_STEP_SUMMARY)')
    .action(runGather);
}

async function runGather(given: GatherArguments): Promise<void> {
  const reader = readArguments();
  const expected = reader.readInteger('--expect', given.expect, 1, 100_000);
  reader.finish();
  const gathered = gather(await readReports(given.reports), expected);
  const markdown = renderGathered(gathered);
  if (given.summary === undefined) console.log(markdown);
  else await appendFile(given.summary, markdown);
  if (gathered.losses.length > 0) throw new Error(`lost builds:\n${gathered.losses.join('\n')}`);
}

async function readReports(folder: string): Promise<readonly GatheredBuild[]> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.json'));
  return await Promise.all(
    names.toSorted().map(async (name) => {
      const path = join(folder, name);
      const report = JSON.parse(await readFile(path, 'utf8')) as Report;
      if (report.schema !== SCHEMA)
        throw new Error(`${path} is no report of a build (schema is not ${SCHEMA})`);
      // An artifact is a folder with its name.
      const id = relative(folder, dirname(path)).split(sep)[0] || name.replace(/\.json$/, '');
      return { ...report, id };
    }),
  );
}
