/** From the start of a program on builders that are ours to what became of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Gateway } from '../gateway/gateway.ts';
import type { PoolEnd } from '../gateway/pool-end.ts';
import { delayMs } from '../queue/backoff.ts';
import { describeCheck } from './check-result.ts';
import type { Child, ChildEnd } from './child.ts';
import { describeLoss, isLoss } from './loss.ts';
import type { Held, Places } from './places.ts';
import type { SessionPlan } from './plan.ts';
import type { Story } from './story.ts';
import { combineSolves, judge, type SolveState, type Verdict } from './verdict.ts';
import type { BakeWork, BuildWork } from './work.ts';

export interface Watched {
  readonly verdict: Verdict;
  readonly exitCode: number | undefined;
  readonly reason: string;
}

/** A builder that was ours for so long was no builder that keeps crashing. */
const LASTING_MS = 10_000;
/** How often a script without a builder is looked at for a client that wants one. */
const CLIENT_LOOK_MS = 100;
/** How long buildx may finish by itself once its answer has come and the builder is gone. */
const FINISH_MS = 10_000;

/** buildx on spliced connections: whichever ends first, the program or a connection, tells the story. */
export async function watchBuild(
  work: BuildWork | BakeWork,
  held: readonly Held[],
  child: Child,
): Promise<Watched> {
  const loss = await Promise.race([child.ended.then(() => undefined), lossBeforeTheEnd(held, child)]);
  if (loss !== undefined) await finishing(loss, held, child);
  // What the others answer once buildx is made to end says nothing about the build.
  const solves = loss === undefined ? undefined : solvesOf(held);
  if (loss !== undefined) await child.terminate();
  const end = await child.ended;
  const verdict = judge({
    exitCode: end.code,
    lost: loss !== undefined,
    goaway: held.some(({ gateway }) => gateway.view.goaway),
    solve: combineSolves(solves ?? solvesOf(held)),
  });
  const found = verdict === 'failed' ? describeCheck(work, end.head) : undefined;
  const told = found === undefined ? end : { ...end, tail: found };
  return { verdict, exitCode: end.code ?? undefined, reason: reasonFor(verdict, told, loss) };
}

function solvesOf(held: readonly Held[]): readonly SolveState[] {
  return held.map(({ gateway }) => gateway.view.solve);
}

/** The first loss of any builder; undefined when the program ended on all of them. */
async function lossBeforeTheEnd(held: readonly Held[], child: Child): Promise<PoolEnd | undefined> {
  return await Promise.race(
    held.map(async ({ attachment, gateway }) => {
      const end = await Promise.race([attachment.ended, leavesBeforeBuild(gateway)]);
      if (isLoss(end)) return end;
      await child.ended;
      return undefined;
    }),
  );
}

/**
 * Resolves when there is no more to hope for. Nothing can be built without a builder; only a build that has been
 * answered may still have something to say, and with several builders, the others go on and may yet succeed.
 */
async function finishing(loss: PoolEnd, held: readonly Held[], child: Child): Promise<void> {
  if (loss.solve === 'none' || loss.solve === 'sent') return;
  if (loss.solve === 'answered-ok' && !(await othersAnswered(held, child))) return;
  const finished = new AbortController();
  await Promise.race([child.ended, pause(FINISH_MS, finished.signal)]);
  finished.abort();
}

/** True once every builder has answered or the program has ended; false when one is lost that has not answered. */
function othersAnswered(held: readonly Held[], child: Child): Promise<boolean> {
  return new Promise((resolve) => {
    const look = () => {
      const states = solvesOf(held);
      if (states.every((state) => state === 'answered-ok' || state === 'answered-error')) resolve(true);
    };
    void child.ended.then(() => resolve(true));
    for (const { gateway, attachment } of held) {
      gateway.view.onChange(look);
      void attachment.ended.then((end) => {
        if (isLoss(end) && (end.solve === 'none' || end.solve === 'sent')) resolve(false);
      });
    }
    look();
  });
}

export interface ScriptWorld {
  readonly plan: SessionPlan;
  readonly story: Story;
  readonly places: Places;
  readonly gateways: readonly Gateway[];
  readonly signal: AbortSignal;
  readonly onLost: (reason: string) => void;
}

