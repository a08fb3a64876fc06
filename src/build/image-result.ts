import { readFile } from 'node:fs/promises';
import type { ResultFiles } from './arguments.ts';

/** What buildx wrote about the image; empty where there is nothing to tell. */
export interface ImageResult {
  readonly imageId: string;
  readonly digest: string;
  readonly metadata: string;
}

export const NO_IMAGE: ImageResult = { imageId: '', digest: '', metadata: '' };

/** Rejects when a file is there and can't be read, or holds no JSON. */
export async function readImage(files: ResultFiles): Promise<ImageResult> {
  const [imageId, metadata] = await Promise.all([readOptional(files.imageId), readOptional(files.metadata)]);
  return { imageId: imageId.trim(), digest: readDigest(metadata), metadata: metadata.trim() };
}

function readDigest(metadata: string): string {
  if (metadata === '') return '';
  const digest: unknown = (JSON.parse(metadata) as Record<string, unknown>)['containerimage.digest'];
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
