/**
 * How much the gateway costs: a build context sent and a result fetched, through the splice and through the
 * multiplexer, against buildx talking to the same buildkitd directly. The gateway runs in a process of its own, as in
 * real life. Once on loopback, and once over a delay of 20 ms there and back, where flow-control windows decide.
 *
 *   node bench/data.ts [--context-mib 1024] [--result-mib 512] [--rounds 3] [--delay-ms 20] [--json FILE]
 */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdir, mkdtemp, open, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { ensurePrograms } from '../src/local/programs.ts';
import { findProgram, startBuildkitd } from '../test/support/buildkitd.ts';
import { median } from './median.ts';

/** `pipe` is the least that any carrier in Node can cost: two sockets and `a.pipe(b)`, with no idea of what they carry. */
const PATHS = ['direct', 'splice', 'multiplex', 'pipe'] as const;
type Path = (typeof PATHS)[number];
type Job = 'send' | 'fetch';

/** What one run took. The gateway's figures are missing where there is none. */
interface Run {
  readonly seconds: number;
  readonly cpuSeconds?: number;
  readonly peakMib?: number;
}

export interface DataResult {
  readonly network: string;
  readonly job: Job;
  readonly path: Path;
  readonly mib: number;
  /** Median of the rounds. */
  readonly seconds: number;
  /** Throughput against direct, from the medians: 1 is as fast. */
  readonly ratio: number;
  /** Of the gateway's process, user and system, median. */
  readonly cpuSecondsPerGib: number | null;
  /** Peak resident memory of the gateway's process, largest of the rounds. */
  readonly peakMib: number | null;
  readonly runs: readonly number[];
}

