/**
 * What @actions/core wants of node:crypto: a delimiter nobody can guess, for the runner's files. The module itself
 * takes 12 ms of every start to load; the kernel gives such a name at once.
 */
import { readFileSync } from 'node:fs';

export function randomUUID(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/uuid', 'utf8').trim();
  } catch {
    return process.getBuiltinModule('node:crypto').randomUUID();
  }
}
