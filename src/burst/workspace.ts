/** What the builds of a burst build: one static program copied in, and a pause. No registry is needed. */
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The build's own number is an argument, so that no build finds the pause in another's cache. */
export function renderDockerfile(seconds: number): string {
  return `FROM scratch
COPY busybox /bin/busybox
ARG ID
RUN ["/bin/busybox", "sh", "-c", "echo build $ID; exec /bin/busybox sleep ${seconds}"]
`;
}

export interface Workspace {
  readonly context: string;
  /** A PATH with nothing but buildx. */
  readonly path: string;
}

export async function prepareWorkspace(
  folder: string,
  programs: { readonly busybox: string; readonly buildx: string },
  seconds: number,
): Promise<Workspace> {
  const context = join(folder, 'context');
  const path = join(folder, 'bin');
  await mkdir(context, { recursive: true });
  await mkdir(path);
  await copyFile(programs.busybox, join(context, 'busybox'));
  await writeFile(join(context, 'Dockerfile'), renderDockerfile(seconds));
  // buildx on its own starts faster than through the docker command, which asks every plugin for its name first.
  await symlink(programs.buildx, join(path, 'buildx'));
  return { context, path };
}
