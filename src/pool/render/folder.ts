/** Rendered files in a folder: written, compared, read back. Files of others in it are left alone. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KubernetesObject } from '../components/object.ts';
import type { RenderedFile } from './render.ts';
import { GENERATED_HEADER, readYaml } from './yaml.ts';

/** How a folder differs from what was rendered. */
export interface FolderDifference {
  readonly path: string;
  readonly kind: 'missing' | 'changed' | 'superfluous';
}

export async function compareFolder(
  folder: string,
  files: readonly RenderedFile[],
): Promise<readonly FolderDifference[]> {
  const present = await readTexts(folder);
  const wanted = new Map(files.map(({ path, text }) => [path, text]));
  return [
    ...files.flatMap(({ path, text }): FolderDifference[] => {
      const found = present.get(path);
      if (found === undefined) return [{ path, kind: 'missing' }];
      return found === text ? [] : [{ path, kind: 'changed' }];
    }),
    ...[...present]
      .filter(([path, text]) => !wanted.has(path) && text.startsWith(GENERATED_HEADER))
      .map(([path]): FolderDifference => ({ path, kind: 'superfluous' })),
  ];
}

/** Makes the folder hold exactly `files` of what is generated; returns what was not so before. */
export async function writeFolder(
  folder: string,
  files: readonly RenderedFile[],
): Promise<readonly FolderDifference[]> {
  await mkdir(folder, { recursive: true });
  const found = await compareFolder(folder, files);
  const texts = new Map(files.map(({ path, text }) => [path, text]));
  for (const { path, kind } of found) {
    const text = texts.get(path);
    if (kind === 'superfluous' || text === undefined) {
      await rm(join(folder, path));
    } else {
      await writeFile(join(folder, path), text);
    }
  }
  return found;
}

/**
 * Every object of a folder of manifests, in the order of file names. What is no object of Kubernetes (pool.yaml) and the
 * kustomization are left out. Rejects when the folder or a file cannot be read.
 */
export async function readObjects(folder: string): Promise<readonly KubernetesObject[]> {
  const texts = await readTexts(folder);
  return [...texts].flatMap(([path, text]) => {
    try {
      return readYaml(text).filter(isObject);
    } catch (cause) {
      throw new Error(`${join(folder, path)}: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      });
    }
  });
}

function isObject(value: unknown): value is KubernetesObject {
  return (
    typeof value === 'object' &&
    value !== null &&
    'apiVersion' in value &&
    'kind' in value &&
    typeof value.kind === 'string' &&
    value.kind !== 'Kustomization'
  );
}

/** Its YAML files, not those of folders below; empty when it does not exist. */
async function readTexts(folder: string): Promise<ReadonlyMap<string, string>> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return [];
    }
    throw error;
  });
  const yaml = names.filter((name) => /\.ya?ml$/.test(name)).sort();
  return new Map(
    await Promise.all(yaml.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const)),
  );
}
