/**
 * Finds the programs of a local pool: an explicit path, PATH, this tool's own cache; with `install` also Docker images,
 * the system's package manager, and a build of the committed tools modules with Go.
 */
import { installProgram } from './install.ts';
import { findProgram, type ProgramName, remedyFor } from './program-search.ts';

/** Paths of the programs asked for, absolute. */
export type Programs<Name extends ProgramName> = Readonly<Record<Name, string>>;

export interface EnsureOptions {
  /** Whether a missing program may be fetched; otherwise it is only named. */
  readonly install: boolean;
  log(line: string): void;
}

/**
 * Rejects with one error that names every program that is missing, each with the command that gets it.
 * Environment: `BUILDKIT_POOL_<NAME>` gives a program's path; `XDG_CACHE_HOME` moves the cache.
 */
export async function ensurePrograms<Name extends ProgramName>(
  names: readonly Name[],
  options: EnsureOptions,
): Promise<Programs<Name>> {
  const found = new Map<Name, string>();
  const problems: string[] = [];
  for (const name of names) {
    try {
      const path = await findProgram(name);
      if (path !== null) {
        found.set(name, path);
      } else if (options.install) {
        found.set(name, await installProgram(name, options.log));
      } else {
        problems.push(`${name} is missing: ${remedyFor(name)}`);
      }
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  if (problems.length > 0) {
    throw new Error(problems.join('\n'));
  }
  return Object.fromEntries(found) as Programs<Name>;
}
