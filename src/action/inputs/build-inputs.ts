/** The inputs that only a build has: docker/build-push-action's names, parsed by its rules (build-push-action 7.3). */
import { resolve } from 'node:path';
import { outputType } from '../../build/build-arguments.ts';
import type { BuildWork, Secret } from '../../build/work.ts';
import { parseFields, splitField } from '../../csv.ts';
import type { GitHubFacts } from '../github-facts.ts';
import { resolveAttestations } from './attestations.ts';
import { expandTemplate, gitContext } from './git-context.ts';
import { isFile, isFolder, isRemote } from './paths.ts';
import { InputReader } from './reader.ts';
import { gitTokenSecret, readSecrets } from './secrets.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

export const BUILD_INPUTS = {
  'add-hosts': {
    description: 'Names of hosts that RUN steps can use, `name:address`, separated by commas or lines',
  },
  annotations: {
    description: 'Annotations of the image, one `[level:]name=value` a line',
  },
  attests: {
    description: 'Attestations, one a line, as `docker buildx build --attest` takes them',
  },
  'build-args': {
    description: 'Build arguments, one `NAME=value` a line',
  },
  'build-contexts': {
    description: 'Further contexts, one `name=folder, URL or image` a line',
  },
  'cache-from': {
    description: 'Where to find cache, one source a line, such as type=registry,ref=app:cache',
  },
  'cache-to': {
    description: 'Where to leave cache, one destination a line, such as type=registry,ref=app:cache,mode=max',
  },
  'cgroup-parent': {
    description: 'Control group under which RUN steps run',
  },
  context: {
    description:
      "Folder or Git URL to build; by default the job's commit, fetched by the builder. `{{defaultContext}}:folder` is a folder of it",
  },
  file: {
    description: 'Path of the Dockerfile, from the workspace, or from the top of a remote context',
  },
  labels: {
    description: 'Labels of the image, one `name=value` a line',
  },
  network: {
    description: 'Network of RUN steps: default, host or none',
  },
  'no-cache-filters': {
    description: 'Stages to build anew, separated by commas or lines',
  },
  outputs: {
    description: 'Where the result goes, one a line, as `docker buildx build --output` takes it',
  },
  secrets: {
    description: 'Secrets, one `id=value` a line; one of several lines stands in double quotes, as a whole',
  },
  'secret-envs': {
    description: 'Secrets from variables of the step, `id=VARIABLE`, separated by commas or lines',
  },
  'secret-files': {
    description: 'Secrets from files, one `id=path` a line',
  },
  'shm-size': {
    description: 'Size of /dev/shm in RUN steps, such as 2g',
  },
  ssh: {
    description: 'SSH agents or keys for RUN steps, such as default, separated by commas or lines',
  },
  tags: {
    description: 'Names of the image, separated by commas or lines',
  },
  target: {
    description: 'Stage to build',
  },
  ulimit: {
    description: 'Limits of RUN steps, one a line, such as nofile=1024:1024',
  },
} as const satisfies InputTable;

/** Collects every problem; the result counts only where there is none. */
export function readBuild(source: InputSource, facts: GitHubFacts, problems: Problems): BuildWork {
  const reader = new InputReader(source, problems);
  const defaultContext = gitContext(facts, reader.gitContextSettings());
  const context = readContext(reader, defaultContext);
  const fromDefault = defaultContext !== undefined && context.startsWith(defaultContext);
  const outputs = readOutputs(reader);
  const load = reader.flag('load');
  const work: BuildWork = {
    kind: 'build',
    context,
    file: reader.optional('file'),
    addHosts: reader.list('add-hosts'),
    allow: reader.list('allow'),
    annotations: reader.list('annotations', { commas: 'belong' }),
    attests: readAttestations(reader, facts, load || outputs.some(isForEngine)),
    buildArgs: reader.list('build-args', { commas: 'belong' }),
    buildContexts: reader
      .list('build-contexts', { commas: 'belong' })
      .map((value) => expand(reader, 'build-contexts', value, defaultContext)),
    cacheFrom: reader.list('cache-from', { commas: 'belong' }),
    cacheTo: reader.list('cache-to', { commas: 'belong' }),
    call: reader.optional('call'),
    cgroupParent: reader.optional('cgroup-parent'),
    labels: reader.list('labels', { commas: 'belong' }),
    load,
    network: reader.optional('network'),
    noCache: reader.flag('no-cache'),
    noCacheFilters: reader.list('no-cache-filters'),
    outputs,
    platforms: reader.list('platforms'),
    pull: reader.flag('pull'),
    push: reader.flag('push'),
    secrets: readAllSecrets(reader, facts, source.workspace, fromDefault),
    shmSize: reader.optional('shm-size'),
    ssh: reader.list('ssh'),
    tags: reader.list('tags'),
    target: reader.optional('target'),
    ulimits: reader.list('ulimit', { commas: 'belong' }),
  };
  checkPaths(work, source.workspace, problems);
  checkContradictions(work, problems);
  return work;
}

