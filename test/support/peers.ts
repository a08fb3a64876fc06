/**
 * The calls of buildx that docker/build-push-action 7 and docker/bake-action 7 make, in their order (read in their
 * sources and in @docker/actions-toolkit, 2026). What they decide by an inspect is decided here as they do.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Job, StepEnd } from './job.ts';

export interface Built {
  /** As the first inspect showed the builder. */
  readonly inspect: string;
  /** `builder/node/id` of the build's record. */
  readonly ref: string;
  /** The `--attest` arguments that the Action added by itself. */
  readonly asked: readonly string[];
  /** What is attested in the image's index: types of predicates. */
  readonly attestations: readonly string[];
}

const DEBUG = { DEBUG: '1' };

/** main of docker/setup-buildx-action with `driver: remote` and the address of a set-up step. */
export async function setUpBuildx(job: Job, name: string, endpoint: string): Promise<string> {
  expect((await job.buildx('inspect', name)).code).toBe(1);
  await ok(job.buildx('create', '--name', name, '--driver', 'remote', '--use', endpoint));
  await ok(job.buildx('inspect', '--bootstrap', '--builder', name));
  return (await ok(job.step(['inspect', name], DEBUG).ended)).log;
}

/** Its post. */
export async function removeBuildx(job: Job, name: string): Promise<void> {
  await ok(job.buildx('inspect', name));
  await ok(job.buildx('rm', name));
}

/** main of docker/build-push-action with its build summary on. */
export async function buildAndPush(job: Job, context: string): Promise<Built> {
  const folder = mkdtempSync(join(job.action.temp, 'docker-actions-toolkit-'));
  const metadataFile = join(folder, 'metadata');
  const output = join(folder, 'image.tar');
  try {
    await ok(job.step(['version']).ended);
    const inspect = (await ok(job.step(['inspect'], DEBUG).ended)).log;
    const asked = await defaultAttestations(job);
    await ok(
      job.step([
        'build',
        ...['--iidfile', join(folder, 'iid'), ...asked, '--metadata-file', metadataFile],
        ...['--output', `type=oci,dest=${output}`, '--progress=plain', '--no-cache', context],
      ]).ended,
    );
    const metadata = JSON.parse(readFileSync(metadataFile, 'utf8')) as Record<string, unknown>;
    return {
      inspect,
      asked,
      ref: String(metadata['buildx.build.ref']),
      attestations: attestationsIn(readFileSync(output, 'latin1')),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** main of docker/bake-action, with a file of two targets. Gives the refs. */
export async function bakeTargets(job: Job, context: string): Promise<readonly string[]> {
  const folder = mkdtempSync(join(job.action.temp, 'docker-actions-toolkit-'));
  const file = join(folder, 'docker-bake.json');
  const target = { context, 'no-cache': true };
  writeFileSync(
    file,
    JSON.stringify({ group: { default: { targets: ['a', 'b'] } }, target: { a: target, b: target } }),
  );
  const bake = ['bake', '--allow', 'fs=*', '--file', file];
  try {
    await ok(job.step(['version']).ended);
    await ok(job.step(['inspect'], DEBUG).ended);
    await ok(job.step([...bake, '--print']).ended);
    const [, attest = ''] = await defaultAttestations(job);
    const all = [...bake, '--metadata-file', join(folder, 'metadata')];
    for (const name of ['a', 'b']) all.push('--set', `${name}.attest=${attest}`);
    await ok(job.step([...all, '--print']).ended);
    await ok(job.step([...all, '--progress=plain']).ended);
    const metadata = JSON.parse(readFileSync(join(folder, 'metadata'), 'utf8')) as Record<
      string,
      Record<string, unknown>
    >;
    return ['a', 'b'].map((name) => String(metadata[name]?.['buildx.build.ref']));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** post of both: the record of a build. Ends with the first call that fails. */
export async function exportRecord(job: Job, ref: string): Promise<StepEnd> {
  const [builder = '', , id = ''] = ref.split('/');
  const inspected = await job.buildx('history', 'inspect', '--format', 'json', '--builder', builder, id);
  if (inspected.code !== 0) return inspected;
  const file = join(job.action.temp, 'record.dockerbuild');
  return await job.buildx('history', 'export', '--builder', builder, '--output', file, id, '--finalize');
}

/** The provenance that is added unless BuildKit is older than 0.11 or its version can't be seen. */
async function defaultAttestations(job: Job): Promise<readonly string[]> {
  const { log } = await ok(job.step(['inspect'], DEBUG).ended);
  const version = /BuildKit version: +v(\d+)\.(\d+)\./.exec(log);
  if (version === null || (Number(version[1]) === 0 && Number(version[2]) < 11)) return [];
  return ['--attest', 'type=provenance,mode=max,builder-id=https://github.com/a/b/actions/runs/1/attempts/1'];
}

/** The types of predicates that an OCI archive names in its attestation manifests. */
function attestationsIn(archive: string): readonly string[] {
  return [...archive.matchAll(/"in-toto\.io\/predicate-type": ?"([^"]+)"/g)].map((match) => match[1] ?? '');
}

async function ok(ended: Promise<StepEnd>): Promise<StepEnd> {
  const end = await ended;
  expect(end.code, end.log).toBe(0);
  return end;
}
