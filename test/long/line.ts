/** A real load balancer with stand-in names, builders and clients: what the tests of the line's order are made of. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import dnsPacket from 'dns-packet';
import { backendName, GATHERING_MS, renderBalancer } from '../../src/pool/haproxy.ts';
import { KEY_STEP_MS, OLD_KEY_STEP_MS } from '../../src/pool/priority.ts';
import { PLACE_SETTING_ID } from '../../src/queue/token.ts';
import { freePort } from '../support/buildkitd.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = 4;
const ADMIN_TIMEOUT_MS = 60_000;
/** A load balancer that has just started gives no builder away at first. */
const BUILDER_TIMEOUT_MS = 60_000;

/** An HTTP/2 SETTINGS frame of pairs of identifier and value (RFC 9113, section 6.5). */
export function settingsFrame(settings: ReadonlyArray<readonly [id: number, value: number]>): Buffer {
  const frame = Buffer.alloc(9 + 6 * settings.length);
  frame.writeUIntBE(6 * settings.length, 0, 3);
  frame.writeUInt8(SETTINGS, 3);
  for (const [index, [id, value]] of settings.entries()) {
    frame.writeUInt16BE(id, 9 + 6 * index);
    frame.writeUInt32BE(value, 11 + 6 * index);
  }
  return frame;
}

/** What a client with the place `token` says before it falls silent; null is a client without a place (plain grpc-go). */
export function greeting(token: number | null): Buffer {
  return Buffer.concat([PREFACE, settingsFrame(token === null ? [] : [[PLACE_SETTING_ID, token]])]);
}

/** A name server over TCP whose answers can change at any time. */
export interface Names {
  readonly port: number;
  set(addresses: ReadonlyMap<string, string>): void;
  close(): void;
}

export async function startNames(): Promise<Names> {
  let addresses: ReadonlyMap<string, string> = new Map();
  const answer = (query: Buffer): Buffer => {
    const { id, questions } = dnsPacket.streamDecode(query);
    const [question] = questions ?? [];
    const data = question === undefined ? undefined : addresses.get(question.name);
    return dnsPacket.streamEncode({
      type: 'response',
      ...(id === undefined ? {} : { id }),
      flags: dnsPacket.AUTHORITATIVE_ANSWER | (data === undefined ? 3 : 0),
      questions: questions ?? [],
      answers:
        question?.type === 'A' && data !== undefined
          ? [{ name: question.name, type: 'A', class: 'IN', ttl: 1, data }]
          : [],
    });
  };
  const server = await listen((socket) => {
    let received = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        socket.write(answer(received.subarray(0, end)));
        received = received.subarray(end);
      }
    });
  });
  return {
    port: server.port,
    set: (next) => {
      addresses = next;
    },
    close: server.close,
  };
}

