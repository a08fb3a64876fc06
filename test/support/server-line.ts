/**
 * The server side of a pool on loopback: the generated load balancer as in a cluster, a name server that caches as
 * CoreDNS does, builders behind their gates, and clients that hold their places. Only addresses differ from a cluster.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { type PoolCounters, parseCounters } from '../../src/local/counters.ts';
import { BALANCER_PATHS, balancerModel } from '../../src/pool/components/balancer-model.ts';
import { EARLY_SETTINGS_LUA } from '../../src/pool/haproxy/early-settings.ts';
import { renderGate, SLOT_PATH } from '../../src/pool/haproxy/gate.ts';
import {
  type BalancerModel,
  backendName,
  PLACEHOLDER_SERVER,
  renderBalancer,
  TAKEN_ELSEWHERE,
} from '../../src/pool/haproxy.ts';
import { DIAL_BACKOFF, delayMs } from '../../src/queue/backoff.ts';
import { openingBytes, readGreeting } from '../../src/queue/preface.ts';
import { PLACE_TICK_MS, placeToken } from '../../src/queue/token.ts';
import { settingsFrame } from '../long/line.ts';
import {
  buildersNameOf,
  clusterModel,
  hostOf,
  type PoolShape,
  portsOf,
  serverNameOf,
} from './balancer-model.ts';
import { type Buildkitd, startBuildkitd } from './buildkitd.ts';
import { type Authority, issue, type KeyPair, makeAuthority } from './certificates.ts';
import { type DnsServer, startDnsServer } from './dns-server.ts';
import { composeText, exampleNamed, pick, sizeText } from './examples.ts';
import { type PlainBuild, startPlain } from './local-pool.ts';

const BUILDS_PORT = 1234;
const SLOT_PORT = 1235;
const DAEMON_PORT = 1233;
const BASE_PORT = 7000;
const READY_TIMEOUT_MS = 60_000;
const ANSWER_TIMEOUT_MS = 30_000;
const MAX_ORDINALS = 250;
const RENDERED_CONNECTIONS = 4096;
const BLOCK_PORT = 6999;
const BLOCKS = 250;
/** 127.100.x.x and on are builders. */
const FIRST_BUILDER_NET = 100;
const BUILDER_NETS = 20;

export const AMD64 = 'amd64';
export const ARM64 = 'arm64';

export interface RigOptions {
  readonly pools: readonly PoolShape[];
  readonly tls: boolean;
  readonly cacheMs?: number;
  readonly negativeCacheMs?: number;
  readonly earlySettings?: boolean;
}

/** How a client comes in: its entrance and, with TLS, its certificate. */
export interface Door {
  readonly port: number;
  readonly pair: KeyPair | null;
  readonly serverName: string;
}

export class Rig implements AsyncDisposable {
  readonly folder: string;
  readonly dns: DnsServer;
  readonly options: RigOptions;
  readonly authority: Authority;
  /** A client's certificate, or null without TLS. */
  readonly client: KeyPair | null;
  readonly #block: number;
  #service = 1;
  readonly #closers: Array<() => Promise<void> | void> = [];

  private constructor(
    folder: string,
    dns: DnsServer,
    options: RigOptions,
    block: number,
    authority: Authority,
    client: KeyPair | null,
  ) {
    this.folder = folder;
    this.dns = dns;
    this.options = options;
    this.#block = block;
    this.authority = authority;
    this.client = client;
  }

  static async open(options: RigOptions): Promise<Rig> {
    const folder = await mkdtemp(join(tmpdir(), 'server-line-'));
    const { block, release } = await takeBlock();
    const dns = await startDnsServer({
      address: `127.88.${block}.2`,
      cacheMs: options.cacheMs ?? 1_000,
      negativeCacheMs: options.negativeCacheMs ?? 1_000,
    });
    const authority = await makeAuthority(join(folder, 'ca'), 'pool CA');
    if (options.tls) {
      await issue(
        authority,
        join(folder, 'balancer'),
        'balancer',
        options.pools.map(({ name }) => serverNameOf(name)),
      );
      await issue(authority, join(folder, 'balancer-client'), 'balancer', []);
    }
    const client = options.tls ? await issue(authority, join(folder, 'client'), 'runner', []) : null;
    await writeFile(join(folder, 'early.lua'), EARLY_SETTINGS_LUA);
    const rig = new Rig(folder, dns, options, block, authority, client);
    rig.closeLater(release);
    return rig;
  }

