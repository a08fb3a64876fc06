import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Gateway, type GatewayOptions, openGateway } from '../../src/gateway/gateway.ts';
import { type Buildkitd, dialBuilder, findProgram, startBuildkitd } from '../support/buildkitd.ts';

const CARRIERS = ['splice', 'multiplex'] as const;

/** However slow this machine is, what is to happen happens within this time. */
const WAIT = { timeout: 60_000 };

let folder: string;
let builder: Buildkitd;
const gateways: Gateway[] = [];
const children: ChildProcess[] = [];
let configs = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gw-'));
  builder = await startBuildkitd({ root: join(folder, 'root') });
  await context('good', 'RUN ["/bin/busybox", "sh", "-c", "echo hello"]');
  await context('slow', 'RUN ["/bin/busybox", "sleep", "60"]');
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGCONT');
    child.kill('SIGKILL');
  }
  for (const gateway of gateways.splice(0)) await gateway.close();
});

afterAll(async () => {
  await builder.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A build context around busybox. `RUN` lines get a fresh argument, so that nothing is cached. */
async function context(name: string, lines: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(path, { recursive: true });
  await copyFile(findProgram('busybox'), join(path, 'busybox'));
  await writeFile(join(path, 'Dockerfile'), `FROM scratch\nCOPY busybox /bin/busybox\n${lines}\n`);
  return path;
}

async function open(options: Partial<GatewayOptions> & Pick<GatewayOptions, 'carry'>): Promise<Gateway> {
  const gateway = await openGateway(options);
  gateways.push(gateway);
  return gateway;
}

async function attached(carry: GatewayOptions['carry'], to = builder) {
  const gateway = await open({ carry });
  return { gateway, attachment: gateway.attach(await dialBuilder(to.address)) };
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
}

/** buildx with a remote builder `it` at this address. */
async function buildx(address: string, ...args: string[]): Promise<Running> {
  const config = join(folder, `buildx${configs++}`);
  await mkdir(join(config, 'instances'), { recursive: true });
  // What `buildx create --driver remote` writes, without the connection it opens.
  const node = {
    Name: 'it0',
    Endpoint: address,
    Platforms: null,
    DriverOpts: null,
    Flags: null,
    Files: null,
  };
  await writeFile(
    join(config, 'instances', 'it'),
    JSON.stringify({ Name: 'it', Driver: 'remote', Nodes: [node], Dynamic: false }),
  );
  const child = spawn(findProgram('buildx'), args, {
    env: { ...process.env, BUILDX_CONFIG: config, BUILDX_BUILDER: 'it' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text: Buffer) => {
      output += text.toString();
    });
  }
  const ended = new Promise<{ code: number | null; output: string }>((resolve) => {
    child.once('close', (code) => resolve({ code, output }));
  });
  return { child, ended };
}

const build = (address: string, name: string, ...args: string[]) =>
  buildx(address, 'build', '--progress=plain', '--no-cache', ...args, join(folder, name));

describe.each(CARRIERS)('one client through %s', (carry) => {
  it('builds', async () => {
    const { gateway } = await attached(carry);
    const { code, output } = await (await build(gateway.address, 'good')).ended;
    expect(output).toContain('hello');
    expect(code).toBe(0);
    expect(gateway.view).toMatchObject({ solve: 'answered-ok', solveStatus: 0, goaway: false });
  });

  it('a client that came first waits until the builder is ours', async () => {
    const gateway = await open({ carry });
    const running = await build(gateway.address, 'good');
    await vi.waitFor(() => expect(gateway.clients).toBe(1), WAIT);
    await sleep(1500);
    expect(running.child.exitCode).toBe(null);
    expect(gateway.view.requests).toBe(0);
    gateway.attach(await dialBuilder(builder.address));
    expect((await running.ended).code).toBe(0);
  });

  it('the message of a failing Dockerfile of 300 kB is the same as directly, and so is the exit code', async () => {
    const comment = Array.from({ length: 3000 }, (_, line) => `# ${line} ${'c'.repeat(95)}`).join('\n');
    await context('large', `${comment}\nRUN ["/bin/busybox", "sh", "-c", "echo to be seen; exit 3"]`);
    const { gateway } = await attached(carry);
    // Without a warning that comes at any time.
    const quietly = ['--output', 'type=cacheonly'];
    const direct = await (await build(builder.address, 'large', ...quietly)).ended;
    const carried = await (await build(gateway.address, 'large', ...quietly)).ended;
    const message = (output: string) =>
      output.slice(output.indexOf('------')).replaceAll(/\b\d+\.\d+\b/g, 'TIME');
    expect(message(carried.output)).toBe(message(direct.output));
    expect(message(carried.output)).toContain('did not complete successfully: exit code: 3');
    expect(message(carried.output)).toContain('>>> RUN');
    expect([carried.code, direct.code]).toEqual([1, 1]);
    expect(gateway.view.solve).toBe('answered-error');
  });

  it('closing gives the builder back at once, ends the client and leaves nothing behind', async () => {
    const { gateway, attachment } = await attached(carry);
    const running = await build(gateway.address, 'slow');
    await vi.waitFor(() => expect(gateway.view.solve).toBe('sent'), WAIT);
    const started = performance.now();
    await Promise.all([gateway.close(), gateway.close()]);
    // The build would last for a minute.
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(await attachment.ended).toMatchObject({ cause: 'closed', solve: 'sent' });
    expect(existsSync(gateway.folder)).toBe(false);
    expect((await running.ended).code).toBe(1);
    const late = await dialBuilder(builder.address);
    expect(() => gateway.attach(late)).toThrow('closed');
  });

  it('a builder that is killed is told with what the build had come to', async () => {
    const doomed = await startBuildkitd({ root: join(folder, `doomed-${carry}`) });
    try {
      const { gateway, attachment } = await attached(carry, doomed);
      const running = await build(gateway.address, 'slow');
      await vi.waitFor(() => expect(gateway.view.solve).toBe('sent'), WAIT);
      doomed.kill('SIGKILL');
      const end = await attachment.ended;
      expect(['fin', 'error']).toContain(end.cause);
      expect(end.solve).toBe('sent');
      expect((await running.ended).code).toBe(1);
    } finally {
      await doomed.stop();
    }
  });

  it('a builder that stops says GOAWAY, which is not the end yet', async () => {
    await context('short', 'RUN ["/bin/busybox", "sleep", "8"]');
    const leaving = await startBuildkitd({ root: join(folder, `leaving-${carry}`) });
    try {
      const { gateway, attachment } = await attached(carry, leaving);
      const running = await build(gateway.address, 'short');
      await vi.waitFor(() => expect(gateway.view.solve).toBe('sent'), WAIT);
      leaving.kill('SIGTERM');
      await vi.waitFor(() => expect(gateway.view.goaway).toBe(true), WAIT);
      const end = await attachment.ended;
      expect(['goaway', 'client-left']).toContain(end.cause);
      // A build in its front-end phase fails then, as it does without a gateway. A client that had begun nothing yet
      // waits for the next builder; what counts is that it ends.
      gateway.attach(await dialBuilder(builder.address));
      await running.ended;
    } finally {
      await leaving.stop();
    }
  });
});

describe('the splice', () => {
  it('is over when its client leaves, and carries a second builder with a second client', async () => {
    const { gateway, attachment } = await attached('splice');
    await (await build(gateway.address, 'good')).ended;
    expect(await attachment.ended).toMatchObject({ cause: 'client-left', solve: 'answered-ok' });
    await vi.waitFor(() => expect(gateway.clients).toBe(0), WAIT);
    gateway.attach(await dialBuilder(builder.address));
    expect(gateway.view.solve).toBe('none');
    expect((await (await build(gateway.address, 'good')).ended).code).toBe(0);
  });

  it('refuses a second client at the same time', async () => {
    const onWarning = vi.fn();
    const gateway = await open({ carry: 'splice', onWarning });
    const path = new URL(gateway.address).pathname;
    const first = connect({ path });
    await vi.waitFor(() => expect(gateway.clients).toBe(1), WAIT);
    const second = connect({ path });
    second.on('error', () => {});
    await new Promise((resolve) => second.once('close', resolve));
    expect(onWarning).toHaveBeenCalledWith(expect.stringContaining('second client'));
    expect(gateway.clients).toBe(1);
    first.destroy();
    await vi.waitFor(() => expect(gateway.clients).toBe(0), WAIT);
  });
});

describe('the multiplexer', () => {
  it('carries several clients at once: builds, inspect, history export', async () => {
    const { gateway } = await attached('multiplex');
    const large = await context('upload', 'COPY data /data');
    await writeFile(join(large, 'data'), randomBytes(20_000_000));
    const tar = ['--output', `type=tar,dest=${join(folder, 'out.tar')}`];
    const clients = await Promise.all([
      build(gateway.address, 'good'),
      build(gateway.address, 'upload', ...tar),
      build(gateway.address, 'upload'),
      build(gateway.address, 'good'),
      buildx(gateway.address, 'inspect', '--bootstrap'),
      buildx(gateway.address, 'du'),
    ]);
    const ended = await Promise.all(clients.map((client) => client.ended));
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0, 0]);
    expect((await stat(join(folder, 'out.tar'))).size).toBeGreaterThan(20_000_000);
    const record = join(folder, 'record.dockerbuild');
    const exported = await (await buildx(gateway.address, 'history', 'export', '--all', '-o', record)).ended;
    expect(exported).toMatchObject({ code: 0 });
    // The gateway may see a client's leaving after its end.
    await vi.waitFor(() => expect(gateway.view.openStreams).toBe(0), WAIT);
    expect(gateway.view).toMatchObject({ solve: 'answered-ok', goaway: false });
  });

  it('a killed client is cancelled at the builder, which the next one uses', async () => {
    const { gateway } = await attached('multiplex');
    const running = await build(gateway.address, 'slow');
    await vi.waitFor(() => expect(gateway.view.solve).toBe('sent'), WAIT);
    running.child.kill('SIGKILL');
    await vi.waitFor(() => expect(gateway.view.openStreams).toBe(0), WAIT);
    expect((await (await build(gateway.address, 'good')).ended).code).toBe(0);
  });

  it('a frozen client does not stop another', async () => {
    const { gateway } = await attached('multiplex');
    const large = await context('download', 'COPY data /data');
    await writeFile(join(large, 'data'), randomBytes(60_000_000));
    const frozen = await build(gateway.address, 'download', '--output', 'type=tar,dest=-');
    const { stdout } = frozen.child;
    // Nobody reads the rest meanwhile: it can't have ended by the time it is stopped.
    await new Promise<void>((resolve) => {
      let size = 0;
      const count = (chunk: Buffer) => {
        size += chunk.length;
        if (size < 5_000_000) return;
        stdout?.off('data', count).pause();
        resolve();
      };
      stdout?.on('data', count).once('end', resolve);
    });
    frozen.child.kill('SIGSTOP');
    expect((await (await build(gateway.address, 'good')).ended).code).toBe(0);
    expect(frozen.child.exitCode).toBe(null);
    frozen.child.kill('SIGCONT');
    stdout?.resume();
    expect((await frozen.ended).code).toBe(0);
  });

  it('clients outlive a builder: the next one takes their new requests', async () => {
    const doomed = await startBuildkitd({ root: join(folder, 'doomed') });
    const { gateway, attachment } = await attached('multiplex', doomed);
    const running = await build(gateway.address, 'slow');
    await vi.waitFor(() => expect(gateway.view.solve).toBe('sent'), WAIT);
    doomed.kill('SIGKILL');
    await attachment.ended;
    const { code, output } = await running.ended;
    expect(code).toBe(1);
    expect(output).toContain('the connection to the builder was lost');
    await doomed.stop();
    const next = await build(gateway.address, 'good');
    await sleep(500);
    gateway.attach(await dialBuilder(builder.address));
    expect((await next.ended).code).toBe(0);
  });
});

describe('the folder', () => {
  it('is private, and a path too long for a socket is refused with the remedy', async () => {
    const gateway = await open({ carry: 'splice', folder });
    expect((await stat(gateway.folder)).mode & 0o777).toBe(0o700);
    const long = join(folder, 'x'.repeat(80));
    await expect(openGateway({ carry: 'splice', folder: long })).rejects.toThrow(/107.*shorter folder/);
  });
});
