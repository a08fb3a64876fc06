/** Many real builds at once through the Action on a pool of this machine, measured. */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionRecord } from '../local/connection-record.ts';
import { type LocalPoolOptions, type PoolBuilder, startLocalPool } from '../local/pool.ts';
import type { PoolSample } from '../local/scaler.ts';
import { type ActionEnd, runAction } from './action-child.ts';
import type { DemandSample } from './measure.ts';
import { type BurstBuild, type BurstResult, makeBurstResult } from './result.ts';
import { prepareWorkspace } from './workspace.ts';

export interface BurstOptions {
  readonly pool: LocalPoolOptions;
  readonly builds: number;
  /** How long each build's only step takes. */
  readonly seconds: number;
  /** Static busybox and buildx. */
  readonly programs: { readonly busybox: string; readonly buildx: string };
  /** Holds the bundled Action's main.js and post.js. */
  readonly actionFolder: string;
  /** Cancels every build as a runner does, then ends the pool. */
  readonly signal: AbortSignal;
  onProgress(progress: BurstProgress): void;
  /** The end of a failed build's log. */
  onFailure(id: string, log: string): void;
  onTrouble(error: Error): void;
}

export interface BurstProgress {
  readonly builds: number;
  readonly started: number;
  readonly ended: number;
  /** Null before the pool is ready. */
  readonly sample: PoolSample | null;
}

const SAMPLE_MS = 250;
/** A connection is counted until the load balancer has seen its end; what is left after this is a ghost. */
const SETTLE_MS = 4 * SAMPLE_MS;
const RECORDS_TIMEOUT_MS = 3_000;

/** Rejects when the pool cannot be started or the burst is stopped; nothing is left then. */
export async function runBurst(options: BurstOptions): Promise<BurstResult> {
  const { signal } = options;
  await using parts = new AsyncDisposableStack();
  const pool = await startLocalPool(options.pool);
  parts.defer(() => pool.stop());
  signal.throwIfAborted();

  const builders: PoolBuilder[] = [];
  const records: ConnectionRecord[] = [];
  let lastSample: PoolSample | null = null;
  let started = 0;
  let ended = 0;
  const tell = () => options.onProgress({ builds: options.builds, started, ended, sample: lastSample });
  pool.events.on('builder-ready', (builder) => builders.push(builder));
  pool.events.on('record', (record) => records.push(record));
  pool.events.on('trouble', options.onTrouble);
  pool.events.on('sample', (sample) => {
    lastSample = sample;
    tell();
  });

  const workspace = await prepareWorkspace(pool.folder, options.programs, options.seconds);
  await pool.untilReady(options.pool.minBuilders, signal);

  const samples: DemandSample[] = [];
  let looking = false;
  const sampling = setInterval(async () => {
    // One look at a time: answers that come late come together, and are one look, not two.
    if (looking) return;
    looking = true;
    const counters = await pool.readCounters();
    looking = false;
    if (counters !== null) {
      samples.push({ atMs: Date.now(), sessions: counters.sessions, liveClients: started - ended });
    }
  }, SAMPLE_MS);
  parts.defer(() => clearInterval(sampling));

  const ids = Array.from({ length: options.builds }, (_, index) => String(index + 1));
  const builds = await Promise.all(
    ids.map(async (id): Promise<BurstBuild> => {
      const end = await runAction({
        actionFolder: options.actionFolder,
        setpriv: options.pool.programs.setpriv,
        folder: join(pool.folder, `build-${id}`),
        workspace: workspace.context,
        path: workspace.path,
        arch: pool.arch,
        inputs: {
          endpoint: pool.endpoint,
          context: '.',
          'build-args': `ID=${id}`,
          'queue-timeout': '2h',
        },
        signal,
        onStarted: () => {
          started += 1;
        },
        onEnded: () => {
          ended += 1;
        },
      });
      const build = describeBuild(id, end, pool.arch, pool.endpoint);
      if (build.outcome !== 'succeeded' && !signal.aborted) {
        options.onFailure(id, end.log);
      }
      return build;
    }),
  );
  signal.throwIfAborted();
  await sleep(SETTLE_MS, undefined, { signal });
  // A load balancer that stands still for a moment is asked again.
  let counters = await pool.readCounters();
  for (let waitedMs = 0; counters === null && waitedMs < RECORDS_TIMEOUT_MS; waitedMs += 50) {
    await sleep(50, undefined, { signal });
    counters = await pool.readCounters();
  }
  const connections = counters?.totalSessions ?? 0;
  for (let waitedMs = 0; records.length < connections && waitedMs < RECORDS_TIMEOUT_MS; waitedMs += 50) {
    await sleep(50, undefined, { signal });
  }
  return makeBurstResult({ builds, builders, records, samples, connections });
}

/** A build that died before it could report is a failed one that lasted as long as its process. */
function describeBuild(id: string, end: ActionEnd, arch: 'amd64' | 'arm64', endpoint: string): BurstBuild {
  if (end.report !== null) {
    return { id, ...end.report };
  }
  return {
    id,
    schema: 'buildkit-pool/report/v1',
    arch,
    platforms: [],
    outcome: 'failed',
    joined_at: new Date(end.startedAtMs).toISOString(),
    granted_at: null,
    released_at: new Date(end.endedAtMs).toISOString(),
    queue_ms: end.endedAtMs - end.startedAtMs,
    build_ms: 0,
    attempts: [],
    nodes: [],
    builder: endpoint,
    fallback: false,
  };
}