/**
 * A script on multiplexed connections: it outlives its builders. When one is lost, the next takes its place while the
 * script's clients wait; a build that was under way fails, and only the script knows what that means.
 */
export async function watchScript(world: ScriptWorld, child: Child): Promise<Watched> {
  const { plan, story, places, gateways } = world;
  const over = new AbortController();
  const signal = AbortSignal.any([world.signal, over.signal]);
  let lossOfBuild: PoolEnd | undefined;
  let failure: unknown;
  const replace = async () => {
    for (let lostInARow = 1; ; lostInARow++) {
      const loss = await Promise.race([places.firstLoss(), aborted(signal)]);
      if (loss === undefined) return;
      const hadBuild = story.heldMs() > LASTING_MS || loss.end.solve !== 'none';
      story.released();
      // Those after it are taken after it: keeping them would be waiting in the wrong order.
      const ends = await places.giveBackFrom(loss.index);
      lossOfBuild = [loss.end, ...ends].find((end) => end.buildOpen) ?? lossOfBuild;
      world.onLost(`the builder was lost (${describeLoss(loss.end)})`);
      if (hadBuild) {
        lostInARow = 0;
        story.searchAnew();
      } else {
        await pause(delayMs(plan.backoff, lostInARow, Math.random()), signal);
      }
      // A script that has no further use for a builder needs no other one, and one that comes back searches anew.
      if (gateways.every(({ clients }) => clients === 0)) story.searchAnew();
      if (!(await hasClient(gateways, signal))) return;
      await places.takeAll(signal);
    }
  };
  const replacing = replace().catch(async (error: unknown) => {
    if (signal.aborted) return;
    failure = error;
    await child.terminate();
  });
  const end = await child.ended;
  over.abort();
  await replacing;
  if (failure !== undefined && end.code !== 0) throw failure;
  // A script that failed for its own reasons has no lost builder to blame.
  const lost = lossOfBuild !== undefined;
  const verdict = judge({ exitCode: end.code, lost, goaway: false, solve: lost ? 'sent' : 'none' });
  // What the script left running must not work beside its next run.
  if (verdict === 'builder-lost') await child.terminate();
  return { verdict, exitCode: end.code ?? undefined, reason: reasonFor(verdict, end, lossOfBuild) };
}

/** Resolves when the builder says GOAWAY and no build has begun: buildx would try for 40 s what can't succeed any more. */
function leavesBeforeBuild(gateway: Gateway): Promise<PoolEnd> {
  return new Promise((resolve) => {
    const look = () => {
      if (gateway.view.goaway && gateway.view.solve === 'none')
        resolve({ cause: 'goaway', solve: 'none', buildOpen: false });
    };
    gateway.view.onChange(look);
    look();
  });
}

/** Resolves with true once a client of the script's is connected, with false when the signal comes first. */
async function hasClient(gateways: readonly Gateway[], signal: AbortSignal): Promise<boolean> {
  while (gateways.every(({ clients }) => clients === 0) && !signal.aborted)
    await pause(CLIENT_LOOK_MS, signal);
  return !signal.aborted;
}

function reasonFor(verdict: Verdict, end: ChildEnd, loss: PoolEnd | undefined): string {
  switch (verdict) {
    case 'succeeded':
      return 'done';
    case 'failed':
      return describeFailedEnd(end);
    case 'dial-again':
      return `the builder went away before the build began (${describeLoss(loss)})`;
    case 'builder-lost':
      return `the builder was lost during the build (${describeLoss(loss)})`;
  }
}

/** How a program ended that did not succeed, with the last that it said. */
export function describeFailedEnd(end: ChildEnd): string {
  const how = end.signal === null ? `with exit code ${end.code}` : `by ${end.signal}`;
  const message = lastLine(end.tail);
  return message === '' ? `ended ${how}` : `ended ${how}: ${message}`;
}

/** The last line that says something, found from the end: logs have lines of any length. */
function lastLine(text: string): string {
  const line = text.trimEnd().split('\n').at(-1)?.trim() ?? '';
  return line.length <= 500 ? line : `${line.slice(0, 497)}...`;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}
