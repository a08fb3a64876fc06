/** Builders that are ended at random moments under builds that never stop coming. */
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { openGateway } from '../../../src/gateway/gateway.ts';
import { waitInLine } from '../../../src/queue/line.ts';
import { placeToken } from '../../../src/queue/token.ts';
import { eventually, makeSleepContext, startBuildctl } from '../../support/local-pool.ts';
import type { LoggedBuild } from '../../support/server-line.ts';
import { type Drained, ENDPOINT_LAG_MS, type Node, type Termination } from './node.ts';

export interface Harvest {
  readonly drains: readonly Drained[];
  /** What each build that failed wrote last. */
  readonly killed: readonly string[];
  readonly built: number;
  /** How often a client that waited had to dial again. */
  readonly sentBack: number;
  /** Builds that were running on the builder when it began to end. */
  readonly running: number;
  /** Builds that were given the builder after it had begun to end, and that it built. */
  readonly arrived: number;
}

export interface MomentsOptions {
  readonly node: Node;
  readonly builders: number;
  readonly moments: number;
  readonly folder: string;
  readonly hook: Termination['hook'];
  /** Whether builders that have ended are started again: a StatefulSet's pod that was deleted, or scaled away. */
  readonly replace: boolean;
  /** All at the same moment, at which most of them have a build. */
  readonly together?: boolean;
  /** Makes the moments; the same seed, the same moments. */
  readonly seed: number;
}

/**
 * Builds for each end of a builder, far below what a busy machine shows (0.9 running, 0.3 arrived): with fewer, too few
 * ends were under a build to say anything.
 */
export const LEAST_RUNNING = 0.4;
export const LEAST_ARRIVED = 0.13;

const TOGETHER_MS = 1_500;
/** For how long the end of a builder may wait for a build to be there. */
const LONGEST_IDLE_MS = 10_000;
/** More builds than builders: there is always one that waits for a builder, an ending one too. */
const WAITING = 2;
/** Seconds that a build sleeps in its one step. */
const LENGTHS = [0.2, 0.6, 1.5] as const;

/** Ends the builders `moments` times in all, each at a moment of its own, and starts them again. All run when it begins. */
export async function endAtRandomMoments(options: MomentsOptions): Promise<Harvest> {
  const { node, builders, moments } = options;
  const random = seeded(options.seed);
  const contexts = LENGTHS.map((seconds) => {
    mkdirSync(options.folder, { recursive: true });
    return makeSleepContext(options.folder, seconds);
  });
  const logged = node.balancer.log.length;
  const drains: Drained[] = [];
  const killed: string[] = [];
  const builds: ClientsBuild[] = [];
  let begun = 0;
  let built = 0;
  let sentBack = 0;
  let over = false;

  const buildOn = async (client: number): Promise<void> => {
    for (let number = 0; !over; number += 1) {
      const context = contexts[Math.floor(random() * contexts.length)] ?? '';
      const own = await build(node, context, `${options.seed}-${client}-${number}`, () => {
        sentBack += 1;
      });
      const { code, log } = own;
      builds.push(own);
      if (code === 0) built += 1;
      else killed.push(`exit code ${code}: ${log.slice(-1_500)}`);
    }
  };
  const untilMostBuild = async (): Promise<void> => {
    await sleep(TOGETHER_MS);
    await eventually('most builders have a build', async () => (await node.busy()) >= (3 / 4) * builders);
  };
  let together: Promise<void> | null = null;
  const endOften = async (ordinal: number): Promise<void> => {
    while (begun < moments) {
      begun += 1;
      const waitsForBuild = begun % 2 === 0;
      await (together ?? sleep(500 + random() * 3_000));
      // On a slow machine builders have none for most of the time.
      if (waitsForBuild && together === null) await node.untilBusy(ordinal, LONGEST_IDLE_MS);
      drains.push(await node.endPod(ordinal, { hook: options.hook, lagMs: random() * ENDPOINT_LAG_MS }));
      if (!options.replace) return;
      await node.startPod(ordinal);
    }
  };

  await node.startPods(builders);
  const clients = Array.from({ length: builders + WAITING }, (_, client) => buildOn(client));
  try {
    if (options.together === true) together = untilMostBuild();
    await Promise.all(Array.from({ length: builders }, (_, ordinal) => endOften(ordinal)));
  } finally {
    over = true;
    await Promise.all(clients);
  }
  const log = () => node.balancer.log.slice(logged);
  const places = new Set(builds.map(({ place }) => place));
  await eventually('all builds are in the log', () =>
    [...places].every((place) => log().some((line) => line.place === place)),
  );
  const found = findBuilders(builds, log());
  // By this process's clock: that of HAProxy before 3.1 loses the time for which a machine stands still.
  const during = ({ ordinal, from, to }: Drained, isCounted: (one: BuiltThere) => boolean): number =>
    found.filter(
      (one) =>
        one.server === `builder-${ordinal}` && isCounted(one) && one.endedAt > from && one.grantedAt < to,
    ).length;
  const sum = (counts: readonly number[]): number => counts.reduce((one, other) => one + other, 0);
  return {
    drains,
    killed,
    built,
    sentBack,
    running: sum(drains.map((drained) => during(drained, ({ grantedAt }) => grantedAt <= drained.from))),
    arrived: sum(drains.map((drained) => during(drained, ({ grantedAt }) => grantedAt > drained.from))),
  };
}

/** Times in ms since the epoch. */
interface ClientsBuild {
  readonly code: number | null;
  readonly log: string;
  /** As the load balancer's log has it. */
  readonly place: string;
  readonly grantedAt: number;
  readonly endedAt: number;
}

interface BuiltThere extends ClientsBuild {
  readonly server: string;
}

/** Who had a place has the last line with it; of those who joined in the same tick, whoever ended last the last one. */
function findBuilders(builds: readonly ClientsBuild[], log: readonly LoggedBuild[]): readonly BuiltThere[] {
  const lines = [...log];
  return builds
    .toSorted((one, other) => other.endedAt - one.endedAt)
    .flatMap((build) => {
      const index = lines.findLastIndex(({ place }) => place === build.place);
      const [line] = index === -1 ? [] : lines.splice(index, 1);
      if (line === undefined) return [];
      return [{ ...build, server: line.server }];
    });
}

/**
 * One build as this project's clients do it: the place is held until the builder is theirs, however long that takes. From
 * then on nothing is tried again: whatever ends the build but itself has killed it.
 */
async function build(node: Node, context: string, id: string, onSentBack: () => void): Promise<ClientsBuild> {
  const { connection, joinedAtMs, grantedAtMs } = await waitInLine({
    endpoint: node.endpoint,
    queueTimeoutMs: PATIENCE_MS,
    signal: new AbortController().signal,
    onStep: ({ kind }) => {
      if (kind === 'failed') onSentBack();
    },
  });
  const gateway = await openGateway({ carry: 'splice', folder: tmpdir() });
  try {
    gateway.attach(connection);
    const ended = await startBuildctl(gateway.address, context, id).ended;
    const place = placeToken(joinedAtMs).toString(16).toUpperCase().padStart(8, '0');
    return { ...ended, place, grantedAt: grantedAtMs, endedAt: Date.now() };
  } finally {
    await gateway.close();
  }
}

const PATIENCE_MS = 600_000;

/** Mulberry32: small, and the same on every machine. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
