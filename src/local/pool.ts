/**
 * A pool on this machine: the generated load balancer, a name server, real builders and the scaler.
 * Nothing of it is left after `stop`; nothing but its folder after the death of this process, and the next start removes that.
 */
import { EventEmitter } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultHpaSpec } from '../autoscaler/hpa.ts';
import { type BalancerModel, GATHERING_MS, PLACEHOLDER_SERVER } from '../pool/haproxy.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import type { BuilderPrograms } from './builders.ts';
import type { ConnectionRecord } from './connection-record.ts';
import type { PoolCounters } from './counters.ts';
import { createFleet, type GoneReason } from './fleet.ts';
import { createPoolFolder, type PoolFolder, sweepDeadPools } from './folder.ts';
import { type NameServerHandle, startNameServer, ZONE } from './names.ts';
import { type PoolSample, startScaler } from './scaler.ts';

export interface LocalPoolOptions {
  readonly programs: BuilderPrograms & { readonly haproxy: string };
  readonly arch: 'amd64' | 'arm64';
  readonly minBuilders: number;
  readonly maxBuilders: number;
  /** Port of the endpoint on 127.0.0.1; 0 takes a free one. */
  readonly port: number;
  /** Builders not needed for so long are removed. */
  readonly idleMs: number;
  /** How often the scaler decides. */
  readonly syncMs: number;
  /** Where the pool's folder is made; default: one folder of this user's under the system's temporary folder. */
  readonly baseFolder?: string;
}

export interface LocalPoolEvents {
  readonly 'builder-ready': [builder: PoolBuilder];
  readonly 'builder-gone': [builder: PoolBuilder, reason: GoneReason];
  /** A connection has ended. */
  readonly record: [record: ConnectionRecord];
  /** Once a second. */
  readonly sample: [sample: PoolSample];
  /** Something died and is started again. */
  readonly trouble: [error: Error];
}

export interface PoolBuilder {
  /** As the load balancer calls it. */
  readonly name: string;
  readonly ordinal: number;
  /** `127.77.1.1:1234`, past the load balancer. */
  readonly address: string;
  readonly atMs: number;
}

export interface LocalPool {
  /** `tcp://127.0.0.1:1234` */
  readonly endpoint: string;
  readonly port: number;
  /** `http://127.77.1.254:8404/metrics` */
  readonly metricsUrl: string;
  readonly folder: string;
  readonly events: EventEmitter<LocalPoolEvents>;
  readCounters(): Promise<PoolCounters | null>;
  readyBuilders(): number;
  /** Settles when the load balancer uses at least `count` builders: about a second after they are ready. */
  untilReady(count: number, signal?: AbortSignal): Promise<void>;
  /** Ends the load balancer, by default as abruptly as a lost node, and starts it anew. */
  restartBalancer(signal?: NodeJS.Signals): Promise<void>;
  /** False when there is no such builder. */
  killBuilder(ordinal: number, signal: NodeJS.Signals): boolean;
  /** Ends everything, builds too; may be called again. */
  stop(): Promise<void>;
}

/** Where pools of this user are, unless told otherwise. */
export function defaultBaseFolder(): string {
  return join(tmpdir(), `buildkit-pool-${process.getuid?.() ?? 'user'}`);
}