/** A listener on a free port of `127.0.0.1`. */
export async function listen(
  onConnection: (socket: net.Socket) => void,
): Promise<{ readonly port: number; close(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** A stand-in builder: greets at once, as a plaintext buildkitd does, and serves until the client leaves. */
export function startBuilder(): ReturnType<typeof listen> {
  return listen((socket) => {
    socket.write(settingsFrame([]));
    socket.resume();
  });
}

export interface LoggedConnection {
  readonly frontend: string;
  readonly server: string;
  readonly place: string;
}

/** HAProxy with one line for each name, each served by one builder as soon as its name resolves. */
export interface Balancer {
  readonly log: readonly LoggedConnection[];
  readonly builderPort: number;
  portOf(line: string): number;
  /** Makes the builder of a line resolvable, or unknown again. */
  setBuilder(line: string, present: boolean): void;
  /** Clients that the load balancer holds for a line, waiting or served: the demand an autoscaler sees. */
  sessions(line: string): Promise<number>;
  /** Those of them that wait. */
  queued(line: string): Promise<number>;
  /** Resolves once the line's builder has passed its checks. */
  waitForBuilder(line: string): Promise<void>;
  /** The distance of two neighbouring keys in ms, which depends on HAProxy's version. */
  keyStepMs(): Promise<number>;
  /** A command on HAProxy's administration socket, and its answer. */
  ask(command: string): Promise<string>;
  /** Ends the process at once and starts another with the same configuration. */
  restart(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  stop(): Promise<void>;
}

export async function startBalancer(lines: readonly string[]): Promise<Balancer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'line-'));
  const adminSocketPath = path.join(folder, 'admin.sock');
  const configuration = path.join(folder, 'haproxy.cfg');
  const names = await startNames();
  const builder = await startBuilder();
  const present = new Set<string>();
  const ports = new Map<string, number>();
  const host = (line: string): string => `b0.${line.replaceAll('_', '-')}.test`;
  const pools = [];
  for (const line of lines) {
    const bind = { address: '127.0.0.1', port: await freePort() };
    ports.set(line, bind.port);
    pools.push({
      name: line,
      bind,
      fedBy: 'network' as const,
      places: 'token' as const,
      headStarts: [],
      builderTls: null,
      slotPort: null,
      plug: { address: '127.0.0.1', port: await freePort() },
      servers: [{ name: 'b0', host: host(line), port: builder.port }],
    });
  }
  await writeFile(
    configuration,
    renderBalancer({
      threads: 1,
      maxConnections: 2000,
      hardStopMs: null,
      logTarget: 'stdout format raw local0',
      adminSocketPath,
      metrics: { address: '127.0.0.1', port: await freePort() },
      placeholder: { address: '127.0.0.1', port: await freePort() },
      nameServers: [{ name: 'names', address: '127.0.0.1', port: names.port }],
      nameGate: { address: '127.0.0.1', port: await freePort() },
      resolution: { intervalMs: 500, holdGoneMs: 1_000, holdOutageMs: 3_600_000 },
      timeouts: { connectMs: 5_000, queueMs: 86_400_000, clientMs: 86_400_000, serverMs: 86_400_000 },
      keepalive: { idleSeconds: 60, intervalSeconds: 10, probes: 3 },
      checkIntervalMs: 500,
      gatheringMs: GATHERING_MS,
      entrances: [],
      earlySettingsPath: null,
      pools,
    }),
  );

  const log: LoggedConnection[] = [];
  let child = await startProgram(configuration, adminSocketPath, log);
  const stop = async (): Promise<void> => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  };
  const statistics = async (proxy: string, row: string): Promise<readonly string[]> => {
    const rows = (await ask(adminSocketPath, 'show stat')).split('\n').map((line) => line.split(','));
    return rows.find(([first, second]) => first === proxy && second === row) ?? [];
  };
  return {
    log,
    builderPort: builder.port,
    portOf: (line) => {
      const port = ports.get(line);
      if (port === undefined) throw new Error(`No line is called ${line}`);
      return port;
    },
    setBuilder: (line, isPresent) => {
      if (isPresent) present.add(line);
      else present.delete(line);
      names.set(new Map([...present].map((name) => [host(name), '127.0.0.1'])));
    },
    sessions: async (line) => Number((await statistics(line, 'FRONTEND'))[4]),
    queued: async (line) => Number((await statistics(backendName(line), 'BACKEND'))[2]),
    waitForBuilder: async (line) => {
      const deadline = Date.now() + BUILDER_TIMEOUT_MS;
      while ((await statistics(backendName(line), 'b0'))[17] !== 'UP') {
        if (Date.now() > deadline) throw new Error(`The builder of ${line} does not come up`);
        await sleep(50);
      }
    },
    keyStepMs: async () => {
      const [, major, minor] = /^Version: (\d+)\.(\d+)/m.exec(await ask(adminSocketPath, 'show info')) ?? [];
      return Number(major) * 100 + Number(minor) < 301 ? OLD_KEY_STEP_MS : KEY_STEP_MS;
    },
    ask: (command) => ask(adminSocketPath, command),
    restart: async () => {
      await stop();
      child = await startProgram(configuration, adminSocketPath, log);
    },
    signal: (signal) => {
      child.kill(signal);
    },
    stop: async () => {
      await stop();
      names.close();
      builder.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function startProgram(
  configuration: string,
  adminSocketPath: string,
  log: LoggedConnection[],
): Promise<ChildProcess> {
  const { HAPROXY: program = 'haproxy', SETPRIV: setpriv = 'setpriv' } = process.env;
  // It ends with this process, however that ends.
  const child = spawn(setpriv, ['--pdeathsig', 'KILL', '--', program, '-db', '-f', configuration], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaints = '';
  let unread = '';
  child.stderr.on('data', (chunk) => {
    complaints += chunk;
  });
  child.stdout.on('data', (chunk) => {
    const rows = `${unread}${chunk}`.split('\n');
    unread = rows.pop() ?? '';
    for (const row of rows) if (row.startsWith('{')) log.push(JSON.parse(row));
  });
  const deadline = Date.now() + ADMIN_TIMEOUT_MS;
  for (;;) {
    // The plugs must sit before the first client dials, as they do on any load balancer older than a second.
    const answer = await ask(adminSocketPath, 'show stat').catch(() => '');
    const placeholders = answer.split('\n').filter((row) => row.split(',')[1] === 'placeholder');
    if (placeholders.length > 0 && placeholders.every((row) => row.split(',')[4] === '1')) return child;
    if (child.exitCode !== null || Date.now() > deadline)
      throw new Error(`HAProxy did not start: ${complaints}`);
    await sleep(50);
  }
}

async function ask(adminSocketPath: string, command: string): Promise<string> {
  const socket = net.connect(adminSocketPath);
  socket.setTimeout(ADMIN_TIMEOUT_MS, () => socket.destroy(new Error('HAProxy does not answer')));
  socket.write(`${command}\n`);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer;
}

/** One build that keeps its place in a line, and says nothing while it waits. */
export interface Build {
  readonly name: string;
  /** Leaves the line, or gives the builder back. */
  leave(): void;
}

/** Everybody who joined a line, and the order in which they were served. */
export class Line {
  readonly served: string[] = [];
  readonly #balancer: Balancer;
  readonly #name: string;
  #leaveAfterMs = 20;

  constructor(balancer: Balancer, name: string) {
    this.#balancer = balancer;
    this.#name = name;
  }

  /** Dials with the given bytes. Once served, gives the builder back after a moment, or keeps it until told. */
  dial(name: string, bytes: Buffer, keep = false): Build {
    const socket = net.connect(this.#balancer.portOf(this.#name), '127.0.0.1');
    let isServed = false;
    socket.on('error', () => socket.destroy());
    socket.on('data', () => {
      if (isServed) return;
      isServed = true;
      this.served.push(name);
      if (!keep) setTimeout(() => socket.destroy(), this.#leaveAfterMs);
    });
    if (bytes.length > 0) socket.write(bytes);
    return { name, leave: () => socket.destroy() };
  }

  /** Occupies the line's builder and resolves once it is taken; `leave` starts the serving of the others. */
  async block(): Promise<Build> {
    // On 2.6 the client that waited for a builder to come up is not counted: another could be served beside it.
    await this.#balancer.waitForBuilder(this.#name);
    this.served.length = 0;
    const build = this.dial('blocker', greeting(null), true);
    await this.waitForServed(1, 60_000);
    this.served.length = 0;
    return build;
  }

  async waitForServed(count: number, timeoutMs: number): Promise<readonly string[]> {
    const deadline = Date.now() + timeoutMs;
    while (this.served.length < count && Date.now() < deadline) await sleep(20);
    return this.served;
  }
}

/** The same items in another order, the same for the same seed. */
export function shuffled<Item>(items: readonly Item[], seed: number): Item[] {
  let state = seed;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return items
    .map((item) => ({ item, rank: random() }))
    .sort((one, other) => one.rank - other.rank)
    .map(({ item }) => item);
}
