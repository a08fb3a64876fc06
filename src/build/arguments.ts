import type { BuildWork } from './work.ts';

/** Files that buildx writes about its result. */
export interface ResultFiles {
  readonly imageId: string;
  readonly metadata: string;
}

/** The arguments of `docker buildx`, one element each, never joined. */
export function buildArguments(work: BuildWork, builder: string, files: ResultFiles): string[] {
  return [
    'build',
    ...['--builder', builder],
    ...optional('--file', work.file),
    ...each('--tag', work.tags),
    ...each('--build-arg', work.buildArgs),
    ...optional('--target', work.target),
    ...each('--output', work.outputs),
    ...(work.platforms.length > 0 ? ['--platform', work.platforms.join(',')] : []),
    ...(work.noCache ? ['--no-cache'] : []),
    ...(work.push ? ['--push'] : []),
    ...(work.load ? ['--load'] : []),
    ...['--iidfile', files.imageId],
    ...['--metadata-file', files.metadata],
    work.context,
  ];
}

function each(flag: string, values: readonly string[]): string[] {
  return values.flatMap((value) => [flag, value]);
}

function optional(flag: string, value: string | undefined): string[] {
  return value === undefined ? [] : [flag, value];
}
