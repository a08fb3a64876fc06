/**
 * What `buildkit-pool render` takes for the largest example, each time as a process of its own from the bundle: node is
 * started, everything is loaded, every file is written anew.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { median } from './median.ts';

const MEASURE =
  "data:text/javascript,process.on('exit',()=>process.stderr.write(JSON.stringify(process.cpuUsage())))";

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: 'string', default: '15' },
      pool: { type: 'string', default: 'manifests/eks-production/pool.yaml' },
    },
  });
  const times = { wall: [] as number[], cpu: [] as number[], node: [] as number[] };
  let files = 0;
  for (let round = 0; round < Number(values.rounds); round++) {
    const out = mkdtempSync(join(tmpdir(), 'bench-render-'));
    const from = performance.now();
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--import', MEASURE, 'dist/cli.js', 'render', '--pool', values.pool, '--out', out],
      { encoding: 'utf8' },
    );
    times.wall.push(performance.now() - from);
    files = readdirSync(out).length;
    rmSync(out, { recursive: true });
    if (status !== 0) throw new Error(stderr);
    const { user, system } = JSON.parse(stderr) as { user: number; system: number };
    times.cpu.push((user + system) / 1000);
    const alone = performance.now();
    spawnSync(process.execPath, ['-e', '0']);
    times.node.push(performance.now() - alone);
  }
  const result = {
    rounds: Number(values.rounds),
    files,
    wall_ms: Math.round(median(times.wall)),
    processor_ms: Math.round(median(times.cpu)),
    node_alone_ms: Math.round(median(times.node)),
  };
  console.table({
    'from start to end': { 'median ms': result.wall_ms },
    'processor time': { 'median ms': result.processor_ms },
    'node alone, from start to end': { 'median ms': result.node_alone_ms },
  });
  console.log(JSON.stringify(result));
}