export async function main(args: readonly string[]): Promise<DataResult[]> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      'context-mib': { type: 'string', default: '1024' },
      'result-mib': { type: 'string', default: '512' },
      'delay-ms': { type: 'string', default: '20' },
      rounds: { type: 'string', default: '3' },
      json: { type: 'string' },
    },
  });
  const number = (name: 'context-mib' | 'result-mib' | 'delay-ms' | 'rounds') => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 0) throw new Error(`--${name} must be a whole number`);
    return value;
  };
  const sizes = { send: number('context-mib'), fetch: number('result-mib') };
  const [delayMs, rounds] = [number('delay-ms'), number('rounds')];
  const programs = await ensurePrograms(['buildkitd', 'buildx', 'runc'], {
    install: true,
    log: console.error,
  });
  process.env['BUILDKITD'] = programs.buildkitd;
  process.env['BUILDX'] = programs.buildx;
  const results: DataResult[] = [];
  {
    await using started = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'bkp-bench-'));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    const buildkitd = await startBuildkitd({ root: join(folder, 'root') });
    started.defer(() => buildkitd.stop());
    const program = join(folder, 'carrier.mjs');
    await build({
      entryPoints: [fileURLToPath(new URL('./carrier.ts', import.meta.url))],
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      logLevel: 'warning',
    });
    for (const job of ['send', 'fetch'] as const) await writeContext(join(folder, job), sizes[job]);
    const networks = [{ network: 'loopback', address: buildkitd.address }];
    if (delayMs > 0) {
      const { port } = new URL(buildkitd.address);
      const proxy = await startChild(program, ['delay', port, String(delayMs / 2)]);
      started.defer(() => void proxy.child.kill());
      networks.push({ network: `${delayMs} ms`, address: proxy.told });
    }
    for (const { network, address } of networks) {
      for (const job of ['send', 'fetch'] as const) {
        const comparison = { folder, network, address, job, mib: sizes[job], rounds, program };
        results.push(...(await compare(comparison)));
      }
    }
  }
  console.table(
    results.map(({ network, job, path, mib, seconds, ratio, cpuSecondsPerGib, peakMib }) => ({
      network,
      job,
      path,
      'MiB/s': Math.round(mib / seconds),
      ratio: Number(ratio.toFixed(3)),
      'CPU s/GiB': cpuSecondsPerGib === null ? '' : Number(cpuSecondsPerGib.toFixed(2)),
      'peak MiB': peakMib === null ? '' : Math.round(peakMib),
    })),
  );
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(results, null, 2)}\n`);
  return results;
}

interface Comparison {
  readonly folder: string;
  readonly network: string;
  readonly address: string;
  readonly job: Job;
  readonly mib: number;
  readonly rounds: number;
  /** The bundled carriers: what is measured is what is shipped, without a TypeScript loader. */
  readonly program: string;
}

async function compare(comparison: Comparison): Promise<DataResult[]> {
  const { network, job, mib, rounds } = comparison;
  const runs: Record<Path, Run[]> = { direct: [], splice: [], multiplex: [], pipe: [] };
  // The first one fills caches that all later ones use.
  await runOnce(comparison, 'direct');
  for (let round = 0; round < rounds; round++) {
    // Alternating, and each round begins with another, so that drift of the machine hits all alike.
    for (const offset of PATHS.keys()) {
      const path = PATHS[(round + offset) % PATHS.length] ?? 'direct';
      runs[path].push(await runOnce(comparison, path));
    }
  }
  const direct = median(runs.direct.map((run) => run.seconds));
  return PATHS.map((path) => {
    const seconds = median(runs[path].map((run) => run.seconds));
    const cpu = runs[path].flatMap((run) => run.cpuSeconds ?? []);
    const peak = runs[path].flatMap((run) => run.peakMib ?? []);
    return {
      network,
      job,
      path,
      mib,
      seconds,
      ratio: direct / seconds,
      cpuSecondsPerGib: cpu.length === 0 ? null : (median(cpu) * 1024) / mib,
      peakMib: peak.length === 0 ? null : Math.max(...peak),
      runs: runs[path].map((run) => run.seconds),
    };
  });
}

async function runOnce({ folder, address, job, program }: Comparison, path: Path): Promise<Run> {
  const context = join(folder, job);
  // A file with another time is sent again, and the COPY of the same bytes is still cached.
  if (job === 'send') await utimes(join(context, 'data'), new Date(), new Date());
  if (path === 'direct') return { seconds: await timeBuild(folder, address, job, context) };
  const gateway = await startChild(program, ['gateway', path, address, folder]);
  const seconds = await timeBuild(folder, gateway.told, job, context);
  const used = await new Promise<Omit<Run, 'seconds'>>((resolve) => {
    gateway.child.once('message', (message) => resolve(JSON.parse(String(message))));
    gateway.child.send('stop');
  });
  return { seconds, ...used };
}

async function timeBuild(folder: string, address: string, job: Job, context: string): Promise<number> {
  const config = join(folder, 'buildx');
  await mkdir(join(config, 'instances'), { recursive: true });
  // What `buildx create --driver remote` writes; without its connection, which would use up the splice.
  const node = {
    Name: 'bench0',
    Endpoint: address,
    Platforms: null,
    DriverOpts: null,
    Flags: null,
    Files: null,
  };
  const instance = { Name: 'bench', Driver: 'remote', Nodes: [node], Dynamic: false };
  await writeFile(join(config, 'instances', 'bench'), JSON.stringify(instance));
  const output = job === 'fetch' ? ['--output', 'type=tar,dest=-'] : [];
  const started = performance.now();
  const child = spawn(
    findProgram('buildx'),
    ['build', '--builder', 'bench', '--provenance=false', '--progress=plain', ...output, context],
    {
      env: { ...process.env, BUILDX_CONFIG: config },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let log = '';
  child.stderr.on('data', (text: Buffer) => {
    log = `${log}${text}`.slice(-10_000);
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`buildx failed:\n${log}`);
  return (performance.now() - started) / 1000;
}

async function writeContext(folder: string, mib: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'Dockerfile'), 'FROM scratch\nCOPY data /data\n');
  const file = await open(join(folder, 'data'), 'w');
  const block = randomFillSync(Buffer.alloc(1024 * 1024));
  for (let at = 0; at < mib; at++) {
    block.writeUInt32BE(at, 0);
    await file.write(block);
  }
  await file.close();
}

/** Starts a carrier or the delay as a process of its own; `told` is the address it serves. */
async function startChild(
  carrierProgram: string,
  args: readonly string[],
): Promise<{ readonly child: ChildProcess; readonly told: string }> {
  const child = fork(carrierProgram, [...args]);
  const told = await new Promise<string>((resolve, reject) => {
    child.once('message', (message) => resolve(String(message)));
    child.once('exit', (code) => reject(new Error(`The ${args[0]} process ended with ${code}`)));
  });
  return { child, told };
}
