import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Attachment, type Gateway, openGateway } from '../gateway/gateway.ts';
import type { PoolEnd } from '../gateway/pool-end.ts';
import { DIAL_BACKOFF, delayMs } from '../queue/backoff.ts';
import { LineFailure } from '../queue/failure.ts';
import { type Grant, type LineStep, waitInLine } from '../queue/line.ts';
import type { Attempt, Outcome } from '../report/report.ts';
import { buildArguments } from './arguments.ts';
import { type Buildx, writeBuilder } from './buildx.ts';
import { Child, type ChildEnd } from './child.ts';
import type { Plan } from './plan.ts';
import { judge, type Verdict } from './verdict.ts';

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
  | LineStep
  | { readonly kind: 'granted'; readonly atMs: number; readonly waitedMs: number }
  | { readonly kind: 'started'; readonly pid: number }
  | { readonly kind: 'lost'; readonly atMs: number; readonly verdict: Verdict; readonly reason: string };

export interface SessionResult {
  readonly outcome: Outcome;
  /** Of buildx or of the script; undefined when it never ran to its end. */
  readonly exitCode: number | undefined;
  /** Why it was no success, for a person. */
  readonly reason: string | undefined;
  readonly joinedAtMs: number;
  readonly grantedAtMs: number | undefined;
  readonly releasedAtMs: number | undefined;
  readonly queueMs: number;
  readonly buildMs: number;
  /** How many builders the work was run on. */
  readonly runs: number;
  readonly timeline: readonly Attempt[];
  readonly image: ImageResult;
}

/** What buildx wrote about the image; empty where there is nothing to tell. */
export interface ImageResult {
  readonly imageId: string;
  readonly digest: string;
  readonly metadata: string;
}

const MAX_STEPS = 1_000;
const NO_IMAGE: ImageResult = { imageId: '', digest: '', metadata: '' };
/** A builder that was ours for so long was no builder that keeps crashing. */
const LASTING_MS = 10_000;
/** How often a script without a builder is looked at for a client that wants one. */
const CLIENT_LOOK_MS = 100;
/** When a step has lasted so long, waiting or building, buildx's version is asked for beside it. */
const VERSION_AFTER_MS = 500;
/** How long buildx may finish by itself once its answer has come and the builder is gone. */
const FINISH_MS = 10_000;

/** Waits for a builder, works on it, and goes to another one as often as the plan allows when it is lost. */
export async function runSession(plan: Plan, world: SessionWorld): Promise<SessionResult> {
  const story = new Story();
  let retriesLeft = plan.lostBuilderRetries;
  let lostInARow = 0;
  const over = new AbortController();
  const refused = refuseOldBuildx(world, over.signal);
  try {
    for (;;) {
      const end = await runOnce(plan, world, story, refused);
      if (world.signal.aborted) throw cancelled();
      switch (end.verdict) {
        case 'succeeded':
          return story.finish('succeeded', end.exitCode, undefined, end.image);
        case 'failed':
          return story.finish('failed', end.exitCode, end.reason, NO_IMAGE);
        case 'dial-again':
          lostInARow += 1;
          break;
        case 'builder-lost':
          if (retriesLeft === 0) return story.finish('builder-lost', end.exitCode, end.reason, NO_IMAGE);
          retriesLeft -= 1;
          lostInARow = 0;
          story.searchAnew();
      }
      world.onStep({ kind: 'lost', atMs: Date.now(), verdict: end.verdict, reason: end.reason });
      if (lostInARow > 1) await pause(delayMs(DIAL_BACKOFF, lostInARow, Math.random()), world.signal);
    }
  } catch (error) {
    if (world.signal.aborted) return story.finish('cancelled', undefined, 'cancelled', NO_IMAGE);
    if (error instanceof LineFailure) {
      const outcome = error.code === 'queue-timeout' ? 'queue-timeout' : 'unreachable';
      return story.finish(outcome, undefined, error.message, NO_IMAGE);
    }
    throw error;
  } finally {
    over.abort();
  }
}

interface RunEnd {
  readonly verdict: Verdict;
  readonly exitCode: number | undefined;
  readonly reason: string;
  readonly image: ImageResult;
}

