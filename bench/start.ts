/**
 * What a build costs before it begins: the bundled Action on a free pool against bare `buildctl build` of the same
 * unchanged context, in turn. The difference, less what buildx itself takes to start, is ours.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { startLocalPool } from '../src/local/pool.ts';
import { ensurePrograms } from '../src/local/programs.ts';
import { median } from './median.ts';

const run = promisify(execFile);

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { rounds: { type: 'string', default: '15' } } });
  const rounds = Number(values.rounds);
  const programs = await ensurePrograms(
    ['haproxy', 'runc', 'buildkitd', 'buildctl', 'buildx', 'setpriv', 'unshare'],
    { install: true, log: console.error },
  );
  const folder = mkdtempSync(join(tmpdir(), 'bench-start-'));
  writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /\n');
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(programs.buildx, join(bin, 'buildx'));
  const pool = await startLocalPool({
    programs,
    archs: [process.arch === 'arm64' ? 'arm64' : 'amd64'],
    minBuilders: 1,
    maxBuilders: 1,
    port: 0,
    idleMs: 1_200_000,
    syncMs: 1_000,
    baseFolder: join(folder, 'pool'),
  });
  try {
    await pool.untilReady(1);
    const env = {
      ...process.env,
      PATH: `${bin}:${process.env['PATH']}`,
      RUNNER_TEMP: folder,
      INPUT_ENDPOINT: pool.endpoint,
      INPUT_CONTEXT: folder,
      // What docker/build-push-action adds to every build by default, and bare buildctl does not.
      INPUT_PROVENANCE: 'false',
    };
    const ways = {
      buildctl: () =>
        run(
          programs.buildctl,
          [
            ...['--addr', pool.endpoint, 'build', '--frontend', 'dockerfile.v0', '--progress', 'plain'],
            ...['--local', `context=${folder}`, '--local', `dockerfile=${folder}`],
          ],
          { env },
        ),
      buildx: () => run(programs.buildx, ['version'], { env }),
      action: () => run(process.execPath, ['dist/main.js'], { env }),
    };
    const times = { buildctl: [] as number[], buildx: [] as number[], action: [] as number[] };
    for (let round = -2; round < rounds; round++) {
      for (const name of ['buildctl', 'buildx', 'action'] as const) {
        const from = performance.now();
        await ways[name]();
        // The first rounds warm the builder and the page cache.
        if (round >= 0) times[name].push(performance.now() - from);
      }
    }
    const result = {
      rounds,
      buildctl_ms: Math.round(median(times.buildctl)),
      buildx_start_ms: Math.round(median(times.buildx)),
      action_ms: Math.round(median(times.action)),
      overhead_ms: Math.round(
        median(times.action.map((ms, at) => ms - (times.buildctl[at] ?? 0) - (times.buildx[at] ?? 0))),
      ),
    };
    console.table({
      'bare buildctl build': { 'median ms': result.buildctl_ms },
      'start of buildx': { 'median ms': result.buildx_start_ms },
      'bundled Action': { 'median ms': result.action_ms },
      'ours (median of the differences)': { 'median ms': result.overhead_ms },
    });
    console.log(JSON.stringify(result));
  } finally {
    await pool.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
