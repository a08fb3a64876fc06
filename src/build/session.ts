import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Gateway, openGateway } from '../gateway/gateway.ts';
import { delayMs } from '../queue/backoff.ts';
import { LineFailure } from '../queue/failure.ts';
import { BakeProblem } from './bake-definition.ts';
import { BakeFiles } from './bake-reading.ts';
import { type Buildx, writeBuilder } from './buildx.ts';
import { Child } from './child.ts';
import { buildxEnvironment, scriptEnvironment } from './child-environment.ts';
import { type ImageResult, NO_IMAGE, readImage } from './image-result.ts';
import { describeLoss } from './loss.ts';
import { type PlaceStep, Places } from './places.ts';
import type { SessionPlan } from './plan.ts';
import { type SessionResult, Story } from './story.ts';
import type { Verdict } from './verdict.ts';
import { type Watched, watchBuild, watchScript } from './watching.ts';
import { needsSeveralClients, workCommand } from './work-command.ts';

export interface SessionWorld {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Private, 0700, ours alone; emptied by the caller. */
  readonly folder: string;
  readonly buildx: Promise<Buildx>;
  /** Gives everything back at once. */
  readonly signal: AbortSignal;
  readonly onStep: (step: SessionStep) => void;
}

/** What a person or a later clean-up wants to know while it happens. */
export type SessionStep =
  | PlaceStep
  | { readonly kind: 'started'; readonly pid: number }
  | { readonly kind: 'lost'; readonly atMs: number; readonly verdict: Verdict; readonly reason: string };

/** When a step has lasted so long, waiting or building, buildx's version is asked for beside it. */
const VERSION_AFTER_MS = 500;

/**
 * Waits for the builders, works on them, and goes to others as often as the plan allows when one is lost. The outcomes
 * `queue-timeout` and `unreachable` mean that the pool could not be had; where nothing was `tried` either, whoever wants
 * to build elsewhere starts from there.
 */
export async function runSession(plan: SessionPlan, world: SessionWorld): Promise<SessionResult> {
  const story = new Story(plan.nodes);
  let retriesLeft = plan.lostBuilderRetries;
  let lostInARow = 0;
  const over = new AbortController();
  const refused = refuseOldBuildx(world, over.signal);
  const bakeFiles = new BakeFiles(plan.work, world.cwd);
  try {
    for (;;) {
      const end = await runOnce(plan, world, story, bakeFiles, refused);
      if (world.signal.aborted) throw cancelled();
      switch (end.verdict) {
        case 'succeeded':
          return story.finish('succeeded', end.exitCode, undefined, end.image);
        case 'failed':
          return story.finish('failed', end.exitCode, end.reason);
        case 'dial-again':
          lostInARow += 1;
          break;
        case 'builder-lost':
          story.tried = true;
          if (retriesLeft === 0) return story.finish('builder-lost', end.exitCode, end.reason);
          retriesLeft -= 1;
          lostInARow = 0;
          story.searchAnew();
      }
      world.onStep({ kind: 'lost', atMs: Date.now(), verdict: end.verdict, reason: end.reason });
      if (lostInARow > 1) {
        const pauseMs = delayMs(plan.backoff, lostInARow, Math.random());
        await sleep(pauseMs, undefined, { signal: world.signal }).catch(() => {});
      }
    }
  } catch (error) {
    if (world.signal.aborted) return story.finish('cancelled', undefined, 'cancelled');
    if (error instanceof LineFailure) {
      const outcome = error.code === 'queue-timeout' ? 'queue-timeout' : 'unreachable';
      return story.finish(outcome, undefined, error.message);
    }
    if (error instanceof BakeProblem) return story.finish('failed', undefined, error.message);
    throw error;
  } finally {
    over.abort();
  }
}

interface RunEnd extends Watched {
  readonly image: ImageResult;
}