/** One builder, from waiting for it to giving it back. */
async function runOnce(
  plan: Plan,
  world: SessionWorld,
  story: Story,
  refused: Promise<never>,
): Promise<RunEnd> {
  const builder = `pool-${story.nextNumber()}`;
  const { grant, buildx, gateway } = await joinAndPrepare(plan, world, story, builder, refused);
  let child: Child | undefined;
  const giveBack = () => {
    // The pool connection goes first, so that the builder is free at once; the child has nobody to talk to then.
    gateway.close().catch(() => {});
    story.released();
    void child?.terminate();
  };
  world.signal.addEventListener('abort', giveBack, { once: true });
  try {
    const attachment = gateway.attach(grant.connection);
    const files = { imageId: join(world.folder, 'iid'), metadata: join(world.folder, 'metadata.json') };
    const env = {
      ...withoutInputs(world.env),
      BUILDX_CONFIG: buildxConfig(world),
      BUILDX_BUILDER: builder,
    };
    if (plan.work.kind === 'build') {
      const args = [...buildx.prefix, ...buildArguments(plan.work, builder, files)];
      child = await Child.start(buildx.command, args, { env, cwd: world.cwd, keepTail: true });
    } else if (plan.work.kind === 'setup') {
      throw new Error('a set-up step has no session of its own');
    } else {
      const shell = ['--noprofile', '--norc', '-eo', 'pipefail', '-c', plan.work.script];
      child = await Child.start('bash', shell, { env: withoutTokens(env), cwd: world.cwd, keepTail: false });
    }
    world.onStep({ kind: 'started', pid: child.pid });
    if (world.signal.aborted) giveBack();

    const watching =
      plan.work.kind === 'build'
        ? watchBuild(gateway, attachment, child)
        : watchScript(plan, world, story, gateway, attachment, child);
    watching.catch(() => {});
    const watched = await Promise.race([watching, refused]);
    // A build that failed at once may have had an old buildx to blame; one that succeeded has shown that it can.
    if (watched.verdict !== 'succeeded') await buildx.accept();
    if (world.signal.aborted) await child.terminate();
    gateway.close().catch(() => {});
    story.released();
    const image =
      watched.verdict === 'succeeded' && plan.work.kind === 'build' ? await readImage(files) : NO_IMAGE;
    return { ...watched, image };
  } catch (error) {
    giveBack();
    await child?.terminate();
    throw error;
  } finally {
    world.signal.removeEventListener('abort', giveBack);
    await gateway.close();
  }
}

function buildxConfig(world: SessionWorld): string {
  return join(world.folder, 'buildx');
}

/** Joins the line and makes everything ready meanwhile; whichever fails first ends the rest. */
async function joinAndPrepare(
  plan: Plan,
  world: SessionWorld,
  story: Story,
  builder: string,
  refused: Promise<never>,
) {
  const ended = new AbortController();
  const waiting = wait(plan, world, story, AbortSignal.any([world.signal, ended.signal]));
  const opening = openBuilder(plan, world, builder);
  try {
    const ready = Promise.all([waiting, opening, world.buildx]);
    const [grant, gateway, buildx] = await Promise.race([ready, refused]);
    return { grant, gateway, buildx };
  } catch (error) {
    ended.abort();
    const [grant, gateway] = await Promise.allSettled([waiting, opening]);
    if (grant.status === 'fulfilled') grant.value.connection.socket.destroy();
    if (gateway.status === 'fulfilled') await gateway.value.close();
    throw error;
  }
}

