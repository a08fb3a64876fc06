/** The inputs that only a bake has: docker/bake-action's names, parsed by its rules (bake-action 7, context.ts). */
import { resolve } from 'node:path';
import type { BakeSource, BakeWork } from '../../build/work.ts';
import type { GitHubFacts } from '../github-facts.ts';
import { defaultProvenance, resolveProvenance } from './attestations.ts';
import { expandTemplate, gitContext } from './git-context.ts';
import { isFile, isFolder, isRemote } from './paths.ts';
import { InputReader } from './reader.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

export const BAKE_INPUTS = {
  files: {
    description: 'Bake files, separated by commas or lines; by default those that buildx looks for',
  },
  set: {
    description: 'Values to override, one `target.key=value` a line',
  },
  source: {
    description:
      "Folder of the bake files, or a Git URL whose definition the builder fetches; by default the job's commit",
  },
  targets: {
    description: 'Targets of the bake files, separated by commas or lines; by default `default`',
  },
  vars: {
    description: 'Variables of the bake files, one `NAME=value` a line; needs buildx 0.31',
  },
} as const satisfies InputTable;

/** Collects every problem; the result counts only where there is none. */
export function readBake(source: InputSource, facts: GitHubFacts, problems: Problems): BakeWork {
  const reader = new InputReader(source, problems);
  const from = readSource(reader, facts, source.workspace);
  const files = reader.list('files');
  const targets = reader.list('targets');
  for (const target of targets) {
    if (target.startsWith('-')) problems.add('targets', target, 'a target does not begin with -');
  }
  for (const file of files) checkFile(file, from, source.workspace, problems);
  const load = reader.flag('load');
  const provenance = reader.optional('provenance');
  const noDefault = reader.variable('BUILDX_NO_DEFAULT_ATTESTATIONS');
  return {
    kind: 'bake',
    source: from,
    files,
    targets,
    set: reader.list('set', { commas: 'belong', quotes: 'belong' }),
    vars: reader.list('vars', { commas: 'belong', quotes: 'belong' }),
    allow: reader.list('allow'),
    call: reader.optional('call'),
    load,
    noCache: reader.flag('no-cache'),
    platforms: reader.list('platforms'),
    provenance:
      provenance === undefined
        ? undefined
        : reader.attempt('provenance', provenance, () => resolveProvenance(provenance, facts)),
    defaultProvenance: provenance !== undefined || noDefault || load ? undefined : defaultProvenance(facts),
    pull: reader.flag('pull'),
    push: reader.flag('push'),
    sbom: reader.optional('sbom'),
    // The job's token opens the job's own repository and is sent to nobody else; the variable names one for any source.
    gitToken:
      reader.variableText('BUILDX_BAKE_GIT_AUTH_TOKEN') ??
      (isOwnRepository(from, facts, reader) ? reader.optional('github-token') : undefined),
  };
}

function isOwnRepository(source: BakeSource, facts: GitHubFacts, reader: InputReader): boolean {
  const own = gitContext(facts, reader.gitContextSettings());
  if (source.kind !== 'remote' || own === undefined) return false;
  const [repository = ''] = own.split('#');
  const [asked = ''] = source.url.split('#');
  return asked === repository;
}

function readSource(reader: InputReader, facts: GitHubFacts, workspace: string): BakeSource {
  const text = reader.optional('source') ?? '';
  const defaultContext = gitContext(facts, reader.gitContextSettings());
  const expanded = reader.attempt('source', text, () => expandTemplate(text, defaultContext)) ?? '';
  const place = expanded || defaultContext;
  if (place === undefined) {
    reader.problems.add(
      'source',
      text,
      "and the job's repository is unknown (GITHUB_REPOSITORY and GITHUB_SHA tell it); give the folder of the bake files, for instance .",
    );
    return { kind: 'folder', path: '.' };
  }
  if (isRemote(place)) return { kind: 'remote', url: place };
  if (!isFolder(resolve(workspace, place))) {
    reader.problems.add('source', text, `no such folder in ${workspace}; is a checkout step missing?`);
  }
  return { kind: 'folder', path: place };
}

function checkFile(file: string, source: BakeSource, workspace: string, problems: Problems): void {
  if (isRemote(file)) {
    problems.add('files', file, 'a remote definition is given by `source`');
    return;
  }
  // `cwd://` is buildx's own name for the folder it runs in; a remote definition's files are the builder's to find.
  const local = source.kind === 'folder' ? file.replace(/^cwd:\/\//, '') : undefined;
  const folder = source.kind === 'folder' ? resolve(workspace, source.path) : workspace;
  if (local !== undefined && !isFile(resolve(folder, local))) {
    problems.add('files', file, `no such file in ${folder}`);
  }
}