  /** Where clients dial: as a Service, it may lead to another load balancer with the next dial. */
  get address(): string {
    return `127.88.${this.#block}.${this.#service}`;
  }

  /** Clients that dial from now on reach the load balancer of `pod`. */
  serve(pod: number): void {
    this.#service = pod;
  }

  model(change: Partial<BalancerModel> = {}, address = this.address): BalancerModel {
    return {
      ...clusterModel({
        address,
        base: BASE_PORT,
        pools: this.options.pools,
        tls: this.options.tls ? { folder: this.folder } : null,
        nameServer: { address: this.dns.address, port: this.dns.port },
        slotPort: SLOT_PORT,
        builderPort: BUILDS_PORT,
        adminSocketPath: join(this.folder, 'admin.sock'),
        earlySettingsPath: this.options.earlySettings === true ? join(this.folder, 'early.lua') : null,
      }),
      ...change,
    };
  }

  /** A load balancer at the pool's addresses; `pod` is the last part of the address from which it dials builders. */
  async startBalancer(pod = 11, change: Partial<BalancerModel> = {}): Promise<LoadBalancer> {
    return await this.#launch(this.model(change), `haproxy-${pod}.cfg`, pod);
  }

  /**
   * Run by the generated start script, as in its pod, with programs of the folder `bin` before those of PATH. The
   * certificates' folders are to be mounts of Secrets; see `mountSecret`.
   */
  async startBalancerByScript(pod: number, script: string, bin: string): Promise<LoadBalancer> {
    const configuration = join(this.folder, `haproxy-${pod}.cfg`);
    const path = join(this.folder, `start-${pod}.sh`);
    const model = this.model({ adminSocketPath: join(this.folder, `admin-${pod}.sock`) });
    await writeFile(
      path,
      script
        .replaceAll(BALANCER_PATHS.configuration, configuration)
        .replaceAll(BALANCER_PATHS.adminSocket, model.adminSocketPath ?? '')
        .replaceAll(BALANCER_PATHS.tls, join(this.folder, 'balancer'))
        .replaceAll(BALANCER_PATHS.clientTls, join(this.folder, 'balancer-client')),
    );
    return await this.#launch(model, `haproxy-${pod}.cfg`, pod, { script: { path, bin } });
  }

  /** A load balancer at addresses of its own, beside the one that serves; `serve` leads clients to it. */
  async startBalancerBeside(pod: number): Promise<LoadBalancer> {
    const change = { adminSocketPath: join(this.folder, `admin-${pod}.sock`) };
    const model = this.model(change, `127.88.${this.#block}.${pod}`);
    return await this.#launch(model, `haproxy-${pod}.cfg`, pod);
  }

