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
import { NATIVE_PLATFORMS } from '../build/architecture.ts';
import {
  type BalancerModel,
  backendName,
  type Entrance,
  GATHERING_MS,
  PLACEHOLDER_SERVER,
} from '../pool/haproxy.ts';
import { POOL_DOCUMENT_SCHEMA, type PoolDocument } from '../pool-document/document.ts';
import { DIAL_BACKOFF } from '../queue/backoff.ts';
import { type Architecture, hostArchitecture } from './architecture.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import type { BuilderPrograms } from './builders.ts';
import type { ConnectionRecord } from './connection-record.ts';
import type { PoolCounters } from './counters.ts';
import { startDocumentServer } from './document-server.ts';
import { createFleet, type GoneReason } from './fleet.ts';
import { createPoolFolder, type PoolFolder, sweepDeadPools } from './folder.ts';
import { type NameServerHandle, startNameServer, ZONE } from './names.ts';
import { type PoolSample, startScaler } from './scaler.ts';

export interface LocalPoolOptions {
  readonly programs: BuilderPrograms & { readonly haproxy: string };
  /**
   * One line of builds each, at least one. Builders of another architecture than this machine's say that they are: they
   * build what needs no program of that architecture to run.
   */
  readonly archs: readonly Architecture[];
  /** Of each architecture, like the maximum. */
  readonly minBuilders: number;
  readonly maxBuilders: number;
  /** Port of the first architecture's endpoint on 127.0.0.1, the next one has the next; 0 takes free ones. */
  readonly port: number;
  /** TLS on the endpoints; plain TCP when left out. */
  readonly tls?: LocalTls;
  /** Builders not needed for so long are removed. */
  readonly idleMs: number;
  /** How often the scaler decides. */
  readonly syncMs: number;
  /** Where the pool's folder is made; default: one folder of this user's under the system's temporary folder. */
  readonly baseFolder?: string;
}

export interface LocalTls {
  /** PEM, certificate and key; a folder holds several. */
  readonly certificatePath: string;
  /** PEM: who signs those who may build. */
  readonly clientCaPath: string;
  /** The name in its certificate. */
  readonly serverName: string;
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
  readonly arch: Architecture;
  /** As the load balancer calls it. */
  readonly name: string;
  readonly ordinal: number;
  /** `127.77.1.1:1234`, past the load balancer. */
  readonly address: string;
  readonly atMs: number;
}

/** One architecture's line and builders. */
export interface LocalLine {
  readonly arch: Architecture;
  /** `tcp://127.0.0.1:1234` */
  readonly endpoint: string;
  readonly port: number;
  readCounters(): Promise<PoolCounters | null>;
  readyBuilders(): number;
  /** Settles when the load balancer uses at least `count` builders: about a second after they are ready. */
  untilReady(count: number, signal?: AbortSignal): Promise<void>;
  /** False when there is no such builder. */
  killBuilder(ordinal: number, signal: NodeJS.Signals): boolean;
}

/** What a pool of one architecture has, it has itself; of several, it is the first one's. */
export interface LocalPool extends LocalLine {
  /** In the order of the options. */
  readonly lines: readonly LocalLine[];
  /** `http://127.77.1.254:8403/pool.json` */
  readonly documentUrl: string;
  /** `http://127.77.1.254:8404/metrics` */
  readonly metricsUrl: string;
  readonly folder: string;
  readonly events: EventEmitter<LocalPoolEvents>;
  /** Ends the load balancer, by default as abruptly as a lost node, and starts it anew. */
  restartBalancer(signal?: NodeJS.Signals): Promise<void>;
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
  const { balancer, ports } = await openBalancer(options, folder, block, events);
  parts.defer(() => balancer.stop());
  // A name that was asked for in vain is asked for again within one interval.
  const openAtMs = Date.now() + GATHERING_MS + RESOLVE_MS;
  const lines = options.archs.map((arch, index) => {
    const site: LineSite = { arch, index, port: ports[index] ?? 0, block, folder, openAtMs };
    const { line, stop } = startLine(options, site, { names, balancer, events });
    parts.defer(stop);
    return line;
  });
  const [first] = lines;
  if (first === undefined) throw new Error('a pool needs at least one architecture');
  const documents = await startDocumentServer(internalAddress(block), DOCUMENT_PORT, () =>
    localDocument(options, lines, `http://${internalAddress(block)}:${METRICS_PORT}/metrics`),
  );
  parts.defer(() => documents.close());
  // From here on the parts belong to the pool.
  const running = parts.move();
  let stopping: Promise<void> | null = null;

  return {
    ...first,
    lines,
    documentUrl: documents.url,
    metricsUrl: `http://${internalAddress(block)}:${METRICS_PORT}/metrics`,
    folder: folder.path,
    events,
    restartBalancer: (signal = 'SIGKILL') => balancer.restart(signal),
    stop: () => {
      stopping ??= running.disposeAsync();
      return stopping;
    },
  };
}

/** Where one architecture's line and builders are. */
interface LineSite {
  readonly arch: Architecture;
  /** Among the pool's architectures. */
  readonly index: number;
  /** Of the endpoint. */
  readonly port: number;
  readonly block: number;
  readonly folder: PoolFolder;
  /** Before this the load balancer gives no builder away. */
  readonly openAtMs: number;
}

interface PoolParts {
  readonly names: NameServerHandle;
  readonly balancer: Balancer;
  readonly events: EventEmitter<LocalPoolEvents>;
}

