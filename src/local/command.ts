/** `buildkit-pool up`: a pool on this machine until Ctrl-C. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ARCHITECTURES, type Architecture, hostArchitecture } from './architecture.ts';
import { readArguments } from './arguments.ts';
import {
  type LocalPool,
  type LocalPoolOptions,
  MAX_BASE_FOLDER_BYTES,
  MAX_LOCAL_BUILDERS,
  startLocalPool,
} from './pool.ts';
import { ensurePrograms } from './programs.ts';
import { becomeRoot } from './root.ts';
import type { PoolSample } from './scaler.ts';

const HOUR_MS = 3_600_000;

interface UpArguments {
  readonly min: string;
  readonly max: string;
  readonly port: string;
  readonly arch: readonly string[];
  readonly idle: string;
  readonly sync: string;
  readonly dir?: string;
  readonly install: boolean;
}

export function addUpCommand(program: Command): void {
  program
    .command('up')
    .description('run a pool on this machine')
    .option('--min <builders>', 'builders that are always there', '2')
    .option('--max <builders>', 'builders at most', '8')
    .option('--port <port>', 'port on 127.0.0.1; 0 takes a free one', '0')
    .option(
      '--arch <architecture>',
      `may be given twice; builders of another architecture than ${hostArchitecture()} can run no program of it (default: ${hostArchitecture()})`,
      (arch: string, before: readonly string[]) => [...before, arch],
      [],
    )
    .option('--idle <duration>', 'remove builders that were not needed for so long', '20m')
    .option('--sync <duration>', "how often the scaler decides (Kubernetes' own: 15s)", '1s')
    .option('--dir <folder>', "where to keep the pool's files while it runs")
    .option('--no-install', 'do not fetch missing programs, only name them')
    .action(runUp);
}

async function runUp(given: UpArguments): Promise<void> {
  const options = parseUp(given);
  becomeRoot();
  const programs = await ensurePrograms(['haproxy', 'runc', 'buildkitd', 'setpriv', 'unshare'], {
    install: given.install,
    log: (line) => console.error(line),
  });
  const stopRequested = waitForStopSignal();
  const pool = await startLocalPool({ ...options, programs });
  console.log(describePool(pool, options));
  reportChanges(pool);
  const signal = await stopRequested;
  console.log(`${signal}: stopping`);
  await pool.stop();
}

/** Exported for its test: throws a UsageError that names every problem. */
export function parseUp(given: UpArguments): Omit<LocalPoolOptions, 'programs'> {
  const reader = readArguments();
  const minBuilders = reader.readInteger('--min', given.min, 0, MAX_LOCAL_BUILDERS);
  const maxBuilders = reader.readInteger('--max', given.max, 1, MAX_LOCAL_BUILDERS);
  const port = reader.readInteger('--port', given.port, 0, 65_535);
  const named = given.arch.length === 0 ? [hostArchitecture()] : given.arch;
  const archs = named.map((arch): Architecture => reader.readChoice('--arch', arch, ARCHITECTURES));
  const idleMs = reader.readDuration('--idle', given.idle, 1000, HOUR_MS);
  const syncMs = reader.readDuration('--sync', given.sync, 100, 60_000);
  if (minBuilders > maxBuilders) {
    reader.refuse(`--min (${minBuilders}) is more than --max (${maxBuilders})`);
  }
  if (new Set(named).size !== named.length) {
    reader.refuse(`--arch: each architecture once, got ${named.join(', ')}`);
  }
  const baseFolder = given.dir === undefined ? undefined : resolve(given.dir);
  if (baseFolder !== undefined && Buffer.byteLength(baseFolder) > MAX_BASE_FOLDER_BYTES) {
    reader.refuse(
      `--dir: sockets need a shorter path, at most ${MAX_BASE_FOLDER_BYTES} bytes, got \`${baseFolder}\``,
    );
  }
  reader.finish();
  return {
    archs,
    minBuilders,
    maxBuilders,
    port,
    idleMs,
    syncMs,
    ...(baseFolder === undefined ? {} : { baseFolder }),
  };
}

/** Settles with the first of SIGINT, SIGTERM and SIGHUP; a second one ends the process at once, and its children with it. */
export function waitForStopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(name, (signal) => resolve(signal));
    }
  });
}

function describePool(pool: LocalPool, options: Omit<LocalPoolOptions, 'programs'>): string {
  const several = pool.lines.length > 1;
  const endpoints = pool.lines.map(
    ({ arch, endpoint }) => `  ${several ? arch.padEnd(8) : 'endpoint'}  ${endpoint}`,
  );
  const input = several ? `pool: ${pool.documentUrl}` : `endpoint: ${pool.endpoint}`;
  return `Pool of ${options.minBuilders} to ${options.maxBuilders} ${options.archs.join(' and as many ')} builders

${endpoints.join('\n')}
  document  ${pool.documentUrl}
  metrics   ${pool.metricsUrl}

With the Action:
  - uses: buildkit-pool/buildkit-pool@v1
    with:
      ${input}
      context: .

With plain buildx:
  docker buildx create --name pool --driver remote ${pool.endpoint}
  docker buildx build --builder pool .

Ctrl-C stops it.
`;
}

/** One line for each change, by the time of day. */
function reportChanges(pool: LocalPool): void {
  const say = (line: string) => console.log(`${new Date().toISOString().slice(11, 19)}  ${line}`);
  const last = new Map<Architecture, string>();
  const named = (arch: Architecture, text: string) => (pool.lines.length > 1 ? `${arch}: ${text}` : text);
  pool.events.on('sample', (sample) => {
    const status = describeSample(sample);
    if (status !== last.get(sample.arch)) {
      last.set(sample.arch, status);
      say(named(sample.arch, status));
    }
  });
  pool.events.on('builder-gone', ({ arch, name }, reason) => say(named(arch, `${name} ${reason}`)));
  pool.events.on('trouble', (error) => say(error.message));
}

function describeSample({ counters, readyBuilders, wantedBuilders }: PoolSample): string {
  if (counters === null) {
    return 'load balancer does not answer';
  }
  const building = counters.sessions - counters.queued;
  const coming = Math.max(wantedBuilders - readyBuilders, 0);
  return `${building} building · ${counters.queued} waiting · ${readyBuilders} builders${coming > 0 ? `, ${coming} more starting` : ''}`;
}
