/**
 * The same burst of builds three ways in one run, on the same number of warm builders:
 * - ours: the bundled Action, its place held in line;
 * - redialling: plain buildx that dials, is dropped, sleeps a fixed 15 s and dials again, as a script around
 *   `docker buildx build` does today, against a load balancer with `leastconn`, one build a builder, and no more;
 * - ideal: calculated from ours, each build taken without any gap by whichever builder is free first.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { runBurst } from '../src/burst/burst.ts';
import { prepareWorkspace } from '../src/burst/workspace.ts';
import { type PoolBuilder, startLocalPool } from '../src/local/pool.ts';
import { ensurePrograms } from '../src/local/programs.ts';
import { freePort } from '../test/support/buildkitd.ts';

/** What the script sleeps between two attempts, and how often it tries. */
const CONNECT_DELAY_MS = 15_000;
const CONNECT_ATTEMPTS = 480;

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      builders: { type: 'string', default: '2' },
      builds: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '12' },
    },
  });
  const [builders, builds, seconds] = [
    Number(values.builders),
    Number(values.builds),
    Number(values.seconds),
  ];
  const programs = await ensurePrograms(
    ['haproxy', 'runc', 'busybox', 'buildkitd', 'buildctl', 'buildx', 'setpriv', 'unshare'],
    { install: true, log: console.error },
  );
  const poolOptions = {
    programs,
    archs: [process.arch === 'arm64' ? ('arm64' as const) : ('amd64' as const)],
    minBuilders: builders,
    maxBuilders: builders,
    port: 0,
    idleMs: 3_600_000,
    syncMs: 1_000,
  };

  const ours = await runBurst({
    pool: poolOptions,
    builds,
    seconds,
    programs,
    actionFolder: resolve('dist'),
    signal: new AbortController().signal,
    onProgress: () => {},
    onFailure: (id, log) => console.error(`build ${id} failed:\n${log}`),
    onTrouble: (error) => console.error(error.message),
  });
  const redialling = await burstByRedialling();

  const result = {
    builders,
    builds,
    seconds,
    ideal: { makespan_ms: ours.ideal_ms },
    ours: {
      makespan_ms: ours.makespan_ms,
      order_inversions: ours.order_inversions,
      failed: ours.failed,
      connections: ours.connections,
    },
    redialling,
    redialling_to_ours: Number((redialling.makespan_ms / ours.makespan_ms).toFixed(3)),
    ours_to_ideal: Number((ours.makespan_ms / ours.ideal_ms).toFixed(3)),
  };
  console.table({ ideal: result.ideal, ours: result.ours, redialling: result.redialling });
  console.log(JSON.stringify(result));

  async function burstByRedialling() {
    const pool = await startLocalPool(poolOptions);
    const folder = mkdtempSync(join(tmpdir(), 'bench-burst-'));
    const ready: PoolBuilder[] = [];
    pool.events.on('builder-ready', (builder) => ready.push(builder));
    try {
      await pool.untilReady(builders);
      const workspace = await prepareWorkspace(folder, programs, seconds);
      const port = await freePort();
      const balancer = await startTheirBalancer(
        folder,
        port,
        ready.map((builder) => `${builder.address}`),
      );
      let connections = 0;
      try {
        const runs = await Promise.all(
          Array.from({ length: builds }, async (_, index) => {
            const env = { ...process.env, BUILDX_CONFIG: join(folder, `buildx-${index}`) };
            mkdirSync(env.BUILDX_CONFIG);
            await call(
              programs.buildx,
              ['create', '--name', 'theirs', '--driver', 'remote', '--use', `tcp://127.0.0.1:${port}`],
              env,
            );
            connections += 1;
            // As in ours, they come one after the other within a second.
            await sleep(index * 50);
            const joinedAtMs = Date.now();
            for (let attempt = 1; attempt <= CONNECT_ATTEMPTS; attempt++) {
              connections += 1;
              const buildArgs = ['build', '--no-cache', '--build-arg', `ID=${index}`, workspace.context];
              const code = await call(programs.buildx, buildArgs, env);
              if (code === 0) return { joinedAtMs, endedAtMs: Date.now(), failed: false };
              await sleep(CONNECT_DELAY_MS);
            }
            return { joinedAtMs, endedAtMs: Date.now(), failed: true };
          }),
        );
        const from = Math.min(...runs.map((run) => run.joinedAtMs));
        return {
          makespan_ms: Math.max(...runs.map((run) => run.endedAtMs)) - from,
          order_inversions: countOvertakings(runs, (seconds * 1_000) / 2),
          failed: runs.filter((run) => run.failed).length,
          connections,
        };
      } finally {
        balancer.kill('SIGKILL');
        await once(balancer, 'exit');
      }
    } finally {
      await pool.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  }

  async function startTheirBalancer(folder: string, port: number, addresses: readonly string[]) {
    const path = join(folder, 'theirs.cfg');
    writeFileSync(
      path,
      [
        'defaults',
        '  mode tcp',
        '  timeout connect 5s',
        '  timeout client 1h',
        '  timeout server 1h',
        '  timeout queue 2h',
        'frontend theirs',
        `  bind 127.0.0.1:${port}`,
        '  default_backend theirs_builders',
        'backend theirs_builders',
        '  balance leastconn',
        ...addresses.map((address, index) => `  server b${index} ${address} maxconn 1 check`),
        '',
      ].join('\n'),
    );
    const child = spawn(programs.haproxy, ['-db', '-f', path], { stdio: 'ignore' });
    await once(child, 'spawn');
    await sleep(1_000);
    return child;
  }
}

/**
 * Pairs of which the later to join ended first. All builds last equally long, so the order of ending is the order of
 * serving; ends closer than `apartMs` belong to builds served side by side.
 */
function countOvertakings(
  runs: readonly { joinedAtMs: number; endedAtMs: number }[],
  apartMs: number,
): number {
  return runs.flatMap((one) =>
    runs.filter((other) => one.joinedAtMs < other.joinedAtMs && one.endedAtMs - other.endedAtMs > apartMs),
  ).length;
}

/** Exit code of a program; null when a signal ended it. */
async function call(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<number | null> {
  const child = spawn(command, args, { env, stdio: 'ignore' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code;
}