/** Rejects when a part cannot be started; nothing is left then. */
export async function startLocalPool(options: LocalPoolOptions): Promise<LocalPool> {
  const base = options.baseFolder ?? defaultBaseFolder();
  await sweepDeadPools(base);
  await using parts = new AsyncDisposableStack();
  const folder = await createPoolFolder(base);
  parts.defer(() => folder.remove());
  const { names, block } = await claimBlock();
  parts.defer(() => names.close());

  const events = new EventEmitter<LocalPoolEvents>();
  const builderAt = (ordinal: number): PoolBuilder => ({
    name: builderName(ordinal),
    ordinal,
    address: `${builderAddress(block, ordinal)}:${BUILDER_PORT}`,
    atMs: Date.now(),
  });
  const trouble = (error: Error) => events.emit('trouble', error);

  const { balancer, port } = await openBalancer(options, folder, block, events);
  parts.defer(() => balancer.stop());
  // A name that was asked for in vain is asked for again within one interval.
  const openAtMs = Date.now() + GATHERING_MS + RESOLVE_MS;
  const fleet = createFleet({
    programs: options.programs,
    folder,
    port: BUILDER_PORT,
    addressOf: (ordinal) => builderAddress(block, ordinal),
    forgetMs: HOLD_GONE_MS + 2 * RESOLVE_MS,
    onReady: ({ ordinal, address }) => {
      names.add(hostOf(options.arch, ordinal), address);
      events.emit('builder-ready', builderAt(ordinal));
    },
    onLeaving: ({ ordinal }) => names.remove(hostOf(options.arch, ordinal)),
    onGone: ({ ordinal }, reason) => events.emit('builder-gone', builderAt(ordinal), reason),
    onTrouble: trouble,
  });
  parts.defer(() => fleet.stop());
  const readCounters = () => balancer.readCounters(options.arch);
  const scaler = startScaler({
    hpa: defaultHpaSpec(options.minBuilders, options.maxBuilders, options.idleMs / 1000),
    keda: {
      pollingIntervalMs: options.syncMs,
      cooldownMs: options.idleMs,
      activationThreshold: 0,
      fallback: null,
    },
    syncMs: options.syncMs,
    fleet,
    readCounters,
    onSample: (sample) => events.emit('sample', sample),
  });
  parts.defer(() => scaler.stop());
  // From here on the parts belong to the pool.
  const running = parts.move();
  let stopping: Promise<void> | null = null;

  return {
    endpoint: `tcp://127.0.0.1:${port}`,
    port,
    metricsUrl: `http://${internalAddress(block)}:${METRICS_PORT}/metrics`,
    folder: folder.path,
    events,
    readCounters,
    readyBuilders: () => fleet.readyCount(),
    untilReady: async (count, signal) => {
      await sleep(Math.max(openAtMs - Date.now(), 0), undefined, signal === undefined ? {} : { signal });
      await untilReady(readCounters, count, signal);
    },
    restartBalancer: (signal = 'SIGKILL') => balancer.restart(signal),
    killBuilder: (ordinal, signal) => fleet.kill(ordinal, signal),
    stop: () => {
      stopping ??= running.disposeAsync();
      return stopping;
    },
  };
}

const READY_POLL_MS = 50;
const RESOLVE_MS = 1000;
const HOLD_GONE_MS = 2000;
const HOUR_MS = 3_600_000;
/** HAProxy's timers are 31 bits of milliseconds: 24 days is the longest whole number of days. */
const FOR_EVER_MS = 24 * 24 * HOUR_MS;

const NAME_PORT = 53;
const BUILDER_PORT = 1234;
const METRICS_PORT = 8404;
const PLACEHOLDER_PORT = 8405;
const PLUG_PORT = 8406;
const NAME_GATE_PORT = 8407;

/** 127.77.x.1 to 127.77.x.250 are builders, 127.77.x.254 is the pool's own. */
const BLOCKS = 255;
export const MAX_LOCAL_BUILDERS = 250;

/** A unix socket's path has at most 107 bytes, and HAProxy adds its pid and `.tmp` while it opens one. */
export const MAX_BASE_FOLDER_BYTES = 107 - '/pool-XXXXXX/haproxy.sock.1234567890.tmp'.length;

/** With port 0 someone else may take the free port before the load balancer does. */
const PORT_ATTEMPTS = 3;

function internalAddress(block: number): string {
  return `127.77.${block}.254`;
}

function builderAddress(block: number, ordinal: number): string {
  return `127.77.${block}.${ordinal + 1}`;
}

