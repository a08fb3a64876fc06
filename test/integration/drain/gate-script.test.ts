/** How the gate's container ends: a real HAProxy under the shells of both kinds of its image. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ANY_ADDRESS, renderGateScript } from '../../../src/pool/builder/gate.ts';
import { renderGate } from '../../../src/pool/haproxy/gate.ts';
import { freePort } from '../../support/buildkitd.ts';
import { BUSYBOX, shellcheck } from './scripts.ts';

const WAIT = { timeout: 60_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let folder: string;
const closers: Array<() => unknown> = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gate-'));
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  rmSync(folder, { recursive: true, force: true });
});

/** A daemon that repeats what it hears. */
async function startDaemon(): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function startGate(shell: readonly string[], procFolder = '/proc') {
  const daemon = await startDaemon();
  const [port, slot] = [await freePort(), await freePort()];
  const configPath = join(folder, 'gate.cfg');
  const address = procFolder === '/proc' ? '127.0.0.1' : ANY_ADDRESS;
  writeFileSync(
    configPath,
    renderGate({
      builds: { address, port },
      slot: { address, port: slot },
      daemon: { address: '127.0.0.1', port: daemon },
      keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
      clientMs: 3_600_000,
      serverMs: 3_600_000,
    }),
  );
  const script = join(folder, 'gate.sh');
  const { HAPROXY: haproxy = 'haproxy' } = process.env;
  writeFileSync(script, renderGateScript({ configPath, haproxy, procFolder }));
  const [program = '', ...args] = shell;
  const child = spawn(program, [...args, script], { stdio: 'ignore', detached: true });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  closers.push(async () => {
    // The whole group, so that no gate outlives a failed test.
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    await exited;
  });
  // All ports open together; at this one nobody takes the place of a build.
  await expect.poll(() => knock(slot), WAIT).toBe('let in');
  return { port, child, exited };
}

interface Talk {
  /** Resolves with what came back. */
  say(text: string): Promise<string>;
  leave(): void;
}

/** Rejects when refused. */
async function talk(port: number, host = '127.0.0.1'): Promise<Talk> {
  const socket = net.connect({ port, host });
  closers.push(() => socket.destroy());
  await once(socket, 'connect');
  socket.on('error', () => socket.destroy());
  return {
    say: async (text) => {
      socket.write(text);
      const [answer] = await once(socket, 'data', { signal: AbortSignal.timeout(WAIT.timeout) });
      return String(answer);
    },
    leave: () => {
      socket.destroy();
    },
  };
}

/** Comes and goes: one who stays at the door is let in when the build before has gone. */
async function knock(port: number): Promise<'let in' | 'refused'> {
  try {
    (await talk(port)).leave();
    return 'let in';
  } catch {
    return 'refused';
  }
}

test('the script is one that shellcheck has nothing to say about', () => {
  const script = renderGateScript({ configPath: "/it's", haproxy: 'haproxy', procFolder: '/proc' });
  expect(shellcheck(join(folder, 'gate.sh'), script)).toBe('');
});

const SHELLS = [[BUSYBOX, 'sh'], ['/bin/sh']] as const;
const SIGNALS = ['SIGTERM', 'SIGUSR1'] as const;

test.each(SHELLS.flatMap((shell) => SIGNALS.map((signal) => [shell.join(' '), signal, shell] as const)))(
  '%s, %s: the build goes on, no other is let in, and the gate ends with the build',
  async (_, signal, shell) => {
    const { port, child, exited } = await startGate(shell);
    const build = await talk(port);
    expect(await build.say('one')).toBe('one');
    child.kill(signal);
    await expect.poll(() => knock(port), WAIT).toBe('refused');
    // Asked again, by whoever ends the container after its hook.
    child.kill('SIGTERM');
    await sleep(300);
    expect(await build.say('two')).toBe('two');
    expect(child.exitCode).toBe(null);
    build.leave();
    expect(await exited).toBe(0);
  },
);

test('it takes builds on every address of the pod, with IPv6 and without', async () => {
  const daemonAnswers = async (procFolder: string, host: string): Promise<string> => {
    const { port, child, exited } = await startGate([BUSYBOX, 'sh'], procFolder);
    const build = await talk(port, host);
    const answer = await build.say('hello');
    build.leave();
    child.kill('SIGTERM');
    await exited;
    return answer;
  };
  const withIpv6 = join(folder, 'ipv6');
  mkdirSync(join(withIpv6, 'net'), { recursive: true });
  writeFileSync(join(withIpv6, 'net', 'if_inet6'), '');
  expect(await daemonAnswers(withIpv6, '127.0.0.1')).toBe('hello');
  expect(await daemonAnswers(withIpv6, '::1')).toBe('hello');
  expect(await daemonAnswers(join(folder, 'without'), '127.0.0.1')).toBe('hello');
});
