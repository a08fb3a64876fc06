import { type Stats, statSync } from 'node:fs';

/** Whether buildx hands it on to the builder instead of reading it here (buildx and BuildKit, dfgitutil and urlutil). */
export function isRemote(context: string): boolean {
  return /^(https?:\/\/|git:\/\/|ssh:\/\/|github\.com\/)/.test(context) || /^[\w.-]+@[\w.-]+:/.test(context);
}

export function isFolder(path: string): boolean {
  return lookAt(path)?.isDirectory() ?? false;
}

export function isFile(path: string): boolean {
  return lookAt(path)?.isFile() ?? false;
}

function lookAt(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    // Missing, behind a file, too long, not ours to see: no path to build from.
    return undefined;
  }
}
