/** The order of places, with lines that give their builders when the test says so. */
import { createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { Arch } from '../../../src/build/architecture.ts';
import { type PlaceStep, Places } from '../../../src/build/places.ts';
import type { PlannedNode, SessionPlan } from '../../../src/build/plan.ts';
import { Story } from '../../../src/build/story.ts';
import { type Gateway, openGateway } from '../../../src/gateway/gateway.ts';
import { eventually } from '../../support/local-pool.ts';

interface Visit {
  readonly arch: Arch;
  /** The place, as the load balancer reads it. */
  readonly token: number;
  readonly socket: Socket;
  /** Who held a builder when this one came, itself not counted. */
  readonly heldThen: readonly Arch[];
  granted: boolean;
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const visits: Visit[] = [];
const open = (visit: Visit) => !visit.socket.destroyed;

/** A line that writes down who comes and keeps them. */
async function line(arch: Arch): Promise<PlannedNode> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (greeting: Buffer) => {
      const heldThen = visits.filter((visit) => open(visit) && visit.granted).map((visit) => visit.arch);
      visits.push({ arch, token: greeting.readUInt32BE(35), socket, heldThen, granted: false });
    });
    socket.on('end', () => socket.destroy());
    cleanups.push(() => socket.destroy());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  cleanups.push(() => server.close());
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    arch,
    endpoint: { host: '127.0.0.1', port, url: `tcp://127.0.0.1:${port}` },
    platforms: [],
    builds: [],
    tls: undefined,
    proxies: undefined,
    maxBuilders: undefined,
  };
}

/** The line's latest visitor, once there are so many in all. */
async function visitor(arch: Arch, count: number): Promise<Visit> {
  await eventually(
    `${count} visits to ${arch}`,
    () => visits.filter((visit) => visit.arch === arch).length === count,
  );
  const visit = visits.findLast((candidate) => candidate.arch === arch);
  if (visit === undefined) throw new Error('nobody came');
  return visit;
}

function grant(visit: Visit): void {
  visit.granted = true;
  // SETTINGS, and the acknowledgement of ours.
  visit.socket.write(Buffer.from('000000040000000000000000040100000000', 'hex'));
}

async function plannedPlaces(archs: readonly Arch[]) {
  visits.splice(0);
  const nodes = await Promise.all(archs.map(line));
  const plan: SessionPlan = {
    nodes,
    queueTimeoutMs: 120_000,
    connectTimeoutMs: 30_000,
    backoff: { baseMs: 1, capMs: 2 },
    lostBuilderRetries: 0,
    metrics: undefined,
    fallback: 'none',
    buildxVersion: undefined,
    warnings: [],
    work: { kind: 'run', script: '', platforms: [] },
  };
  const gateways: Gateway[] = [];
  for (const _ of nodes) gateways.push(await openGateway({ carry: 'splice' }));
  cleanups.push(() => Promise.all(gateways.map((gateway) => gateway.close())));
  const story = new Story(nodes);
  const steps: PlaceStep[] = [];
  const places = new Places(plan, {
    gateways: Promise.resolve(gateways),
    story,
    onStep: (step) => steps.push(step),
  });
  return { places, story, steps };
}

test('one after another, each held, all at the place of the first', async () => {
  const { places, story, steps } = await plannedPlaces(['amd64', 'arm64', 's390x']);
  const taking = places.takeAll(new AbortController().signal);
  for (const arch of ['amd64', 'arm64', 's390x'] as const) {
    const visit = await visitor(arch, 1);
    // Longer than a tick of the place token: later lines are joined later, at the same place.
    await new Promise((done) => setTimeout(done, 300));
    grant(visit);
  }
  await taking;
  expect(visits.map(({ arch, heldThen }) => [arch, heldThen])).toEqual([
    ['amd64', []],
    ['arm64', ['amd64']],
    ['s390x', ['amd64', 'arm64']],
  ]);
  expect(new Set(visits.map(({ token }) => token)).size).toBe(1);
  expect(steps.filter(({ kind }) => kind === 'queued').map((step) => 'again' in step && step.again)).toEqual([
    false,
    false,
    false,
  ]);
  const result = story.finish('succeeded', 0, undefined);
  expect(result.runs).toBe(1);
  expect(result.nodes.map(({ queueMs }) => queueMs >= 290)).toEqual([true, true, true]);
  expect(result.queueMs).toBe(result.nodes.reduce((sum, { queueMs }) => sum + queueMs, 0));
});

test('a loss gives back those after it before it is waited for again, and no place is lost', async () => {
  const { places, steps } = await plannedPlaces(['amd64', 'arm64', 's390x']);
  const taking = places.takeAll(new AbortController().signal);
  const first = await visitor('amd64', 1);
  grant(first);
  const second = await visitor('arm64', 1);
  grant(second);
  const third = await visitor('s390x', 1);
  first.socket.destroy();
  const again = await visitor('amd64', 2);
  // Nothing is held while an earlier one is waited for: that is what keeps two builds from waiting for each other.
  expect(again.heldThen).toEqual([]);
  await eventually('the others were given back', () => !open(second) && !open(third));
  grant(again);
  grant(await visitor('arm64', 2));
  grant(await visitor('s390x', 2));
  await taking;
  expect(places.held.map(({ node }) => node.arch)).toEqual(['amd64', 'arm64', 's390x']);
  expect(new Set(visits.map(({ token }) => token)).size).toBe(1);
  expect(steps.filter(({ kind }) => kind === 'lost')).toHaveLength(1);
});

test('a later loss leaves the earlier ones as they are', async () => {
  const { places } = await plannedPlaces(['amd64', 'arm64', 's390x']);
  const taking = places.takeAll(new AbortController().signal);
  grant(await visitor('amd64', 1));
  const second = await visitor('arm64', 1);
  grant(second);
  await visitor('s390x', 1);
  second.socket.destroy();
  const again = await visitor('arm64', 2);
  expect(again.heldThen).toEqual(['amd64']);
  grant(again);
  grant(await visitor('s390x', 2));
  await taking;
  expect(visits.filter(({ arch }) => arch === 'amd64')).toHaveLength(1);
});

test('giving up while waiting rejects, and leaves what is held to its owner to give back', async () => {
  const { places } = await plannedPlaces(['amd64', 'arm64']);
  const enough = new AbortController();
  const taking = places.takeAll(enough.signal);
  taking.catch(() => {});
  const first = await visitor('amd64', 1);
  grant(first);
  const second = await visitor('arm64', 1);
  enough.abort();
  await expect(taking).rejects.toMatchObject({ code: 'cancelled' });
  await places.giveBackFrom(0);
  await eventually('all are given back', () => !open(first) && !open(second));
});
