/** `buildkit-pool burst`: many builds at once on a pool of this machine. */
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { hostArchitecture } from '../local/architecture.ts';
import { readArguments } from '../local/arguments.ts';
import { waitForStopSignal } from '../local/command.ts';
import { MAX_LOCAL_BUILDERS } from '../local/pool.ts';
import { isReadable } from '../local/program-search.ts';
import { ensurePrograms } from '../local/programs.ts';
import { becomeRoot } from '../local/root.ts';
import { type BurstProgress, runBurst } from './burst.ts';
import { renderResult } from './print.ts';

interface BurstArguments {
  readonly builders: string;
  readonly builds: string;
  readonly seconds: string;
  readonly min?: string;
  readonly json: string;
  readonly mode: string;
  readonly install: boolean;
}

/** Scale-down must not be measured by accident: longer than any burst. */
const IDLE_MS = 3_600_000;
const SYNC_MS = 1000;

/** `actionFolder` holds the bundled Action. */
export function addBurstCommand(program: Command, actionFolder: string): void {
  program
    .command('burst')
    .description('run many builds at once through the Action on a pool of this machine, and measure')
    .requiredOption('--builders <builders>', 'builders at most')
    .requiredOption('--builds <builds>', 'builds that come at the same time')
    .requiredOption('--seconds <seconds>', 'how long each build takes')
    .option('--min <builders>', 'builders that are there from the start (default: all)')
    .option('--json <file>', 'where the results go', 'burst.json')
    .option('--mode <mode>', "how the Action is used; `build` is a runner's `with: context`", 'build')
    .option('--no-install', 'do not fetch missing programs, only name them')
    .action((given: BurstArguments) => runBurstCommand(given, actionFolder));
}

async function runBurstCommand(given: BurstArguments, actionFolder: string): Promise<void> {
  const plan = parseBurst(given);
  becomeRoot();
  const missing = [];
  for (const file of ['main.js', 'post.js']) {
    if (!(await isReadable(join(actionFolder, file)))) {
      missing.push(file);
    }
  }
  if (missing.length > 0) {
    throw new Error(`${actionFolder} has no ${missing.join(' and no ')}: run \`npm run build\` first`);
  }
  const programs = await ensurePrograms(
    ['haproxy', 'runc', 'busybox', 'buildkitd', 'buildx', 'setpriv', 'unshare'],
    { install: given.install, log: (line) => console.error(line) },
  );
  const stop = new AbortController();
  void waitForStopSignal().then((signal) => {
    console.error(`\n${signal}: stopping`);
    stop.abort(new Error('the burst was stopped'));
  });
  const show = createProgressLine(process.stdout.isTTY);
  const result = await runBurst({
    pool: {
      programs,
      archs: [hostArchitecture()],
      minBuilders: plan.minBuilders,
      maxBuilders: plan.builders,
      port: 0,
      idleMs: IDLE_MS,
      syncMs: SYNC_MS,
    },
    builds: plan.builds,
    seconds: plan.seconds,
    programs,
    actionFolder,
    signal: stop.signal,
    onProgress: show,
    onFailure: (id, log) => console.error(`\nbuild ${id} failed:\n${log}`),
    onTrouble: (error) => console.error(`\n${error.message}`),
  });
  await writeFile(plan.jsonPath, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`\n${renderResult(result)}\n\nwritten to ${plan.jsonPath}`);
  process.exitCode = result.failed === 0 ? 0 : 1;
}

export interface BurstPlan {
  readonly builders: number;
  readonly minBuilders: number;
  readonly builds: number;
  readonly seconds: number;
  readonly jsonPath: string;
}

/** Throws a UsageError that names every problem. */
export function parseBurst(given: Omit<BurstArguments, 'install'>): BurstPlan {
  const reader = readArguments();
  const builders = reader.readInteger('--builders', given.builders, 1, MAX_LOCAL_BUILDERS);
  const builds = reader.readInteger('--builds', given.builds, 1, 2000);
  const seconds = reader.readInteger('--seconds', given.seconds, 0, 86_400);
  const minBuilders =
    given.min === undefined ? builders : reader.readInteger('--min', given.min, 0, MAX_LOCAL_BUILDERS);
  reader.readChoice('--mode', given.mode, ['build']);
  if (minBuilders > builders) {
    reader.refuse(`--min (${minBuilders}) is more than --builders (${builders})`);
  }
  reader.finish();
  return { builders, minBuilders, builds, seconds, jsonPath: resolve(given.json) };
}

/** On a terminal one line that changes in place, elsewhere a line for each change. */
function createProgressLine(isTerminal: boolean): (progress: BurstProgress) => void {
  let last = '';
  return (progress) => {
    const line = describeProgress(progress);
    if (line === last) {
      return;
    }
    last = line;
    process.stdout.write(isTerminal ? `\r\x1b[K${line}` : `${line}\n`);
  };
}

function describeProgress({ builds, started, ended, sample }: BurstProgress): string {
  const builders = `${sample?.readyBuilders ?? 0} builders ready`;
  if (started === 0) {
    return `warming up · ${builders}`;
  }
  const waiting = sample?.counters?.queued ?? 0;
  const building = Math.max((sample?.counters?.sessions ?? 0) - waiting, 0);
  return `${ended} of ${builds} done · ${building} building · ${waiting} waiting · ${builders}`;
}
