import { readFile } from 'node:fs/promises';
import type { ResultFiles } from './work-command.ts';

/** What buildx wrote about the image; empty where there is nothing to tell. */
export interface ImageResult {
  readonly imageId: string;
  readonly digest: string;
  readonly metadata: string;
}

export const NO_IMAGE: ImageResult = { imageId: '', digest: '', metadata: '' };

/** Rejects when a file is there and can't be read. */
export async function readImage(files: ResultFiles): Promise<ImageResult> {
  const [imageId, metadata] = await Promise.all([readOptional(files.imageId), readOptional(files.metadata)]);
  return { imageId: imageId.trim(), digest: readDigest(metadata), metadata: metadata.trim() };
}

/** Jobs hand on at most 1 MiB of outputs (GitHub's usage limits). */
export const MAX_METADATA_CHARACTERS = 1_000_000;

/**
 * Metadata that fits into an output: where it is too long, without provenance, which is most of it and is stored with
 * the image too; empty where even that is too long.
 */
export function fitMetadata(metadata: string): string {
  if (metadata.length <= MAX_METADATA_CHARACTERS) return metadata;
  const shorter = JSON.stringify(JSON.parse(metadata), (key, value: unknown) =>
    key.startsWith('buildx.build.provenance') ? undefined : value,
  );
  return shorter.length <= MAX_METADATA_CHARACTERS ? shorter : '';
}

function readDigest(metadata: string): string {
  if (metadata === '') return '';
  // A bake's has one entry a target, and no digest of its own; a build without a result writes null.
  const value = JSON.parse(metadata) as Record<string, unknown> | null;
  const digest = value?.['containerimage.digest'];
  return typeof digest === 'string' ? digest : '';
}

async function readOptional(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
