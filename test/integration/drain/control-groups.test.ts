/**
 * Where the processes of a build are in the node's control groups: what makes a pod's limits and accounting apply to
 * them. The real entrypoint of BuildKit's image, the real buildkitd and runc, in a container that shares the control
 * group namespace of its node, as privileged containers of Kubernetes do.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeCgroups } from '../../../src/local/cgroups.ts';
import { readOnlyChild } from '../../../src/local/process.ts';
import { renderBuildkitd } from '../../../src/pool/builder/buildkitd.ts';
import { CGROUP_ENTRYPOINT, renderStart } from '../../../src/pool/builder/start.ts';
import { freePort } from '../../support/buildkitd.ts';
import { eventually, makeSleepContext, startBuildctl } from '../../support/local-pool.ts';
import { BUSYBOX } from './scripts.ts';

const go = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/go/bin', '/usr/lib/go/bin']
  .map((path) => join(path, 'go'))
  .find((path) => existsSync(path));
/** Where this machine has the hierarchy of version 2, alone or beside the older ones. */
const hierarchy = readFileSync('/proc/mounts', 'utf8')
  .split('\n')
  .map((line) => line.split(' '))
  .find(([, , type]) => type === 'cgroup2')?.[1];
const { SETPRIV: setpriv = 'setpriv', UNSHARE: unshare = 'unshare', RUNC: runc = 'runc' } = process.env;

/** As a kubelet names them, below the node's root. */
const CONTAINER = '/kubepods/burstable/pod1/container1';
/** Of the one step of the build; nobody else on this machine sleeps as long. */
const SECONDS = (7_001 + (process.pid % 999)) / 1000;

let folder: string;
let container: Container | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cgroups-'));
});
afterEach(async () => {
  await container?.kill();
  container = null;
  await removeCgroups(basename(folder));
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

/** A node of one container, which has the programs of BuildKit's image in its /usr/bin. */
class Container {
  readonly socket = join(folder, 'buildkitd.sock');
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #log = '';

  constructor(files: { readonly bin: string; readonly script: string }) {
    const node = join(folder, 'node.sh');
    // The namespace of the node is one of its own, so that nothing here can touch the machine's other processes.
    writeFileSync(
      node,
      `set -e
umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup${CONTAINER}
echo $$ > /sys/fs/cgroup${CONTAINER}/cgroup.procs
mount -t overlay overlay -o 'lowerdir=${files.bin}:/usr/bin' /usr/bin
exec ${BUSYBOX} sh ${files.script}
`,
    );
    const group = join(hierarchy ?? '', basename(folder));
    this.#child = spawn(
      setpriv,
      [
        ...['--pdeathsig', 'KILL', '--', '/bin/sh', '-c'],
        `mkdir ${group} && echo $$ > ${group}/cgroup.procs && exec "$@"`,
        ...['sh', unshare, '--cgroup', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'],
        ...['--', '/bin/sh', node],
      ],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        // As the image sets it: buildkitd arranges the control groups below what it takes for the root of them.
        env: { PATH: process.env['PATH'], HOME: folder, BUILDKIT_SETUP_CGROUPV2_ROOT: '1' },
      },
    );
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString();
    });
    this.#exited = new Promise((resolve) => this.#child.once('close', () => resolve()));
  }

  get log(): string {
    return this.#log;
  }

  /** Its first process, by the machine's own number for it. */
  get firstProcess(): number {
    const pid = readOnlyChild(this.#child.pid ?? -1);
    if (pid === null) throw new Error(`the container has ended:\n${this.#log}`);
    return pid;
  }

  /** Asks its first process to end, and waits for that. */
  async end(): Promise<void> {
    process.kill(this.firstProcess, 'SIGTERM');
    await this.#exited;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

async function startContainer(image: 'with entrypoint' | 'without'): Promise<Container> {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const { BUILDKITD: buildkitd = '' } = process.env;
  copyFileSync(buildkitd, join(bin, 'buildkitd'));
  if (image === 'with entrypoint') {
    const source = execFileSync(go ?? 'go', ['list', '-m', '-f', '{{.Dir}}', 'github.com/moby/buildkit'], {
      cwd: 'tools/buildkit',
    }).toString();
    for (const name of [CGROUP_ENTRYPOINT, 'with-cgroupfs-remount']) {
      copyFileSync(join(source.trim(), 'hack', name), join(bin, name));
      chmodSync(join(bin, name), 0o755);
    }
  }
  const config = join(folder, 'buildkitd.toml');
  const script = join(folder, 'start.sh');
  writeFileSync(
    config,
    renderBuildkitd({
      socketPath: join(folder, 'buildkitd.sock'),
      ...{
        address: '127.0.0.1',
        port: await freePort(),
        tls: null,
        profile: 'privileged',
        mirrors: {},
        maxParallelism: 4,
      },
      cache: { reservedBytes: 1e8, maxUsedBytes: 1e9, minFreeBytes: 1e8 },
      history: { maxAgeSeconds: 3600, maxEntries: 10 },
    }),
  );
  writeFileSync(
    script,
    renderStart({
      cacheFolder: join(folder, 'cache'),
      slots: 1,
      daemon: [
        ...['buildkitd', '--config', config, '--otel-socket-path', join(folder, 'otel.sock')],
        ...['--oci-worker-net=host', '--oci-worker-binary', runc],
      ],
      entrypoint: CGROUP_ENTRYPOINT,
    }),
  );
  container = new Container({ bin, script });
  const { log, socket } = container;
  await eventually(`buildkitd listens: ${log}`, () => existsSync(socket), 120_000);
  return container;
}

/** Where a process is, as the node sees it: below the control group that is the node's root here. */
function groupOf(pid: number): string {
  const line = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    .split('\n')
    .find((one) => one.startsWith('0::'));
  return (line ?? '').slice(`0::/${basename(folder)}`.length);
}

/** The step of the build that runs. */
function findStep(): number | undefined {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8') === `/bin/busybox\0sleep\0${SECONDS}\0`;
      } catch {
        return false;
      }
    });
}