  /**
   * The load balancer of a committed example, from the text of its ConfigMap: only addresses, the port of the name
   * server, folders and the number of connections are other ones, for fewer files may be open here than in a pod. The
   * example's pool must be called `default`, in the namespace `buildkit`.
   */
  async startRenderedBalancer(example: string, pod: number): Promise<LoadBalancer> {
    const { poolYaml } = exampleNamed(example);
    const sizing = sizeText(poolYaml);
    const [pool] = sizing.pools;
    if (pool === undefined) throw new Error('no pool');
    const { data } = pick(composeText(poolYaml), 'ConfigMap', pool.names.balancer);
    const adminSocketPath = join(this.folder, 'admin.sock');
    const text = String(data['haproxy.cfg'])
      .replace(/(^global\n(?:.*\n)*? *maxconn) \d+$/m, `$1 ${RENDERED_CONNECTIONS}`)
      .replaceAll(/"\$\{NAME_SERVER\}":53/g, `${this.dns.address}:${this.dns.port}`)
      .replaceAll(/"\$\{ANY_ADDRESS\}"/g, this.address)
      .replaceAll('127.0.0.1', this.address)
      .replaceAll(BALANCER_PATHS.adminSocket, adminSocketPath)
      .replaceAll(BALANCER_PATHS.clientTls, join(this.folder, 'balancer-client'))
      .replaceAll(BALANCER_PATHS.tls, join(this.folder, 'balancer'));
    const rendered = balancerModel(sizing, pool);
    const metrics = { ...rendered.metrics, address: this.address };
    return await this.#launch({ ...rendered, adminSocketPath, metrics }, `rendered-${pod}.cfg`, pod, {
      text,
    });
  }

  async #launch(
    model: BalancerModel,
    file: string,
    pod: number,
    { text = renderBalancer(model), script = null }: Launch = {},
  ): Promise<LoadBalancer> {
    const configuration = join(this.folder, file);
    const source = `default-server source 127.88.${this.#block}.${pod} `;
    await writeFile(configuration, text.replaceAll('default-server maxconn', `${source}maxconn`));
    const balancer = await LoadBalancer.start(configuration, model, script);
    this.closeLater(() => balancer.kill());
    return balancer;
  }

  closeLater(close: () => Promise<void> | void): void {
    this.#closers.push(close);
  }

  builderAddress(pool: string, ordinal: number): string {
    const index = this.options.pools.findIndex(({ name }) => name === pool);
    return `127.${FIRST_BUILDER_NET + 2 * index + Math.floor(ordinal / MAX_ORDINALS)}.${this.#block}.${1 + (ordinal % MAX_ORDINALS)}`;
  }

  /** The name of a builder now leads to it, once caches have forgotten. */
  announce(pool: string, ordinal: number, ip = this.builderAddress(pool, ordinal)): void {
    this.dns.set(hostOf(pool, ordinal), ip);
  }

  withdraw(pool: string, ordinal: number): void {
    this.dns.remove(hostOf(pool, ordinal));
  }

  /** Through the port of one architecture. */
  door(pool: string, pair = this.client): Door {
    const index = this.options.pools.findIndex(({ name }) => name === pool);
    return { port: portsOf(BASE_PORT).own(index), pair, serverName: serverNameOf(pool) };
  }

  /** Through the port that all architectures share. */
  sharedDoor(pool: string, pair = this.client): Door {
    return { ...this.door(pool, pair), port: portsOf(BASE_PORT).shared };
  }

  /** Of a load balancer that was rendered. */
  renderedDoor(pool: string, example: string): Door {
    const [sized] = sizeText(exampleNamed(example).poolYaml).pools;
    const arch = sized?.architectures.find(({ name }) => name === pool);
    return { ...this.door(pool), port: arch?.line.listenPort.value ?? 0 };
  }

  earlyDoor(pool: string): Door {
    const index = this.options.pools.findIndex(({ name }) => name === pool);
    return { ...this.door(pool), port: portsOf(BASE_PORT).early(index) };
  }

  /** The builders' certificate, valid for all ordinals of a pool. */
  async builderPair(pool: string): Promise<KeyPair | null> {
    if (!this.options.tls) return null;
    return await issue(this.authority, join(this.folder, `builders-${pool}`), 'builder', [
      buildersNameOf(pool),
    ]);
  }

  /** Stand-ins for builders and their gates, not announced yet. */
  async startStandIns(
    pool: string,
    ordinals: readonly number[],
    pair?: KeyPair | null,
  ): Promise<readonly StandIn[]> {
    const shown = pair === undefined ? await this.builderPair(pool) : pair;
    return await Promise.all(
      ordinals.map(async (ordinal) => {
        const standIn = await StandIn.start(this.builderAddress(pool, ordinal), ordinal, shown);
        this.closeLater(() => standIn.die());
        return standIn;
      }),
    );
  }

  /** Stand-ins behind real gates, for load balancers that follow each other; not announced yet. */
  async startGatedStandIns(
    pool: string,
    ordinals: readonly number[],
    pair?: KeyPair | null,
  ): Promise<readonly StandIn[]> {
    const shown = pair === undefined ? await this.builderPair(pool) : pair;
    return await Promise.all(
      ordinals.map(async (ordinal) => {
        const address = this.builderAddress(pool, ordinal);
        const standIn = await StandIn.start(address, ordinal, shown, true);
        this.closeLater(() => standIn.die());
        const gate = await startGate(this.folder, address);
        this.closeLater(() => void gate.kill('SIGKILL'));
        return standIn;
      }),
    );
  }

  /** A real buildkitd behind a real gate, not announced yet. */
  async startBuilder(pool: string, ordinal: number, pair: KeyPair | null): Promise<RealBuilder> {
    const builder = await startRealBuilder(this.folder, this.builderAddress(pool, ordinal), ordinal, pair);
    this.closeLater(() => builder.stop());
    return builder;
  }

  join(name: string, door: Door, joinedAtMs = Date.now()): Build {
    return this.joinAt(name, door, placeToken(joinedAtMs));
  }

  /** With a place that somebody already has. */
  joinAt(name: string, door: Door, token: number): Build {
    const build = new Build(name, () => this.address, door, token);
    this.closeLater(() => build.leave());
    return build;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#closers.toReversed()) await close();
    this.dns.close();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/**
 * Loopback addresses that no other rig has, of whatever process: whoever listens at BLOCK_PORT has them. Those at which
 * a run that was killed has left somebody are nobody's.
 */
async function takeBlock(): Promise<{ readonly block: number; readonly release: () => void }> {
  for (let tries = 0; tries < BLOCKS; tries += 1) {
    const block = 1 + ((process.pid + tries) % BLOCKS);
    const server = net.createServer().listen(BLOCK_PORT, `127.88.${block}.1`);
    const isOwn = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isOwn) continue;
    if (!isLeftBehind(block)) return { block, release: () => void server.close() };
    server.close();
  }
  throw new Error(`all ${BLOCKS} blocks of addresses are taken`);
}

