import { type Dirent, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What there is in a folder, at any depth; a folder in it that others remove meanwhile has nothing. */
export function entriesUnder(folder: string): readonly Dirent[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? [entry, ...(unlessGone(() => entriesUnder(join(folder, entry.name))) ?? [])]
      : [entry],
  );
}

/** What a file holds; undefined when it is gone. */
export function readUnlessGone(path: string): Buffer | undefined {
  return unlessGone(() => readFileSync(path));
}

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