/** The builders of one architecture, and the scaler that looks at its line. */
function startLine(
  options: LocalPoolOptions,
  { arch, index, port, block, folder, openAtMs }: LineSite,
  { names, balancer, events }: PoolParts,
): { line: LocalLine; stop: () => Promise<void> } {
  const builderPort = BUILDER_PORT + index;
  const builderAt = (ordinal: number): PoolBuilder => ({
    arch,
    name: builderName(ordinal),
    ordinal,
    address: `${builderAddress(block, ordinal)}:${builderPort}`,
    atMs: Date.now(),
  });
  const fleet = createFleet({
    programs: options.programs,
    folder,
    port: builderPort,
    prefix: arch,
    platforms: arch === hostArchitecture() ? [] : NATIVE_PLATFORMS[arch],
    addressOf: (ordinal) => builderAddress(block, ordinal),
    forgetMs: HOLD_GONE_MS + 2 * RESOLVE_MS,
    onReady: ({ ordinal, address }) => {
      names.add(hostOf(arch, ordinal), address);
      events.emit('builder-ready', builderAt(ordinal));
    },
    onLeaving: ({ ordinal }) => names.remove(hostOf(arch, ordinal)),
    onGone: ({ ordinal }, reason) => events.emit('builder-gone', builderAt(ordinal), reason),
    onTrouble: (error) => events.emit('trouble', error),
  });
  const readCounters = () => balancer.readCounters(arch);
  const scaler = startScaler({
    arch,
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
  const line: LocalLine = {
    arch,
    endpoint: `tcp://127.0.0.1:${port}`,
    port,
    readCounters,
    readyBuilders: () => fleet.readyCount(),
    untilReady: async (count, signal) => {
      await sleep(Math.max(openAtMs - Date.now(), 0), undefined, signal === undefined ? {} : { signal });
      await untilReady(readCounters, count, signal);
    },
    killBuilder: (ordinal, signal) => fleet.kill(ordinal, signal),
  };
  return {
    line,
    stop: async () => {
      scaler.stop();
      await fleet.stop();
    },
  };
}

/** What the pool says of itself, as one in a cluster does. */
function localDocument(
  options: LocalPoolOptions,
  lines: readonly LocalLine[],
  metricsUrl: string,
): PoolDocument {
  return {
    schema: POOL_DOCUMENT_SCHEMA,
    name: 'local',
    queue_timeout_s: 7_200,
    connect_timeout_s: 15,
    redial: { base_ms: DIAL_BACKOFF.baseMs, cap_ms: DIAL_BACKOFF.capMs },
    linger_s: 60,
    metrics: { url: metricsUrl, interval_s: 1 },
    architectures: lines.map(({ arch, endpoint }) => ({
      arch,
      platforms: NATIVE_PLATFORMS[arch],
      endpoint,
      max_builders: options.maxBuilders,
      expected_cold_start_s: 5,
      tls: options.tls === undefined ? null : { server_name: options.tls.serverName },
      proxies: { frontend: arch, backend: backendName(arch) },
    })),
    versions: {},
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
const DOCUMENT_PORT = 8403;
/** Of its load balancer; what no client may take is for its own dealings and for who looks. */
const MAX_CONNECTIONS = 4000;
const RESERVED_CONNECTIONS = 1000;
const METRICS_PORT = 8404;
const PLACEHOLDER_PORT = 8405;
const NAME_GATE_PORT = 8407;
/** The first architecture's. */
const PLUG_PORT = 8410;
/** Where the lines begin behind an entrance with TLS, one port an architecture. */
const INNER_PORT = 8420;

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
): Promise<{ balancer: Balancer; ports: readonly number[] }> {
  for (let attempt = 1; ; attempt += 1) {
    const ports: number[] = [];
    for (const index of options.archs.keys()) {
      ports.push(await claimPort(options.port === 0 ? 0 : options.port + index));
    }
    try {
      const balancer = await startBalancer({
        programs: options.programs,
        folder,
        model: balancerModel(options, folder, block, ports),
        onRecord: (record) => events.emit('record', record),
        onTrouble: (error) => events.emit('trouble', error),
      });
      return { balancer, ports };
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
  ports: readonly number[],
): BalancerModel {
  const address = internalAddress(block);
  const { tls } = options;
  return {
    // One thread serves a machine's builds with ease, and what it logs is in the order in which it happened.
    threads: 1,
    maxConnections: MAX_CONNECTIONS,
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
    entrances: options.archs.flatMap((arch, index) =>
      tls === undefined
        ? []
        : [
            {
              name: `entrance_${arch}`,
              bind: { address: '127.0.0.1', port: ports[index] ?? 0 },
              maxConnections: Math.floor((MAX_CONNECTIONS - RESERVED_CONNECTIONS) / 2 / options.archs.length),
              tls: {
                kind: 'ended',
                certificatePath: tls.certificatePath,
                clientCaPath: tls.clientCaPath,
              },
              earlySettings: false,
              routes: [],
              otherwise: arch,
            } satisfies Entrance,
          ],
    ),
    earlySettingsPath: null,
    pools: options.archs.map((arch, index) => ({
      name: arch,
      bind:
        tls === undefined
          ? { address: '127.0.0.1', port: ports[index] ?? 0 }
          : { address, port: INNER_PORT + index },
      fedBy: tls === undefined ? 'network' : 'entrances',
      places: 'token',
      headStarts: [],
      builderTls: null,
      slotPort: null,
      plug: { address, port: PLUG_PORT + index },
      servers: Array.from({ length: options.maxBuilders }, (_, ordinal) => ({
        name: builderName(ordinal),
        host: hostOf(arch, ordinal),
        port: BUILDER_PORT + index,
      })),
    })),
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
