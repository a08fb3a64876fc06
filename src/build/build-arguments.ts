import { joinFields, parseFields, splitField } from '../csv.ts';
import { each, flag, optional } from './flags.ts';
import type { BuildWork, Secret } from './work.ts';
import type { ResultFiles, WorkCommand } from './work-command.ts';

/** `docker buildx build`, in docker/build-push-action's order, each argument one element, never joined. */
export function buildCommand(work: BuildWork, builder: string, files: ResultFiles): WorkCommand {
  const secrets = work.secrets.map((secret, index) => ({ secret, variable: `${SECRET_VARIABLE}_${index}` }));
  const args = [
    'build',
    ...each('--add-host', work.addHosts),
    ...each('--allow', work.allow),
    ...each('--annotation', work.annotations),
    ...each('--build-arg', work.buildArgs),
    ...each('--build-context', work.buildContexts),
    ...each('--cache-from', work.cacheFrom),
    ...each('--cache-to', work.cacheTo),
    ...optional('--call', work.call),
    ...optional('--cgroup-parent', work.cgroupParent),
    ...optional('--file', work.file),
    ...(leavesImageId(work.outputs) ? ['--iidfile', files.imageId] : []),
    ...each('--label', work.labels),
    ...each('--no-cache-filter', work.noCacheFilters),
    ...each('--output', work.outputs),
    ...(work.platforms.length > 0 ? ['--platform', work.platforms.join(',')] : []),
    ...each('--attest', work.attests),
    ...each(
      '--secret',
      secrets.map(({ secret, variable }) => secretFlag(secret, variable)),
    ),
    ...optional('--shm-size', work.shmSize),
    ...each('--ssh', work.ssh),
    ...each('--tag', work.tags),
    ...optional('--target', work.target),
    ...each('--ulimit', work.ulimits),
    ...['--builder', builder],
    ...flag('--load', work.load),
    ...['--metadata-file', files.metadata],
    ...optional('--network', work.network),
    ...flag('--no-cache', work.noCache),
    ...flag('--pull', work.pull),
    ...flag('--push', work.push),
    work.context,
  ];
  const env = Object.fromEntries(
    secrets.flatMap(({ secret, variable }) => (secret.kind === 'value' ? [[variable, secret.value]] : [])),
  );
  return { args, env };
}

/** Holds the value of a secret in buildx's environment, which only the same user and root can read. */
const SECRET_VARIABLE = 'BUILDKIT_POOL_SECRET';

function secretFlag(secret: Secret, variable: string): string {
  const id = `id=${secret.id}`;
  switch (secret.kind) {
    case 'value':
      return joinFields([id, `env=${variable}`]);
    case 'variable':
      return joinFields([id, `env=${secret.name}`]);
    case 'file':
      return joinFields([id, `src=${secret.path}`]);
  }
}

/** buildx refuses an image ID file beside a folder or an archive (commands/build.go). */
function leavesImageId(outputs: readonly string[]): boolean {
  return outputs.every((output) => !/^(local|tar)$/.test(outputType(output)));
}

/** The exporter's type. A bare path is a folder, a bare - an archive (buildx, util/buildflags/export.go). */
export function outputType(output: string): string {
  const fields = parseFields(output);
  const [first = ''] = fields;
  if (fields.length === 1 && !first.startsWith('type=')) return first === '-' ? 'tar' : 'local';
  const type = fields.map(splitField).find(([key]) => key === 'type');
  return type?.[1] ?? '';
}