/** The gateway, and a builder of buildx's that leads to it. */
async function openBuilder(plan: Plan, world: SessionWorld, builder: string): Promise<Gateway> {
  const carry = plan.work.kind === 'build' ? 'splice' : 'multiplex';
  const gateway = await openGateway({ folder: world.folder, carry });
  try {
    await writeBuilder(buildxConfig(world), builder, gateway.address);
    return gateway;
  } catch (error) {
    await gateway.close();
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

async function wait(plan: Plan, world: SessionWorld, story: Story, signal: AbortSignal): Promise<Grant> {
  const startedAtMs = Date.now();
  story.waits(startedAtMs, plan.queueTimeoutMs);
  const grant = await waitInLine({
    endpoint: plan.endpoint,
    joinedAtMs: story.joinedAtMs,
    queueTimeoutMs: plan.queueTimeoutMs,
    deadlineAtMs: story.deadlineAtMs,
    signal,
    onStep: (step) => {
      story.step(step);
      world.onStep(step);
    },
  });
  // From here on giving up must free the builder whatever else is going on.
  const free = () => grant.connection.socket.destroy();
  signal.addEventListener('abort', free, { once: true });
  if (signal.aborted) free();
  const waitedMs = grant.grantedAtMs - Math.max(startedAtMs, grant.joinedAtMs);
  story.granted(grant, waitedMs);
  world.onStep({ kind: 'granted', atMs: grant.grantedAtMs, waitedMs });
  return grant;
}

/** buildx on a spliced connection: whichever ends first, the program or the connection, tells the story. */
async function watchBuild(
  gateway: Gateway,
  attachment: Attachment,
  child: Child,
): Promise<Omit<RunEnd, 'image'>> {
  let loss: PoolEnd | undefined;
  const lost = Promise.race([attachment.ended, leavesBeforeBuild(gateway)]).then((end) => {
    if (!isLoss(end)) return child.ended;
    loss = end;
    return undefined;
  });
  await Promise.race([child.ended, lost]);
  if (loss !== undefined) {
    // Nothing can be built without a builder; only a build that has been answered may still have something to say.
    if (loss.solve === 'answered-ok' || loss.solve === 'answered-error') {
      const finished = new AbortController();
      await Promise.race([child.ended, pause(FINISH_MS, finished.signal)]);
      finished.abort();
    }
    await child.terminate();
  }
  const end = await child.ended;
  const { goaway, solve } = gateway.view;
  const verdict = judge({ exitCode: end.code, lost: loss !== undefined, goaway, solve });
  return { verdict, exitCode: end.code ?? undefined, reason: reasonFor(verdict, end, loss) };
}

/**
 * A script on a multiplexed connection: it outlives its builder. When one is lost, the next takes its place while the
 * script's clients wait; a build that was under way fails, and only the script knows what that means.
 */
async function watchScript(
  plan: Plan,
  world: SessionWorld,
  story: Story,
  gateway: Gateway,
  first: Attachment,
  child: Child,
): Promise<Omit<RunEnd, 'image'>> {
  const over = new AbortController();
  const signal = AbortSignal.any([world.signal, over.signal]);
  let lossOfBuild: PoolEnd | undefined;
  let failure: unknown;
  const replace = async () => {
    let attachment = first;
    for (let lostInARow = 1; ; lostInARow++) {
      const end = await Promise.race([attachment.ended, aborted(over.signal)]);
      if (end === undefined || !isLoss(end)) return;
      const hadBuild = story.heldMs() > LASTING_MS || end.solve !== 'none';
      story.released();
      if (end.buildOpen) lossOfBuild = end;
      const reason = `the builder was lost (${describeLoss(end)})`;
      world.onStep({ kind: 'lost', atMs: Date.now(), verdict: 'dial-again', reason });
      if (hadBuild) {
        lostInARow = 0;
        story.searchAnew();
      } else {
        await pause(delayMs(DIAL_BACKOFF, lostInARow, Math.random()), signal);
      }
      // A script that has no further use for a builder needs no other one.
      if (!(await hasClient(gateway, signal))) return;
      const grant = await wait(plan, world, story, signal);
      attachment = gateway.attach(grant.connection);
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
async function hasClient(gateway: Gateway, signal: AbortSignal): Promise<boolean> {
  while (gateway.clients === 0 && !signal.aborted) await pause(CLIENT_LOOK_MS, signal);
  return !signal.aborted;
}

function isLoss(end: PoolEnd): boolean {
  switch (end.cause) {
    case 'fin':
    case 'error':
    case 'goaway':
      return true;
    case 'client-left':
    case 'closed':
      return false;
  }
}

function describeLoss(loss: PoolEnd | undefined): string {
  if (loss === undefined || loss.cause === 'goaway') return 'it was told to stop';
  return loss.error?.message ?? 'it closed the connection';
}

function reasonFor(verdict: Verdict, end: ChildEnd, loss: PoolEnd | undefined): string {
  switch (verdict) {
    case 'succeeded':
      return 'done';
    case 'failed': {
      const how = end.signal === null ? `with exit code ${end.code}` : `by ${end.signal}`;
      const message = lastLine(end.tail);
      return message === '' ? `ended ${how}` : `ended ${how}: ${message}`;
    }
    case 'dial-again':
      return `the builder went away before the build began (${describeLoss(loss)})`;
    case 'builder-lost':
      return `the builder was lost during the build (${describeLoss(loss)})`;
  }
}

/** The last line that says something, found from the end: logs have lines of any length. */
function lastLine(text: string): string {
  const line = text.trimEnd().split('\n').at(-1)?.trim() ?? '';
  return line.length <= 500 ? line : `${line.slice(0, 497)}...`;
}

async function readImage(files: { imageId: string; metadata: string }): Promise<ImageResult> {
  const [imageId, metadata] = await Promise.all([readOptional(files.imageId), readOptional(files.metadata)]);
  return { imageId: imageId.trim(), digest: readDigest(metadata), metadata: metadata.trim() };
}

function readDigest(metadata: string): string {
  if (metadata === '') return '';
  const digest: unknown = (JSON.parse(metadata) as Record<string, unknown>)['containerimage.digest'];
  return typeof digest === 'string' ? digest : '';
}

async function readOptional(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** The Action's own inputs are nobody's business further down. */
function withoutInputs(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(INPUT|STATE)_/.test(name)));
}

/** buildx needs the cache's token (`type=gha`); a script does not get it unasked, as in any `run:` step. */
function withoutTokens(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('ACTIONS_')));
}

function cancelled(): LineFailure {
  return new LineFailure('cancelled', 'cancelled');
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

/** The course of a session, written down as it happens. */
class Story {
  readonly timeline: Attempt[] = [];
  joinedAtMs: number | undefined;
  #startedAtMs = Date.now();
  #grantedAtMs: number | undefined;
  #releasedAtMs: number | undefined;
  #waitedMs = 0;
  #waitingSinceMs: number | undefined;
  #number = 0;
  /** When the search for a builder ends: one that is lost before its build began does not move it. */
  deadlineAtMs: number | undefined;

  nextNumber(): number {
    this.#number += 1;
    return this.#number;
  }

  waits(atMs: number, queueTimeoutMs: number): void {
    this.deadlineAtMs ??= atMs + queueTimeoutMs;
    this.#waitingSinceMs = atMs;
  }

  /** The builder was lost after it had been of use: the next search has all its time again. */
  searchAnew(): void {
    this.deadlineAtMs = undefined;
  }

  heldMs(): number {
    return this.#grantedAtMs === undefined ? 0 : Date.now() - this.#grantedAtMs;
  }

  step(step: LineStep): void {
    switch (step.kind) {
      case 'dialling':
        this.#add('dialling', step.atMs, '');
        return;
      case 'queued':
        this.#add('queued', step.atMs, step.again ? 'back at its own place' : 'joined the line');
        this.joinedAtMs ??= step.atMs;
        return;
      case 'failed':
        this.#add('dialling', step.atMs, `${step.failure.code}: ${step.failure.message}`);
        this.joinedAtMs ??= step.atMs;
    }
  }

  granted(grant: Grant, waitedMs: number): void {
    this.joinedAtMs = grant.joinedAtMs;
    this.#grantedAtMs = grant.grantedAtMs;
    this.#releasedAtMs = undefined;
    this.#waitedMs += waitedMs;
    this.#waitingSinceMs = undefined;
    this.#add('building', grant.grantedAtMs, `builder granted after ${waitedMs} ms`);
  }

  released(): void {
    this.#releasedAtMs ??= Date.now();
  }

  finish(
    outcome: Outcome,
    exitCode: number | undefined,
    reason: string | undefined,
    image: ImageResult,
  ): SessionResult {
    const nowMs = Date.now();
    const granted = this.#grantedAtMs;
    if (granted !== undefined) this.#releasedAtMs ??= nowMs;
    // The last line of a log may say what a masked log would not: it is no part of the report.
    this.#add(
      'done',
      nowMs,
      outcome === 'failed' ? `failed with exit code ${exitCode}` : (reason ?? outcome),
    );
    const joinedAtMs = this.joinedAtMs ?? this.#startedAtMs;
    if (this.#waitingSinceMs !== undefined) this.#waitedMs += nowMs - this.#waitingSinceMs;
    return {
      outcome,
      exitCode,
      reason,
      joinedAtMs,
      grantedAtMs: granted,
      releasedAtMs: this.#releasedAtMs,
      queueMs: this.#waitedMs,
      buildMs: granted === undefined || this.#releasedAtMs === undefined ? 0 : this.#releasedAtMs - granted,
      runs: this.timeline.filter((attempt) => attempt.phase === 'building').length,
      timeline: this.timeline,
      image,
    };
  }

  #add(phase: Attempt['phase'], atMs: number, reason: string): void {
    // Two hours of refusals must not fill the report: the first and the last steps tell the story.
    if (this.timeline.length >= MAX_STEPS) this.timeline.splice(MAX_STEPS / 2, 1);
    this.timeline.push({ phase, at: new Date(atMs).toISOString(), reason });
  }
}