function readContext(reader: InputReader, defaultContext: string | undefined): string {
  const text = reader.optional('context');
  if (text !== undefined) return expand(reader, 'context', text, defaultContext);
  if (defaultContext !== undefined) return defaultContext;
  reader.problems.add(
    'context',
    '',
    "and the job's repository is unknown (GITHUB_REPOSITORY and GITHUB_SHA tell it); give the folder or Git URL to build, for instance .",
  );
  return '';
}

function expand(
  reader: InputReader,
  input: string,
  value: string,
  defaultContext: string | undefined,
): string {
  return reader.attempt(input, value, () => expandTemplate(value, defaultContext)) ?? '';
}

/** Malformed ones are problems and left out. */
function readOutputs(reader: InputReader): readonly string[] {
  return reader
    .list('outputs', { commas: 'belong', quotes: 'belong' })
    .filter((output) => reader.attempt('outputs', output, () => parseFields(output)) !== undefined);
}

function isForEngine(output: string): boolean {
  return outputType(output) === 'docker';
}

function readAttestations(reader: InputReader, facts: GitHubFacts, toEngine: boolean): readonly string[] {
  const attributes = (input: string, text: string) =>
    reader.attempt(input, text, () => parseFields(text)) === undefined ? '' : text;
  const provenance = attributes('provenance', reader.optional('provenance') ?? '');
  const sbom = attributes('sbom', reader.optional('sbom') ?? '');
  const attests = reader
    .list('attests', { commas: 'belong' })
    .filter((attest) => attributes('attests', attest) !== '');
  const byDefault = !reader.variable('BUILDX_NO_DEFAULT_ATTESTATIONS');
  return resolveAttestations({ provenance, sbom, attests, byDefault, toEngine }, facts);
}

function readAllSecrets(
  reader: InputReader,
  facts: GitHubFacts,
  workspace: string,
  fromDefault: boolean,
): readonly Secret[] {
  const secrets = readSecrets(reader, workspace);
  const token = reader.optional('github-token');
  const own = fromDefault && token ? gitTokenSecret(secrets, facts.serverUrl, token) : undefined;
  return own === undefined ? secrets : [...secrets, own];
}

function checkPaths({ context, file }: BuildWork, workspace: string, problems: Problems): void {
  if (context === '') return;
  if (context.startsWith('-')) {
    problems.add('context', context, 'a folder whose name begins with - is written ./- and so on');
  } else if (isRemote(context)) {
    return;
  } else if (!isFolder(resolve(workspace, context))) {
    problems.add('context', context, `no such folder in ${workspace}; is a checkout step missing?`);
  }
  if (file !== undefined && !isRemote(file) && !isFile(resolve(workspace, file))) {
    problems.add(
      'file',
      file,
      `no such file in ${workspace}; the path starts from there, not from the context`,
    );
  }
}

/** What buildx would refuse once the builder is there is refused before the line is joined. */
function checkContradictions(work: BuildWork, problems: Problems): void {
  if (work.noCache && work.noCacheFilters.length > 0) {
    const stages = work.noCacheFilters.join(',');
    problems.add(
      'no-cache-filters',
      stages,
      '`no-cache` is true, which means every stage; leave one of them out',
    );
  }
  const builds = work.call === undefined || work.call === 'build';
  if (work.platforms.length > 1) checkManifestLists(work, problems);
  if (
    work.push &&
    builds &&
    work.tags.length === 0 &&
    !work.outputs.some((output) => hasField(output, 'name'))
  ) {
    problems.add('push', 'true', 'there is nothing to call the image; give `tags`');
  }
}

/** Images of several platforms in Docker's own format: buildx's build/opt.go refuses what an engine can't take. */
function checkManifestLists({ load, outputs }: BuildWork, problems: Problems): void {
  const forEngine = outputs.filter(isForEngine);
  for (const output of forEngine.filter((candidate) => hasField(candidate, 'dest'))) {
    problems.add(
      'outputs',
      output,
      "Docker's format holds one platform, and `platforms` has several; write type=oci",
    );
  }
  if (load || forEngine.length > 0) {
    problems.warn(
      '`platforms` has several, and what is loaded into an engine may have several only where that engine has the containerd image store: elsewhere buildx will refuse',
    );
  }
}

function hasField(output: string, name: string): boolean {
  return parseFields(output).some((field) => splitField(field)[0] === name);
}