/** The group of a build's one step, and what became of the build. */
async function build({
  socket,
}: Container): Promise<{ readonly step: string; readonly code: number | null }> {
  const running = startBuildctl(`unix://${socket}`, makeSleepContext(folder, SECONDS), basename(folder));
  await eventually('the step runs', () => findStep() !== undefined, 120_000);
  const step = groupOf(findStep() ?? -1);
  const { code } = await running.ended;
  return { step, code };
}

const possible = go !== undefined && hierarchy !== undefined;

test.skipIf(!possible)(
  "a build's processes are in the container's control group, where the limits of its pod apply",
  async () => {
    const started = await startContainer('with entrypoint');
    const { step, code } = await build(started);
    expect(code).toBe(0);
    expect(step).toMatch(new RegExp(`^${CONTAINER}/buildkit/[^/]+$`));
    const first = started.firstProcess;
    expect(groupOf(first)).toBe(`${CONTAINER}/init`);
    // The entrypoint has become buildkitd: it is who gets the signals, and it holds the slot.
    expect(readFileSync(`/proc/${first}/comm`, 'utf8')).toBe('buildkitd\n');
    expect(readlinkSync(`/proc/${first}/fd/9`)).toBe(join(folder, 'cache', 'slot-0.lock'));
    expect(started.log).not.toContain('limits');
    await started.end();
  },
  400_000,
);

test.skipIf(!possible)(
  'without the entrypoint they leave the container for the root of the node, and the log says so',
  async () => {
    const started = await startContainer('without');
    const { step, code } = await build(started);
    expect(code).toBe(0);
    expect(step).toMatch(/^\/buildkit\/[^/]+$/);
    expect(groupOf(started.firstProcess)).toBe('/init');
    expect(started.log.match(/^start: this image has no .*$/gm)).toEqual([
      'start: this image has no buildkitd-entrypoint: limits of this pod may not apply to its builds',
    ]);
  },
  400_000,
);
