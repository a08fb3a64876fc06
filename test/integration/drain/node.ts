/**
 * A node and its kubelet for one architecture's builders, on loopback: pods are the generated gate and the generated
 * start script with a real buildkitd, ended as kubelet ends them (hooks of all containers at once, each container's
 * signal after its own hook), behind the generated load balancer on a real HAProxy and a name server that caches.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { readOnlyChild } from '../../../src/local/process.ts';
import { renderBuildkitd } from '../../../src/pool/builder/buildkitd.ts';
import { renderDrain } from '../../../src/pool/builder/drain.ts';
import { renderGateScript } from '../../../src/pool/builder/gate.ts';
import { daemonPort, slotPort } from '../../../src/pool/builder/pod.ts';
import { renderStart } from '../../../src/pool/builder/start.ts';
import { renderGate } from '../../../src/pool/haproxy/gate.ts';
import {
  type BalancerModel,
  GATHERING_MS,
  PLACEHOLDER_SERVER,
  renderBalancer,
} from '../../../src/pool/haproxy.ts';
import type { Endpoint } from '../../../src/queue/endpoint.ts';
import { type Authority, issue, type KeyPair, makeAuthority } from '../../support/certificates.ts';
import { type DnsServer, startDnsServer } from '../../support/dns-server.ts';
import { LoadBalancer } from '../../support/server-line.ts';

/** Short enough for a hundred drains in a test, in the proportions of a cluster. */
const RESOLVE_MS = 250;
const DNS_CACHE_MS = 250;
/** From the end of a pod to the name server's knowing of it, at most. */
export const ENDPOINT_LAG_MS = 400;
/** Asked for at most this long after: lag, cache, interval, hold, and as much again. */
const FIRST_LOOK_SECONDS = 2;
const LOOK_SECONDS = 0.2;
const GRACE_SECONDS = 120;
/** Of a machine whose disk stands still for seconds at a time. */
const READY_TIMEOUT_MS = 180_000;
const HOUR_MS = 3_600_000;
const POOL = 'amd64';
const ZONE = 'builders.drain.internal';
/**
 * Below the ports that the system gives out. Builders on loopback share one network and its tables, where pods have their
 * own: here their ports tell them apart.
 */
const FIRST_PORT = 18_000;
const PORTS_PER_BLOCK = 100;
const PORTS_PER_BUILDER = 10;

export interface NodeOptions {
  readonly folder: string;
  readonly builders: number;
  /** 127.`block`.0.1 and on are builders, 127.`block`.1.1 is everything else. The next one that is free, where it is taken. */
  readonly block: number;
}

export interface Drained {
  readonly ordinal: number;
  /** Ms since the epoch. */
  readonly from: number;
  readonly to: number;
  /** Exit code of the hook; null when the grace period was over first. */
  readonly code: number | null;
  readonly log: string;
}

/** How the hook of buildkitd is run: as it is, or, to show that a killed build is seen, not at all. */
export interface Termination {
  readonly hook: 'drain' | 'none';
  /** Between the pod's end and the name server's knowing of it. */
  readonly lagMs: number;
}

interface Programs {
  readonly buildkitd: string;
  readonly busybox: string;
  readonly haproxy: string;
  readonly runc: string;
  readonly setpriv: string;
  readonly unshare: string;
}

function programs(): Programs {
  const path = (name: string): string => {
    const found = process.env[name];
    if (found === undefined) throw new Error(`${name} is not set`);
    return found;
  };
  return {
    buildkitd: path('BUILDKITD'),
    busybox: path('BUSYBOX'),
    haproxy: path('HAPROXY'),
    runc: path('RUNC'),
    setpriv: path('SETPRIV'),
    unshare: path('UNSHARE'),
  };
}

export class Node {
  readonly endpoint: Endpoint;
  readonly dns: DnsServer;
  balancer!: LoadBalancer;
  readonly #options: NodeOptions;
  readonly #programs = programs();
  #builderPair: KeyPair | null = null;
  readonly #pods = new Map<number, Pod>();
  readonly #lock: Server;

  private constructor(options: NodeOptions, dns: DnsServer, lock: Server) {
    this.#options = options;
    this.dns = dns;
    this.#lock = lock;
    const host = ownAddress(options);
    this.endpoint = { host, port: LINE_PORT, url: `tcp://${host}:${LINE_PORT}` };
  }