/** One set of builders, from waiting for it to giving it back. */
async function runOnce(
  plan: SessionPlan,
  world: SessionWorld,
  story: Story,
  bakeFiles: BakeFiles,
  refused: Promise<never>,
): Promise<RunEnd> {
  const builder = `pool-${story.nextNumber()}`;
  const { places, buildx, gateways } = await joinAndPrepare(plan, world, story, bakeFiles, builder, refused);
  let child: Child | undefined;
  const close = () => Promise.all(gateways.map((gateway) => gateway.close()));
  const giveBack = () => {
    // The pool connections go first, so that the builders are free at once; the child has nobody to talk to then.
    close().catch(() => {});
    story.released();
    void child?.terminate();
  };
  world.signal.addEventListener('abort', giveBack, { once: true });
  const over = new AbortController();
  try {
    const files = { imageId: join(world.folder, 'iid'), metadata: join(world.folder, 'metadata.json') };
    if (plan.work.kind === 'run') {
      const shell = ['--noprofile', '--norc', '-eo', 'pipefail', '-c', plan.work.script];
      const env = { ...scriptEnvironment(world.env), ...builderVariables(world, builder) };
      story.tried = true;
      child = await Child.start('bash', shell, { env, cwd: world.cwd, keepTail: false });
    } else {
      const env = { ...buildxEnvironment(world.env), ...builderVariables(world, builder) };
      const reading = bakeFiles.readThrough(
        builder,
        buildx,
        env,
        AbortSignal.any([world.signal, over.signal]),
      );
      const loss = await Promise.race([reading, places.firstLoss()]);
      if (loss !== undefined) {
        const reason = `the builder went away before the build began (${describeLoss(loss.end)})`;
        story.released();
        return { verdict: 'dial-again', exitCode: undefined, reason, image: NO_IMAGE };
      }
      const command = workCommand(plan.work, {
        builder,
        files,
        definition: bakeFiles.definition,
        version: plan.work.kind === 'bake' ? await buildx.version() : undefined,
      });
      child = await Child.start(buildx.command, [...buildx.prefix, ...command.args], {
        env: { ...env, ...command.env },
        cwd: resolve(world.cwd, command.folder ?? '.'),
        keepTail: true,
        keepHead: plan.work.call !== undefined,
      });
    }
    world.onStep({ kind: 'started', pid: child.pid });
    if (world.signal.aborted) giveBack();

    const onLost = (reason: string) =>
      world.onStep({ kind: 'lost', atMs: Date.now(), verdict: 'dial-again', reason });
    const watching =
      plan.work.kind === 'run'
        ? watchScript({ plan, story, places, gateways, signal: world.signal, onLost }, child)
        : watchBuild(plan.work, places.held, child);
    watching.catch(() => {});
    const watched = await Promise.race([watching, refused]);
    // A build that failed at once may have had an old buildx to blame; one that succeeded has shown that it can.
    if (watched.verdict !== 'succeeded') await buildx.accept();
    if (world.signal.aborted) await child.terminate();
    close().catch(() => {});
    story.released();
    const image =
      watched.verdict === 'succeeded' && plan.work.kind !== 'run' ? await readImage(files) : NO_IMAGE;
    return { ...watched, image };
  } catch (error) {
    giveBack();
    await child?.terminate();
    throw error;
  } finally {
    over.abort();
    world.signal.removeEventListener('abort', giveBack);
    await close();
  }
}

/** How buildx and scripts find their builder. */
function builderVariables(world: SessionWorld, builder: string): NodeJS.ProcessEnv {
  return { BUILDX_CONFIG: buildxConfig(world), BUILDX_BUILDER: builder };
}

function buildxConfig(world: SessionWorld): string {
  return join(world.folder, 'buildx');
}

/** Joins the lines and makes everything ready meanwhile; whichever fails first ends the rest. */
async function joinAndPrepare(
  plan: SessionPlan,
  world: SessionWorld,
  story: Story,
  bakeFiles: BakeFiles,
  builder: string,
  refused: Promise<never>,
) {
  const ended = new AbortController();
  const opening = openBuilder(plan, world, builder);
  // Awaited below, and by the places once one of them is ours.
  opening.catch(() => {});
  const places = new Places(plan, { gateways: opening, story, onStep: world.onStep });
  const signal = AbortSignal.any([world.signal, ended.signal]);
  const waiting = places.takeAll(signal);
  const env = { ...buildxEnvironment(world.env), ...builderVariables(world, builder) };
  const reading = bakeFiles.readHere(world.buildx, env, signal);
  try {
    const ready = Promise.all([waiting, opening, world.buildx, reading]);
    const [, gateways, buildx] = await Promise.race([ready, refused]);
    return { places, gateways, buildx };
  } catch (error) {
    ended.abort();
    const [, gateways] = await Promise.allSettled([waiting, opening, reading]);
    await places.giveBackFrom(0);
    if (gateways.status === 'fulfilled') await Promise.all(gateways.value.map((gateway) => gateway.close()));
    throw error;
  }
}

/** A gateway for each of the builders, and a builder of buildx's whose nodes lead to them. */
async function openBuilder(
  plan: SessionPlan,
  world: SessionWorld,
  builder: string,
): Promise<readonly Gateway[]> {
  const carry = needsSeveralClients(plan.work) ? 'multiplex' : 'splice';
  const gateways: Gateway[] = [];
  try {
    for (const _ of plan.nodes) gateways.push(await openGateway({ folder: world.folder, carry }));
    const nodes = plan.nodes.map(({ platforms }, index) => ({
      address: gateways[index]?.address ?? '',
      // A single node takes whatever is asked for, as its builder can.
      platforms: plan.nodes.length === 1 ? [] : platforms,
    }));
    await writeBuilder(buildxConfig(world), builder, nodes);
    return gateways;
  } catch (error) {
    await Promise.all(gateways.map((gateway) => gateway.close()));
    throw error;
  }
}

/**
 * Rejects when buildx is too old, unless the signal comes before anybody has asked it. Never resolves.
 * An old one deadlocks, so what is over sooner than this has shown that it can build.
 */
function refuseOldBuildx(world: SessionWorld, signal: AbortSignal): Promise<never> {
  const refused = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => {
      world.buildx.then((buildx) => buildx.accept()).catch(reject);
    }, VERSION_AFTER_MS);
    timer.unref();
    signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  });
  refused.catch(() => {});
  return refused;
}

function cancelled(): LineFailure {
  return new LineFailure('cancelled', 'cancelled');
}