/** Whether somebody but the block's own socket listens at an address of a block. HAProxy would share its ports with them. */
function isLeftBehind(block: number): boolean {
  const third = block.toString(16).padStart(2, '0').toUpperCase();
  const own = hexAddress(`127.88.${block}.1`, BLOCK_PORT);
  return readConnections().some(({ local, state }) => {
    const second = Number.parseInt(local.slice(4, 6), 16);
    return (
      state === LISTENING &&
      local !== own &&
      local.slice(2, 4) === third &&
      local.slice(6, 8) === '7F' &&
      (second === 88 || (second >= FIRST_BUILDER_NET && second < FIRST_BUILDER_NET + BUILDER_NETS))
    );
  });
}

export interface LoggedBuild {
  readonly frontend: string;
  readonly server: string;
  readonly place: string;
  readonly accepted_ms: number;
  readonly queue_ms: number;
  readonly connect_ms: number;
  readonly total_ms: number;
  readonly termination: string;
}

export interface Refusal {
  readonly entrance: string;
  readonly refused: string;
}

/** What differs from a generated configuration that HAProxy itself is started with. */
interface Launch {
  readonly text?: string;
  readonly script?: StartScript | null;
}

/** How a load balancer is run other than by HAProxy itself. */
interface StartScript {
  readonly path: string;
  readonly bin: string;
}

/** For setpriv: what it starts ends with this process, however that ends. */
const ENDS_WITH_US = ['--pdeathsig', 'KILL', '--'] as const;

export class LoadBalancer {
  readonly log: LoggedBuild[] = [];
  readonly refusals: Refusal[] = [];
  /** Everything else it said. */
  events = '';
  readonly exited: Promise<unknown>;
  readonly #child: ChildProcess;
  readonly #model: BalancerModel;
  readonly #isScript: boolean;

  private constructor(child: ChildProcess, model: BalancerModel, isScript: boolean) {
    this.#child = child;
    this.#model = model;
    this.#isScript = isScript;
    // With all that it has written; what a script has started may have its output for longer.
    this.exited = once(child, isScript ? 'exit' : 'close');
    let unread = '';
    child.stdout?.on('data', (chunk) => {
      const rows = `${unread}${chunk}`.split('\n');
      unread = rows.pop() ?? '';
      for (const row of rows) {
        if (row.startsWith('{"frontend"')) this.log.push(JSON.parse(row));
        else if (row.startsWith('{"entrance"')) this.refusals.push(JSON.parse(row));
        else this.events += `${row}\n`;
      }
    });
    child.stderr?.on('data', (chunk) => {
      this.events += chunk;
    });
  }

  static async start(
    configuration: string,
    model: BalancerModel,
    script: StartScript | null = null,
  ): Promise<LoadBalancer> {
    const { HAPROXY: program = 'haproxy', SETPRIV: setpriv = 'setpriv', PATH } = process.env;
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    // A group of its own for a script and what it starts.
    const child =
      script === null
        ? spawn(setpriv, [...ENDS_WITH_US, program, '-db', '-f', configuration], { stdio: [...stdio] })
        : spawn('/bin/sh', [script.path], {
            ...{ stdio: [...stdio], detached: true, env: { PATH: `${script.bin}:${PATH}` } },
          });
    const balancer = new LoadBalancer(child, model, script !== null);
    for (const deadline = Date.now() + READY_TIMEOUT_MS; ; await sleep(20)) {
      const isReady = await balancer.#isPlugged().catch(() => false);
      if (isReady) return balancer;
      if (!balancer.running || Date.now() > deadline) {
        await balancer.kill();
        throw new Error(`HAProxy did not start:\n${balancer.events}`);
      }
    }
  }

