import {
  type BakeDefinition,
  BakeProblem,
  goesToEngine,
  targetsWithoutProvenance,
} from './bake-definition.ts';
import { isOlder } from './buildx-version.ts';
import { each, flag, optional } from './flags.ts';
import type { BakeWork } from './work.ts';
import type { CommandPlace, WorkCommand } from './work-command.ts';

/** `docker buildx bake`, in docker/bake-action's order. @throws BakeProblem */
export function bakeCommand(work: BakeWork, place: CommandPlace): WorkCommand {
  const args = [
    'bake',
    ...(work.source.kind === 'remote' ? [work.source.url] : []),
    ...each('--allow', allowances(work, place.version)),
    ...optional('--call', work.call),
    ...each('--file', work.files),
    ...each('--set', work.set),
    ...variables(work, place.version),
    ...['--metadata-file', place.files.metadata],
    ...optional('--provenance', work.provenance),
    ...each('--set', provenanceOverrides(work, place.definition)),
    ...optional('--sbom', work.sbom),
    ...flag('--no-cache', work.noCache),
    ...['--builder', place.builder],
    ...flag('--pull', work.pull),
    ...flag('--load', work.load),
    ...flag('--push', work.push),
    ...work.targets,
  ];
  return inItsFolder(work, args);
}

/** What of a bake its definition depends on. */
export type BakeReading = Pick<
  BakeWork,
  'source' | 'files' | 'targets' | 'set' | 'vars' | 'load' | 'push' | 'gitToken'
>;

/** `docker buildx bake --print`: what the bake files come to. Nothing is built. @throws BakeProblem */
export function printCommand(
  work: BakeReading,
  place: Pick<CommandPlace, 'builder' | 'version'>,
): WorkCommand {
  const remote = work.source.kind === 'remote';
  const args = [
    'bake',
    ...(work.source.kind === 'remote' ? [work.source.url] : []),
    ...each('--file', work.files),
    ...each('--set', work.set),
    ...variables(work, place.version),
    ...(remote ? ['--builder', place.builder] : []),
    ...flag('--load', work.load),
    ...flag('--push', work.push),
    '--print',
    ...work.targets,
  ];
  return inItsFolder(work, args);
}

function inItsFolder(work: Pick<BakeWork, 'source' | 'gitToken'>, args: readonly string[]): WorkCommand {
  return {
    args,
    env: work.gitToken === undefined ? {} : { BUILDX_BAKE_GIT_AUTH_TOKEN: work.gitToken },
    ...(work.source.kind === 'folder' ? { folder: work.source.path } : {}),
  };
}

/** Files anywhere may be read and written, as docker/bake-action allows it; before 0.18 nothing forbade it. */
function allowances(work: BakeWork, version: string | undefined): readonly string[] {
  if (isOlder(version, [0, 17])) {
    if (work.allow.length === 0) return [];
    throw new BakeProblem(`needs buildx 0.17 or newer for \`allow\` in bake mode, and this is ${version}`);
  }
  return isOlder(version, [0, 18]) ? work.allow : [...work.allow, 'fs=*'];
}

function variables(work: Pick<BakeWork, 'vars'>, version: string | undefined): readonly string[] {
  if (work.vars.length > 0 && isOlder(version, [0, 31])) {
    throw new BakeProblem(`needs buildx 0.31 or newer for \`vars\`, and this is ${version}`);
  }
  return each('--var', work.vars);
}

function provenanceOverrides(work: BakeWork, definition: BakeDefinition | undefined): readonly string[] {
  if (work.defaultProvenance === undefined || definition === undefined) return [];
  if (work.load || goesToEngine(definition)) return [];
  return targetsWithoutProvenance(definition).map(
    (target) => `${target}.attest=type=provenance,${work.defaultProvenance}`,
  );
}
