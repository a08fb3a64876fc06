import { bakeCommand } from './bake-arguments.ts';
import type { BakeDefinition } from './bake-definition.ts';
import { buildCommand } from './build-arguments.ts';
import type { BakeWork, BuildWork, SessionWork } from './work.ts';

/** What is run for a work. */
export interface WorkCommand {
  /** After `docker buildx`. */
  readonly args: readonly string[];
  /** On top of the environment that buildx has anyway. Holds the values of secrets, which appear nowhere else. */
  readonly env: Readonly<Record<string, string>>;
  /** Where to run it, from the workspace; the workspace itself when left out. */
  readonly folder?: string;
}

/** Files that buildx writes about its result. */
export interface ResultFiles {
  readonly imageId: string;
  readonly metadata: string;
}

export interface CommandPlace {
  /** Name of buildx's builder. */
  readonly builder: string;
  readonly files: ResultFiles;
  /** What the bake files say, where `needsDefinition` asks for it. */
  readonly definition?: BakeDefinition | undefined;
  /** Of buildx; undefined where it can't tell, which counts as new. */
  readonly version?: string | undefined;
}

/** The command of a work. @throws BakeProblem when this buildx is too old for what the work asks for. */
export function workCommand(work: BuildWork | BakeWork, place: CommandPlace): WorkCommand {
  const command =
    work.kind === 'build' ? buildCommand(work, place.builder, place.files) : bakeCommand(work, place);
  // Warnings of build checks come with the metadata, as docker's Actions have it.
  return { ...command, env: { BUILDX_METADATA_WARNINGS: 'true', ...command.env } };
}

/**
 * Whether the bake files have to be read before the work: only those targets that say nothing of provenance get the
 * default one, and none does when a target goes to an engine.
 */
export function needsDefinition(work: SessionWork): work is BakeWork {
  return work.kind === 'bake' && work.defaultProvenance !== undefined;
}

/** Whether more than one client talks to a builder: a script's, or buildx reading a remote definition and then building. */
export function needsSeveralClients(work: SessionWork): boolean {
  return work.kind === 'run' || (needsDefinition(work) && work.source.kind === 'remote');
}