  static async open(asked: NodeOptions): Promise<Node> {
    const { block, lock } = await takeBlock(asked.block);
    const options = { ...asked, block };
    await mkdir(options.folder, { recursive: true });
    const address = ownAddress(options);
    const dns = await startDnsServer({ address, cacheMs: DNS_CACHE_MS, negativeCacheMs: DNS_CACHE_MS });
    const node = new Node(options, dns, lock);
    // Builders speak TLS in a cluster. Not every build of HAProxy does.
    const tls = await speaksTls(node.#programs.haproxy);
    if (tls) await node.#makeCertificates();
    const model = balancerModel(options, dns.port, tls);
    const path = join(options.folder, 'haproxy.cfg');
    await writeFile(path, renderBalancer(model));
    node.balancer = await LoadBalancer.start(path, model);
    return node;
  }

  async #makeCertificates(): Promise<void> {
    const authority: Authority = await makeAuthority(join(this.#options.folder, 'ca'), 'builders');
    this.#builderPair = await issue(authority, join(this.#options.folder, 'builder'), 'builder', [
      `*.${ZONE}`,
    ]);
    await issue(authority, clientFolder(this.#options), 'balancer', []);
  }

  /** Starts the builder and, once it is ready, gives it its name. */
  async startPod(ordinal: number): Promise<void> {
    const pod = await Pod.start(this.#options, this.#programs, ordinal, this.#builderPair);
    this.#pods.set(ordinal, pod);
    await pod.ready();
    this.dns.set(hostOf(ordinal), pod.address);
  }

  /** Those of the first `count` that are not there; resolves when the load balancer uses them all. */
  async startPods(count: number): Promise<void> {
    const missing = Array.from({ length: count }, (_, ordinal) => ordinal).filter(
      (ordinal) => !this.#pods.has(ordinal),
    );
    await Promise.all(missing.map((ordinal) => this.startPod(ordinal)));
    for (
      const deadline = Date.now() + READY_TIMEOUT_MS;
      (await this.balancer.usable(POOL)) < count;
      await sleep(50)
    ) {
      if (Date.now() > deadline) throw new Error(`not all of ${count} builders are used`);
    }
  }

  /** Builders that have a build at this moment. */
  async busy(): Promise<number> {
    const { servers } = await this.balancer.counters(POOL);
    return [...servers].filter(([name, { sessions }]) => name !== PLACEHOLDER_SERVER && sessions > 0).length;
  }

  /** Resolves once the builder has a build, or after `timeoutMs`. */
  async untilBusy(ordinal: number, timeoutMs: number): Promise<void> {
    for (const deadline = Date.now() + timeoutMs; Date.now() < deadline; await sleep(50)) {
      const { servers } = await this.balancer.counters(POOL);
      if ((servers.get(`builder-${ordinal}`)?.sessions ?? 0) > 0) return;
    }
  }

  /** Ends the builder as kubelet does, and waits until nothing of it is left. */
  async endPod(ordinal: number, { hook, lagMs }: Termination): Promise<Drained> {
    const pod = this.#pods.get(ordinal);
    if (pod === undefined) throw new Error(`no builder ${ordinal}`);
    const from = Date.now();
    const forget = setTimeout(() => this.dns.remove(hostOf(ordinal)), lagMs);
    const code = hook === 'drain' ? await pod.terminate() : await pod.cut();
    const to = Date.now();
    this.#pods.delete(ordinal);
    clearTimeout(forget);
    this.dns.remove(hostOf(ordinal));
    return { ordinal, from, to, code, log: await pod.readLog() };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pods.values()].map((pod) => pod.kill()));
    await this.balancer.kill();
    this.dns.close();
    this.#lock.close();
    await rm(this.#options.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

async function speaksTls(haproxy: string): Promise<boolean> {
  const { stdout } = await promisify(execFile)(haproxy, ['-vv']);
  return stdout.includes('+OPENSSL ');
}

const LINE_PORT = 22_900;
/** Who listens here, at the address of everything else, has the block. */
const BLOCK_PORT = 22_905;
/** Should another run on this machine have the first one. */
const FURTHER_BLOCKS = Array.from({ length: 20 }, (_, index) => 120 + index);

async function takeBlock(first: number): Promise<{ readonly block: number; readonly lock: Server }> {
  for (const block of [first, ...FURTHER_BLOCKS]) {
    const lock = createServer().listen(BLOCK_PORT, `127.${block}.1.1`);
    const isOwn = await once(lock, 'listening').then(
      () => true,
      () => false,
    );
    if (isOwn) return { block, lock };
  }
  throw new Error('all blocks of addresses are taken');
}

function ownAddress({ block }: NodeOptions): string {
  return `127.${block}.1.1`;
}

function hostOf(ordinal: number): string {
  return `builder-${ordinal}.${ZONE}`;
}

function clientFolder({ folder }: NodeOptions): string {
  return join(folder, 'balancer');
}

function portOf({ block }: NodeOptions, ordinal: number): number {
  return FIRST_PORT + PORTS_PER_BLOCK * (block % 100) + PORTS_PER_BUILDER * ordinal;
}

/** One for all builders, as their addresses differ. */
const SLOT_PORT = slotPort(FIRST_PORT);

function balancerModel(options: NodeOptions, dnsPort: number, tls: boolean): BalancerModel {
  const address = ownAddress(options);
  return {
    threads: 1,
    maxConnections: 1000,
    hardStopMs: null,
    logTarget: 'stdout format raw local0',
    adminSocketPath: join(options.folder, 'haproxy.sock'),
    metrics: { address, port: 22_904 },
    placeholder: { address, port: 22_901 },
    nameServers: [{ name: 'cluster', address, port: dnsPort }],
    nameGate: { address, port: 22_902 },
    resolution: { intervalMs: RESOLVE_MS, holdGoneMs: RESOLVE_MS, holdOutageMs: 12 * HOUR_MS },
    timeouts: { connectMs: 5_000, queueMs: 24 * HOUR_MS, clientMs: 48 * HOUR_MS, serverMs: 48 * HOUR_MS },
    keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
    checkIntervalMs: 500,
    gatheringMs: GATHERING_MS,
    entrances: [],
    earlySettingsPath: null,
    pools: [
      {
        name: POOL,
        bind: { address, port: LINE_PORT },
        fedBy: 'network',
        places: 'token',
        headStarts: [],
        builderTls: tls
          ? {
              caPath: join(clientFolder(options), 'ca.crt'),
              certificatePath: join(clientFolder(options), 'tls.crt'),
            }
          : null,
        slotPort: SLOT_PORT,
        plug: { address, port: 22_903 },
        servers: Array.from({ length: options.builders }, (_, ordinal) => ({
          name: `builder-${ordinal}`,
          host: hostOf(ordinal),
          port: portOf(options, ordinal),
        })),
      },
    ],
  };
}

/** One builder: two containers. */
class Pod {
  readonly address: string;
  readonly #folder: string;
  readonly #programs: Programs;
  readonly #children: ChildProcess[] = [];
  #gate!: Container;
  #daemon!: Container;

  private constructor(options: NodeOptions, tools: Programs, ordinal: number, incarnation: number) {
    this.address = `127.${options.block}.0.${ordinal + 1}`;
    this.#folder = join(options.folder, `pod-${ordinal}-${incarnation}`);
    this.#programs = tools;
  }

  static async start(
    options: NodeOptions,
    tools: Programs,
    ordinal: number,
    pair: KeyPair | null,
  ): Promise<Pod> {
    incarnations += 1;
    const pod = new Pod(options, tools, ordinal, incarnations);
    await mkdir(pod.#folder, { recursive: true });
    const port = portOf(options, ordinal);
    const daemon = { address: pod.address, port: daemonPort(port) };
    const files = {
      'buildkitd.toml': renderBuildkitd({
        socketPath: join(pod.#folder, 'buildkitd.sock'),
        ...daemon,
        tls:
          pair === null
            ? null
            : { certificatePath: pair.certificatePath, keyPath: pair.keyPath, clientCaPath: pair.caPath },
        profile: 'privileged',
        maxParallelism: 4,
        cache: { reservedBytes: 1e8, maxUsedBytes: 1e9, minFreeBytes: 1e8 },
        history: { maxAgeSeconds: 3600, maxEntries: 10 },
        mirrors: {},
      }),
      'start.sh': renderStart({
        cacheFolder: join(options.folder, 'cache'),
        slots: options.builders,
        daemon: [
          ...[tools.buildkitd, '--config', join(pod.#folder, 'buildkitd.toml')],
          // What differs on this machine from BuildKit's image.
          ...['--otel-socket-path', join(pod.#folder, 'otel.sock'), '--oci-worker-net=host'],
          ...['--oci-worker-binary', tools.runc],
        ],
        entrypoint: null,
      }),
      'drain.sh': renderDrain({
        port,
        innerPorts: [daemon.port],
        firstLookSeconds: FIRST_LOOK_SECONDS,
        lookIntervalSeconds: LOOK_SECONDS,
        idleLooks: 2,
        gatePatienceSeconds: 10,
        deadlineSeconds: GRACE_SECONDS - 10,
        reportSeconds: 60,
        procFolder: '/proc',
        logPath: join(pod.#folder, 'drain.log'),
      }),
      'gate.cfg': renderGate({
        builds: { address: pod.address, port },
        slot: { address: pod.address, port: SLOT_PORT },
        daemon,
        keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
        clientMs: 48 * HOUR_MS,
        serverMs: 48 * HOUR_MS,
      }),
      'gate.sh': renderGateScript({
        configPath: join(pod.#folder, 'gate.cfg'),
        haproxy: tools.haproxy,
        procFolder: '/proc',
      }),
    };
    for (const [name, content] of Object.entries(files)) await writeFile(join(pod.#folder, name), content);
    pod.#gate = pod.#container('gate', join(pod.#folder, 'gate.sh'));
    pod.#daemon = pod.#container('daemon', join(pod.#folder, 'start.sh'));
    return pod;
  }

  /** A shell in namespaces of its own, so that all that it starts and mounts ends with it, and with this process. */
  #container(name: string, script: string): Container {
    const { busybox, setpriv, unshare } = this.#programs;
    const child = spawn(
      setpriv,
      [
        ...['--pdeathsig', 'KILL', '--', unshare, '--pid', '--fork', '--kill-child=KILL', '--mount'],
        ...['--mount-proc', '--', busybox, 'sh', script],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'], HOME: this.#folder } },
    );
    const log = createWriteStream(join(this.#folder, `${name}.log`));
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    this.#children.push(child);
    return new Container(child);
  }

  #hook(command: readonly string[]): Promise<number | null> {
    const { busybox, setpriv } = this.#programs;
    const child = spawn(setpriv, ['--pdeathsig', 'KILL', '--', busybox, ...command], { stdio: 'ignore' });
    return new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  }

  async ready(): Promise<void> {
    for (const deadline = Date.now() + READY_TIMEOUT_MS; ; await sleep(50)) {
      if (await listens(join(this.#folder, 'buildkitd.sock'))) return;
      if (this.#daemon.ended || this.#gate.ended || Date.now() > deadline)
        throw new Error(`the builder did not start:\n${await this.readLog()}`);
    }
  }

  /** Resolves with the drain's exit code when both containers have ended. */
  async terminate(): Promise<number | null> {
    const grace = setTimeout(() => void this.kill(), GRACE_SECONDS * 1000);
    const gate = this.#hook(['sleep', String(FIRST_LOOK_SECONDS)]).then(() => this.#gate.end());
    const code = await this.#hook(['sh', join(this.#folder, 'drain.sh')]);
    await this.#daemon.end();
    await gate;
    clearTimeout(grace);
    return code;
  }

  /** As if the hook had said "idle" at once and the grace period were over. */
  async cut(): Promise<number | null> {
    await this.kill();
    return 0;
  }

  async kill(): Promise<void> {
    await Promise.all([this.#gate.kill(), this.#daemon.kill()]);
  }

  async readLog(): Promise<string> {
    const texts = await Promise.all(
      ['gate.log', 'daemon.log', 'drain.log'].map((name) =>
        readFile(join(this.#folder, name), 'utf8').catch(() => ''),
      ),
    );
    return texts.map((text) => text.slice(-4_000)).join('');
  }
}

let incarnations = 0;

class Container {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** SIGTERM to its first process. */
  async end(): Promise<void> {
    if (this.ended) return;
    // unshare itself holds the signal back while it waits.
    const pid = readOnlyChild(this.#child.pid ?? -1);
    if (pid !== null) process.kill(pid, 'SIGTERM');
    await this.#exited;
  }

  async kill(): Promise<void> {
    if (!this.ended) this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('error', () => resolve(false));
    socket.once('data', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
