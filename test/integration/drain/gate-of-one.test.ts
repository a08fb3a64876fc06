/** The generated gate on a real HAProxy in front of a real buildkitd: one build at a time, whoever sends it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { DOORSTEP_MS, renderGate, SLOT_PATH } from '../../../src/pool/haproxy/gate.ts';
import { openingBytes } from '../../../src/queue/preface.ts';
import { type Buildkitd, freePort, startBuildkitd } from '../../support/buildkitd.ts';
import { eventually, makeHeldContext, makeSleepContext, startBuildctl } from '../../support/local-pool.ts';

/** Two load balancers, by the addresses that they come from. */
const OLD = '127.0.0.2';
const NEW = '127.0.0.3';
const WAIT = { timeout: 60_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let folder: string;
let daemon: Buildkitd;
let daemonPort: number;
let witness: Witness;
const closers: Array<() => unknown> = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gate-'));
  daemonPort = await freePort();
  daemon = await startBuildkitd({ root: join(folder, 'root'), address: `tcp://127.0.0.1:${daemonPort}` });
});
beforeEach(async () => {
  witness = await Witness.start(daemonPort);
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(async () => {
  await daemon?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Stands between gate and daemon, and counts who says something: the gate's own checks only knock. */
class Witness {
  readonly port: number;
  /** Builds that have reached the daemon, ever, and at most at the same time. */
  reached = 0;
  most = 0;
  #present = 0;

  private constructor(port: number) {
    this.port = port;
  }

  static async start(daemonPort: number): Promise<Witness> {
    const witness = new Witness(await freePort());
    const server = net.createServer((gate) => {
      const upstream = net.connect({ host: '127.0.0.1', port: daemonPort });
      gate.once('data', () => {
        witness.reached += 1;
        witness.#present += 1;
        witness.most = Math.max(witness.most, witness.#present);
        gate.once('close', () => {
          witness.#present -= 1;
        });
      });
      for (const [one, other] of [
        [gate, upstream],
        [upstream, gate],
      ] as const) {
        one.on('error', () => other.destroy()).once('close', () => other.destroy());
        one.pipe(other);
      }
      closers.push(() => gate.destroy());
    });
    server.listen(witness.port, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => server.close());
    return witness;
  }
}

interface Gate {
  readonly port: number;
  /** What a load balancer that asks from `address` is told: status and text, or `no answer` when it is hung up on. */
  ask(address: string, path?: string): Promise<string>;
}

interface GateOptions {
  readonly backend?: number;
  readonly doorstepMs?: number;
}

async function startGate(
  address: string,
  { backend = witness.port, doorstepMs = DOORSTEP_MS }: GateOptions = {},
): Promise<Gate> {
  const [port, slot] = [await freePort(), await freePort()];
  const path = join(folder, `gate-${port}.cfg`);
  writeFileSync(
    path,
    renderGate({
      builds: { address, port },
      slot: { address, port: slot },
      daemon: { address: '127.0.0.1', port: backend },
      keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
      ...{ clientMs: 3_600_000, serverMs: 3_600_000 },
    }).replace(`timeout queue ${DOORSTEP_MS}ms`, `timeout queue ${doorstepMs}ms`),
  );
  const { HAPROXY: haproxy = 'haproxy' } = process.env;
  const child: ChildProcess = spawn(haproxy, ['-db', '-f', path], { stdio: 'ignore' });
  closers.push(async () => {
    const exited = once(child, 'exit');
    if (child.exitCode === null && child.kill('SIGKILL')) await exited;
  });
  const ask = (localAddress: string, asked = SLOT_PATH) =>
    new Promise<string>((resolve, reject) => {
      const request = http.get(
        { host: '127.0.0.1', port: slot, path: asked, localAddress, agent: false },
        (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => {
            text += chunk.toString();
          });
          response.once('end', () => resolve(`${response.statusCode} ${text}`.trim()));
        },
      );
      request.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ECONNRESET') resolve('no answer');
        else reject(error);
      });
    });
  await eventually('the gate answers', async () => (await ask(OLD).catch(() => '')) !== '');
  return { port, ask };
}

/** A build as a load balancer sends it on. */
interface Caller {
  /** Bytes from the daemon so far: it greets whoever reaches it. */
  heard(): number;
  /** Resolves when the other side has ended the connection. */
  readonly ended: Promise<void>;
  leave(): void;
}

async function call({ port }: Gate, localAddress: string): Promise<Caller> {
  const socket = net.connect({ host: '127.0.0.1', port, localAddress });
  closers.push(() => socket.destroy());
  let heard = 0;
  socket.on('data', (chunk) => {
    heard += chunk.length;
  });
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await once(socket, 'connect');
  socket.on('error', () => socket.destroy());
  socket.write(openingBytes(1));
  return { heard: () => heard, ended, leave: () => socket.destroy() };
}

test('while a build runs, no other reaches the daemon, from whichever load balancer; after it, the next does', async () => {
  const gate = await startGate('127.0.0.1');
  const build = (context: string, id: string) => startBuildctl(`tcp://127.0.0.1:${gate.port}`, context, id);
  const held = makeHeldContext(folder);
  const first = build(held.context, 'gate-first');
  let over = false;
  void first.ended.then(() => {
    over = true;
  });
  await eventually('the first build has the daemon', () => witness.reached === 1);
  for (const address of [OLD, NEW, '127.0.0.1']) {
    const others = await Promise.all([call(gate, address), call(gate, address)]);
    await Promise.all(others.map(({ ended }) => ended));
    expect(others.map(({ heard }) => heard())).toEqual([0, 0]);
  }
  expect(over).toBe(false);
  expect(witness.reached).toBe(1);
  await eventually('its step runs', () => held.running() > 0);
  held.release();
  expect((await first.ended).code).toBe(0);
  expect((await build(makeSleepContext(folder, 0.1), 'gate-next').ended).code).toBe(0);
  expect(witness).toMatchObject({ reached: 2, most: 1 });
});

test('who stands on the doorstep when the build before ends is let in', async () => {
  // However long this machine stands still, the first one ends meanwhile.
  const gate = await startGate('127.0.0.1', { doorstepMs: 60 * DOORSTEP_MS });
  const first = await call(gate, OLD);
  await expect.poll(first.heard, WAIT).toBeGreaterThan(0);
  const second = await call(gate, NEW);
  await sleep(DOORSTEP_MS / 10);
  expect(second.heard()).toBe(0);
  first.leave();
  await expect.poll(second.heard, WAIT).toBeGreaterThan(0);
});

// As pods have it: an IPv4 client looks different at a socket for all addresses.
describe.each(['127.0.0.1', '0.0.0.0', '::'])('bound to %s', (address) => {
  test('it is free for the load balancer whose build it has, and taken for any other', async () => {
    const gate = await startGate(address);
    const answers = async () => Promise.all([gate.ask(OLD), gate.ask(NEW)]);
    await expect.poll(answers, WAIT).toEqual(['200 free', '200 free']);
    const build = await call(gate, OLD);
    await expect.poll(build.heard, WAIT).toBeGreaterThan(0);
    expect(await answers()).toEqual(['200 free', '503 taken']);
    build.leave();
    await expect.poll(answers, WAIT).toEqual(['200 free', '200 free']);
    // The new one has it now.
    const next = await call(gate, NEW);
    await expect.poll(next.heard, WAIT).toBeGreaterThan(0);
    expect(await answers()).toEqual(['503 taken', '200 free']);
    expect(await gate.ask(OLD, '/')).toMatch(/^404/);
  });
});

test('without a daemon it is free for nobody, and taken by nobody', async () => {
  const gate = await startGate('127.0.0.1', { backend: await freePort() });
  await expect.poll(() => gate.ask(OLD), WAIT).toBe('no answer');
  expect(await gate.ask(NEW)).toBe('no answer');
});
