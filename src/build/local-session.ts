/** The work, done by this machine's own engine because the pool could not be had. */
import { basename, join, resolve } from 'node:path';
import { BakeProblem } from './bake-definition.ts';
import { BakeFiles } from './bake-reading.ts';
import { describeCheck } from './check-result.ts';
import { Child, type ChildEnd } from './child.ts';
import { buildxEnvironment, scriptEnvironment } from './child-environment.ts';
import { NO_IMAGE, readImage } from './image-result.ts';
import {
  type LocalBuilder,
  type LocalBuilderTrace,
  NoLocalBuilder,
  startLocalBuilder,
} from './local-builder.ts';
import type { SessionWorld } from './session.ts';
import type { SessionResult } from './story.ts';
import { describeFailedEnd } from './watching.ts';
import type { SessionWork } from './work.ts';
import { workCommand } from './work-command.ts';

export interface LocalWorld extends SessionWorld {
  /** Told before the builder is made. */
  readonly onBuilder: (trace: LocalBuilderTrace) => void;
  readonly onWarning: (message: string) => void;
}

/** `refusal` is what the pool came to; its wait and its course are part of the result. */
export async function runLocally(
  work: SessionWork,
  world: LocalWorld,
  refusal: SessionResult,
): Promise<SessionResult> {
  const name = `pool-local-${basename(world.folder).replace(/^.*-/, '').toLowerCase()}`;
  const buildxConfig = join(world.folder, 'buildx');
  const variables = { BUILDX_CONFIG: buildxConfig, BUILDX_BUILDER: name };
  const env = { ...buildxEnvironment(world.env), ...variables };
  let builder: LocalBuilder | undefined;
  const startedAtMs = Date.now();
  const finish = (
    outcome: SessionResult['outcome'],
    rest: Pick<SessionResult, 'exitCode' | 'reason'> & Partial<Pick<SessionResult, 'image'>>,
  ): SessionResult => {
    const nowMs = Date.now();
    const what = outcome === 'failed' ? `failed with exit code ${rest.exitCode}` : (rest.reason ?? outcome);
    return {
      ...refusal,
      image: NO_IMAGE,
      ...rest,
      outcome,
      local: true,
      buildMs: nowMs - startedAtMs,
      timeline: [
        ...refusal.timeline,
        { phase: 'building', at: new Date(startedAtMs).toISOString(), reason: 'on this machine' },
        { phase: 'done', at: new Date(nowMs).toISOString(), reason: what },
      ],
    };
  };
  try {
    const buildx = await world.buildx;
    await buildx.accept();
    world.onBuilder({ command: buildx.command, prefix: buildx.prefix, name, buildxConfig });
    builder = await startLocalBuilder(buildx, name, env, world.signal, (pid) =>
      world.onStep({ kind: 'started', pid }),
    );
    const files = { imageId: join(world.folder, 'iid'), metadata: join(world.folder, 'metadata.json') };
    let child: Child;
    if (work.kind === 'run') {
      const shell = ['--noprofile', '--norc', '-eo', 'pipefail', '-c', work.script];
      const scriptEnv = { ...scriptEnvironment(world.env), ...variables };
      child = await Child.start('bash', shell, { env: scriptEnv, cwd: world.cwd, keepTail: false });
    } else {
      const bakeFiles = new BakeFiles(work, world.cwd);
      await bakeFiles.readHere(Promise.resolve(buildx), env, world.signal);
      await bakeFiles.readThrough(name, buildx, env, world.signal);
      const command = workCommand(work, {
        builder: name,
        files,
        definition: bakeFiles.definition,
        version: work.kind === 'bake' ? await buildx.version() : undefined,
      });
      child = await Child.start(buildx.command, [...buildx.prefix, ...command.args], {
        env: { ...env, ...command.env },
        cwd: resolve(world.cwd, command.folder ?? '.'),
        keepTail: true,
        keepHead: work.call !== undefined,
      });
    }
    world.onStep({ kind: 'started', pid: child.pid });
    const end = await endOf(child, world.signal);
    if (world.signal.aborted) return finish('cancelled', { exitCode: undefined, reason: 'cancelled' });
    if (end.code !== 0) {
      return finish('failed', {
        exitCode: end.code ?? undefined,
        reason: describeFailedEnd({
          ...end,
          tail: (work.kind === 'run' ? undefined : describeCheck(work, end.head)) ?? end.tail,
        }),
      });
    }
    const image = work.kind === 'run' ? NO_IMAGE : await readImage(files);
    return finish('succeeded', { exitCode: 0, reason: undefined, image });
  } catch (error) {
    if (world.signal.aborted) return finish('cancelled', { exitCode: undefined, reason: 'cancelled' });
    if (error instanceof NoLocalBuilder || isBuildxProblem(error))
      return { ...refusal, reason: `${refusal.reason}; and ${error.message}` };
    if (error instanceof BakeProblem) return finish('failed', { exitCode: undefined, reason: error.message });
    throw error;
  } finally {
    const trouble = await builder?.remove();
    if (trouble !== undefined) world.onWarning(trouble);
  }
}

/** By its name: this module is a bundle of its own, and the class in it another one than main's. */
function isBuildxProblem(error: unknown): error is Error {
  return error instanceof Error && error.name === 'BuildxProblem';
}

async function endOf(child: Child, signal: AbortSignal): Promise<ChildEnd> {
  const end = () => void child.terminate();
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  try {
    const ended = await child.ended;
    // What a cancelled script has started must be gone before its builder is.
    if (signal.aborted) await child.terminate();
    return ended;
  } finally {
    signal.removeEventListener('abort', end);
  }
}
