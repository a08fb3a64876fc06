import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { ensurePrograms } from '../../../src/local/programs.ts';

/** The shell that the scripts are written for, and what checks them. */
export const { busybox: BUSYBOX, shellcheck: SHELLCHECK } = await ensurePrograms(['busybox', 'shellcheck'], {
  install: true,
  log: (line) => console.error(line),
});

/** What shellcheck has to say about a script: nothing, or it throws. */
export function shellcheck(path: string, script: string): string {
  writeFileSync(path, script);
  return execFileSync(SHELLCHECK, [path]).toString();
}