  async #isPlugged(): Promise<boolean> {
    // A predecessor that is still ending may answer at the same path.
    const info = await this.ask('show info');
    if (!(this.#isScript || info.includes(`\nPid: ${this.#child.pid}\n`))) return false;
    const all = await Promise.all(this.#model.pools.map(({ name }) => this.counters(name)));
    return all.every(({ servers }) => servers.get(PLACEHOLDER_SERVER)?.sessions === 1);
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Its own builds: `haproxy_frontend_current_sessions` of the pool. */
  async demand(pool: string): Promise<number> {
    return await this.metric('haproxy_frontend_current_sessions', `proxy="${pool}"`);
  }

  /** The value of one series; its labels must contain `labels`. */
  async metric(name: string, labels: string): Promise<number> {
    const { address, port } = this.#model.metrics;
    // Only series of its kind: with hundreds of builders the whole page has megabytes. A connection of its own: another
    // one may still lead to the predecessor.
    const [, scope] = name.split('_');
    const headers = { connection: 'close' };
    const text = await (await fetch(`http://${address}:${port}/metrics?scope=${scope}`, { headers })).text();
    const row = text.split('\n').find((line) => line.startsWith(`${name}{`) && line.includes(labels));
    if (row === undefined) throw new Error(`no series ${name} with ${labels}`);
    return Number(row.slice(row.lastIndexOf(' ')));
  }

  async counters(pool: string): Promise<PoolCounters> {
    const found = parseCounters(await this.ask('show stat'), pool, backendName(pool));
    if (found === null) throw new Error(`HAProxy knows no pool ${pool}`);
    return found;
  }

  /** The most connections that it has had to one builder at the same time since its start. */
  async mostOnOne(pool: string): Promise<number> {
    const [head = '', ...rows] = (await this.ask('show stat')).trim().split('\n');
    const columns = head.replace(/^# /, '').split(',');
    const most = rows
      .map((row) => row.split(','))
      .filter((cells) => cells[columns.indexOf('pxname')] === backendName(pool))
      .filter((cells) => !['BACKEND', PLACEHOLDER_SERVER].includes(cells[columns.indexOf('svname')] ?? ''))
      .map((cells) => Number(cells[columns.indexOf('smax')]));
    return Math.max(...most);
  }

  /** What the autoscaler adds up: builds here, and builders that builds of another load balancer take. */
  async scalerDemand(pool: string): Promise<number> {
    const elsewhere = await this.takenElsewhere(pool);
    return (await this.demand(pool)) + elsewhere;
  }

  async takenElsewhere(pool: string): Promise<number> {
    return await this.metric(
      'haproxy_backend_agg_check_status',
      `proxy="${backendName(pool)}",state="${TAKEN_ELSEWHERE}"`,
    );
  }

  /** Builders of a pool that it would use. */
  async usable(pool: string): Promise<number> {
    const { servers } = await this.counters(pool);
    return [...servers].filter(([name, { up }]) => up && name !== PLACEHOLDER_SERVER).length;
  }

  async ask(command: string): Promise<string> {
    const socket = net.connect(this.#model.adminSocketPath ?? '');
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy(new Error('HAProxy does not answer')));
    socket.write(`${command}\n`);
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    return answer;
  }

  /** As Kubernetes ends it: no new clients, those who wait are let go, builds go on. */
  stopSoftly(): void {
    this.#child.kill('SIGUSR1');
  }

  async kill(): Promise<void> {
    const { pid } = this.#child;
    if (!this.running || pid === undefined) return;
    process.kill(this.#isScript ? -pid : pid, 'SIGKILL');
    await this.exited;
  }
}

function readPair(pair: KeyPair) {
  return {
    cert: readFileSync(pair.certificatePath),
    key: readFileSync(pair.keyPath),
    ca: readFileSync(pair.caPath),
  };
}

/** One time that a build was on a builder, by performance.now(). */
export interface Stay {
  readonly token: number;
  readonly from: number;
  to: number | null;
}

/**
 * Speaks as a builder does, as far as a load balancer can tell. It lets in everybody who comes, and writes down who was
 * there when: that no two are is the doing of the load balancer, or of a real gate where it stands behind one.
 */
export class StandIn {
  readonly ordinal: number;
  readonly address: string;
  readonly stays: Stay[] = [];
  readonly #gated: boolean;
  readonly #present = new Set<net.Socket>();
  readonly #sockets = new Set<net.Socket>();
  readonly #servers: net.Server[] = [];
  #pair: ReturnType<typeof readPair> | null;

  private constructor(address: string, ordinal: number, pair: KeyPair | null, gated: boolean) {
    this.address = address;
    this.ordinal = ordinal;
    this.#pair = pair === null ? null : readPair(pair);
    this.#gated = gated;
  }

  /** `gated`: somebody else runs a gate at this address. */
  static async start(
    address: string,
    ordinal: number,
    pair: KeyPair | null,
    gated = false,
  ): Promise<StandIn> {
    const standIn = new StandIn(address, ordinal, pair, gated);
    await standIn.#open();
    return standIn;
  }

  async #open(): Promise<void> {
    const builds = net.createServer((socket) => {
      this.#keep(socket);
      this.#present.add(socket);
      socket.on('close', () => this.#present.delete(socket));
      this.#serve(socket);
    });
    this.#servers.push(builds.listen(this.#gated ? DAEMON_PORT : BUILDS_PORT, this.address));
    if (!this.#gated) {
      const slot = http.createServer(({ url, socket }, response) => {
        // A socket that has been reset has no address any more.
        const present = [...this.#present].map(({ remoteAddress }) => remoteAddress).filter(Boolean);
        const isOwn = present.length === 0 || present.includes(socket.remoteAddress);
        response.writeHead(url === SLOT_PATH && isOwn ? 200 : 503).end();
      });
      slot.on('connection', (socket) => this.#keep(socket));
      this.#servers.push(slot.listen(SLOT_PORT, this.address));
    }
    await Promise.all(this.#servers.map((server) => once(server, 'listening')));
  }

  #keep(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #serve(raw: net.Socket): void {
    const socket =
      this.#pair === null
        ? raw
        : new tls.TLSSocket(raw, {
            ...this.#pair,
            isServer: true,
            requestCert: true,
            rejectUnauthorized: true,
            ALPNProtocols: ['h2'],
          });
    socket.on('error', () => raw.destroy());
    let received = Buffer.alloc(0);
    let stay: Stay | undefined;
    socket.on('data', (chunk: Buffer) => {
      if (stay !== undefined) return;
      received = Buffer.concat([received, chunk]);
      // Its own SETTINGS, and the acknowledgement of the client's, which only a builder sends.
      if (received.length < 33) return;
      stay = {
        token: received.length >= 39 ? received.readUInt32BE(35) : 0,
        from: performance.now(),
        to: null,
      };
      this.stays.push(stay);
      socket.write(Buffer.concat([settingsFrame([]), Buffer.from([0, 0, 0, 4, 1, 0, 0, 0, 0])]));
    });
    // The load balancer has let go of this one before it sends the next, whatever else is still to be closed.
    const leave = (): void => {
      this.#present.delete(raw);
      if (stay !== undefined) stay.to ??= performance.now();
    };
    raw.on('close', leave);
    socket.on('end', () => {
      leave();
      socket.end();
    });
  }

  get busy(): boolean {
    return this.stays.some(({ to }) => to === null);
  }

  /** Ends as a killed pod does; its name may still be known. */
  async die(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    this.#servers.length = 0;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await Promise.all(closed);
  }

  async revive(): Promise<void> {
    await this.#open();
  }

  /** A new pod of the same ordinal, with the files as they are now. */
  async replace(pair: KeyPair): Promise<void> {
    await this.die();
    this.#pair = readPair(pair);
    await this.#open();
  }
}

export interface RealBuilder {
  readonly ordinal: number;
  readonly address: string;
  readonly daemon: Buildkitd;
  readonly gate: ChildProcess;
  stop(): Promise<void>;
}

/** A real gate in front of what listens at DAEMON_PORT. */
async function startGate(folder: string, address: string): Promise<ChildProcess> {
  const configuration = join(folder, `gate-${address}.cfg`);
  const hour = 3_600_000;
  await writeFile(
    configuration,
    renderGate({
      builds: { address, port: BUILDS_PORT },
      slot: { address, port: SLOT_PORT },
      daemon: { address, port: DAEMON_PORT },
      keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
      clientMs: 48 * hour,
      serverMs: 48 * hour,
    }),
  );
  const { HAPROXY: program = 'haproxy', SETPRIV: setpriv = 'setpriv' } = process.env;
  const gate = spawn(setpriv, [...ENDS_WITH_US, program, '-db', '-f', configuration], { stdio: 'ignore' });
  try {
    await untilListening(address, SLOT_PORT);
  } catch (error) {
    gate.kill('SIGKILL');
    throw error;
  }
  return gate;
}

async function startRealBuilder(
  folder: string,
  address: string,
  ordinal: number,
  pair: KeyPair | null,
): Promise<RealBuilder> {
  const daemon = await startBuildkitd({
    root: join(folder, `buildkitd-${address}`),
    address: `tcp://${address}:${DAEMON_PORT}`,
    ...(pair === null ? {} : { tls: pair }),
  });
  const gate = await startGate(folder, address).catch(async (error: unknown) => {
    await daemon.stop();
    throw error;
  });
  return {
    ordinal,
    address,
    daemon,
    gate,
    stop: async () => {
      gate.kill('SIGKILL');
      await daemon.stop();
    },
  };
}

async function untilListening(address: string, port: number): Promise<void> {
  for (const deadline = Date.now() + READY_TIMEOUT_MS; Date.now() < deadline; await sleep(20)) {
    const socket = net.connect(port, address);
    const opened = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (opened) return;
  }
  throw new Error(`nobody listens at ${address}:${port}`);
}

interface Connection {
  /** As the kernel writes an address: `hexAddress`. */
  readonly local: string;
  readonly remote: string;
  readonly state: string;
}

/** proc_pid_net(5), as in include/net/tcp_states.h. */
const ESTABLISHED = '01';
const LISTENING = '0A';

/** The kernel's table. It is read piece by piece: two rows of it need not have been there at the same moment. */
function readConnections(): readonly Connection[] {
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .slice(1)
    .map((row) => row.trim().split(/\s+/))
    .map(([, local = '', remote = '', state = '']) => ({ local, remote, state }));
}

function hexAddress(address: string, port: number): string {
  const octets = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return `${octets.toReversed().join('')}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

/** A real build by plain buildctl, which waits as any other client does. */
export function startRealBuild(rig: Rig, context: string, id: string): PlainBuild {
  const { BUILDCTL: buildctl = 'buildctl' } = process.env;
  const { client } = rig;
  if (client === null) throw new Error('no certificate');
  return startPlain(buildctl, [
    ...['--addr', `tcp://${rig.address}:${rig.door(AMD64).port}`],
    ...['--tlsservername', serverNameOf(AMD64), '--tlscacert', client.caPath],
    ...['--tlscert', client.certificatePath, '--tlskey', client.keyPath],
    ...['build', '--frontend', 'dockerfile.v0', '--progress', 'plain'],
    ...['--local', `context=${context}`, '--local', `dockerfile=${context}`, '--opt', `build-arg:ID=${id}`],
  ]);
}

/** Longer than any check of the gate is connected, shorter than any build. */
const CHECK_LASTS_MS = 1_000;

/**
 * Looks at the kernel's table again and again for those who are connected to the daemons; the returned function tells
 * what it has seen. The gates' own checks come and go.
 */
export function watchBuilds(
  builders: readonly RealBuilder[],
): () => { readonly mostOnOne: number; readonly builds: number } {
  const seen = builders.map(() => new Map<string, { readonly from: number; to: number }>());
  const established = (): readonly Connection[] =>
    readConnections().filter(({ state }) => state === ESTABLISHED);
  const timer = setInterval(() => {
    const now = performance.now();
    // Who is in both was there at the moment between: no successor is taken for a neighbour.
    const before = new Set(established().map(({ local, remote }) => `${local} ${remote}`));
    const present = established().filter(({ local, remote }) => before.has(`${local} ${remote}`));
    for (const [index, { address }] of builders.entries()) {
      const daemon = hexAddress(address, DAEMON_PORT);
      for (const { remote } of present.filter(({ local }) => local === daemon)) {
        const stay = seen[index]?.get(remote);
        if (stay === undefined) seen[index]?.set(remote, { from: now, to: now });
        else stay.to = now;
      }
    }
  }, 50);
  return () => {
    clearInterval(timer);
    const builds = seen.map((peers) =>
      [...peers.values()].filter(({ from, to }) => to - from > CHECK_LASTS_MS),
    );
    const most = builds.map((stays) =>
      Math.max(
        ...stays.map(({ from }) => stays.filter((other) => other.from <= from && other.to >= from).length),
      ),
    );
    return { mostOnOne: Math.max(...most), builds: builds.flat().length };
  };
}

export type BuildState = 'waiting' | 'building' | 'lost' | 'left';

/** A client that keeps its place: it dials again, at its own place, until it has a builder. */
export class Build {
  readonly name: string;
  readonly token: number;
  state: BuildState = 'waiting';
  /** When the builder was its own, by performance.now(). */
  grantedAt: number | null = null;
  dials = 0;
  readonly granted: Promise<void>;
  readonly #host: () => string;
  readonly #door: Door;
  #socket: net.Socket | null = null;
  #failures = 0;
  #resolveGranted: () => void = () => {};

  constructor(name: string, host: () => string, door: Door, token: number) {
    this.name = name;
    this.token = token;
    this.#host = host;
    this.#door = door;
    this.granted = new Promise((resolve) => {
      this.#resolveGranted = resolve;
    });
    this.#dial();
  }

  /** Whether the load balancer has it: waiting or building. */
  get connected(): boolean {
    return this.#socket !== null && !this.#socket.destroyed && !this.#socket.connecting;
  }

  /** The connection, once the builder is its own; taken over by the caller. */
  get socket(): net.Socket | null {
    return this.state === 'building' ? this.#socket : null;
  }

  get localPort(): number | undefined {
    return this.#socket?.localPort;
  }

  /** As after a short loss of the network: dials again, at its own place. */
  redial(): void {
    this.#socket?.destroy();
  }

  leave(): void {
    this.state = 'left';
    this.#socket?.destroy();
  }

  #dial(): void {
    if (this.state !== 'waiting') return;
    this.dials += 1;
    const { port, pair, serverName } = this.#door;
    const socket =
      pair === null
        ? net.connect(port, this.#host())
        : tls.connect({
            ...{ host: this.#host(), port, servername: serverName, ALPNProtocols: ['h2'] },
            ...{ ca: readFileSync(pair.caPath), cert: readFileSync(pair.certificatePath) },
            key: readFileSync(pair.keyPath),
          });
    this.#socket = socket;
    let received: Buffer = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.once(pair === null ? 'connect' : 'secureConnect', () => {
      this.#failures = 0;
      socket.write(openingBytes(this.token));
    });
    const read = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      if (readGreeting(received).kind !== 'granted') return;
      socket.off('data', read);
      this.state = 'building';
      this.grantedAt = performance.now();
      this.#resolveGranted();
      socket.resume();
    };
    socket.on('data', read);
    socket.on('close', () => {
      if (this.state === 'building') this.state = 'lost';
      this.#failures += 1;
      const timer = setTimeout(() => this.#dial(), delayMs(DIAL_BACKOFF, this.#failures, Math.random()));
      timer.unref();
    });
  }
}

/**
 * Before HAProxy 3.1 builds that joined within the time for which the process stood still may change places, and so may
 * those of one class when it is passed, 17 minutes after it began: docs/line.md.
 */
const MOST_TICKS_APART = 32;
const LONGEST_SPAN_TICKS = (8 * 60_000) / PLACE_TICK_MS;

/** Moments of joining, the last one some seconds past: no two are one place, nor changed by a machine that stands still. */
export function joinTimes(count: number): readonly number[] {
  const now = Date.now();
  const ticks = Math.max(2, Math.min(MOST_TICKS_APART, Math.floor(LONGEST_SPAN_TICKS / count)));
  return Array.from({ length: count }, (_, index) => now - (count - index) * ticks * PLACE_TICK_MS);
}

/** Names of those who have had a builder, in the order of getting it. */
export function servedOrder(builds: readonly Build[]): readonly string[] {
  return builds
    .filter(({ grantedAt }) => grantedAt !== null)
    .toSorted((one, other) => (one.grantedAt ?? 0) - (other.grantedAt ?? 0))
    .map(({ name }) => name);
}

/** The most builds that were on one builder at the same time. */
export function mostAtOnce({ stays }: StandIn): number {
  return Math.max(
    0,
    ...stays.map(
      ({ from }) =>
        stays.filter((other) => other.from <= from && (other.to ?? Number.POSITIVE_INFINITY) > from).length,
    ),
  );
}