function builderName(ordinal: number): string {
  return `builder-${ordinal}`;
}

function hostOf(arch: string, ordinal: number): string {
  return `${builderName(ordinal)}.${arch}.${ZONE}`;
}

/** The first free block of loopback addresses. It is ours as long as the name server's socket is open. */
async function claimBlock(): Promise<{ names: NameServerHandle; block: number }> {
  for (let block = 0; block < BLOCKS; block += 1) {
    try {
      return { names: await startNameServer(internalAddress(block), NAME_PORT), block };
    } catch (error) {
      if (!isAddressInUse(error)) {
        throw error;
      }
    }
  }
  throw new Error(
    `All ${BLOCKS} blocks of addresses under 127.77.0.0/16 are in use by pools on this machine`,
  );
}

function isAddressInUse(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
}

async function openBalancer(
  options: LocalPoolOptions,
  folder: PoolFolder,
  block: number,
  events: EventEmitter<LocalPoolEvents>,
): Promise<{ balancer: Balancer; port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await claimPort(options.port);
    try {
      const balancer = await startBalancer({
        programs: options.programs,
        folder,
        model: balancerModel(options, folder, block, port),
        onRecord: (record) => events.emit('record', record),
        onTrouble: (error) => events.emit('trouble', error),
      });
      return { balancer, port };
    } catch (error) {
      if (options.port !== 0 || attempt === PORT_ATTEMPTS) {
        throw error;
      }
    }
  }
}

/** Tells early, in words, that a port is taken; with 0, finds a free one. */
async function claimPort(port: number): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new Error(`Port ${port} of 127.0.0.1 is in use; choose another with --port`, { cause }));
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : port;
}

function balancerModel(
  options: LocalPoolOptions,
  folder: PoolFolder,
  block: number,
  port: number,
): BalancerModel {
  const address = internalAddress(block);
  return {
    // One thread serves a machine's builds with ease, and what it logs is in the order in which it happened.
    threads: 1,
    maxConnections: 4000,
    hardStopMs: null,
    logTarget: 'stdout format raw local0',
    adminSocketPath: join(folder.path, 'haproxy.sock'),
    metrics: { address, port: METRICS_PORT },
    placeholder: { address, port: PLACEHOLDER_PORT },
    nameServers: [{ name: 'pool', address, port: NAME_PORT }],
    nameGate: { address, port: NAME_GATE_PORT },
    resolution: { intervalMs: RESOLVE_MS, holdGoneMs: HOLD_GONE_MS, holdOutageMs: 12 * HOUR_MS },
    timeouts: {
      connectMs: 5000,
      queueMs: FOR_EVER_MS,
      clientMs: FOR_EVER_MS,
      serverMs: FOR_EVER_MS,
    },
    keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
    checkIntervalMs: 1000,
    gatheringMs: GATHERING_MS,
    entrances: [],
    earlySettingsPath: null,
    pools: [
      {
        name: options.arch,
        bind: { address: '127.0.0.1', port },
        fedBy: 'network',
        places: 'token',
        headStarts: [],
        builderTls: null,
        slotPort: null,
        plug: { address, port: PLUG_PORT },
        servers: Array.from({ length: options.maxBuilders }, (_, ordinal) => ({
          name: builderName(ordinal),
          host: hostOf(options.arch, ordinal),
          port: BUILDER_PORT,
        })),
      },
    ],
  };
}

async function untilReady(
  readCounters: () => Promise<PoolCounters | null>,
  count: number,
  signal?: AbortSignal,
): Promise<void> {
  for (;;) {
    signal?.throwIfAborted();
    const servers = [...((await readCounters())?.servers ?? [])];
    if (servers.filter(([name, { up }]) => up && name !== PLACEHOLDER_SERVER).length >= count) {
      return;
    }
    await sleep(READY_POLL_MS, undefined, signal === undefined ? {} : { signal });
  }
}
