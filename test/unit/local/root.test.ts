import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'root-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SOURCE = resolve('src/local/root.ts');
const program = join(folder, 'program.mjs');
writeFileSync(
  program,
  `import { becomeRoot } from ${JSON.stringify(SOURCE)};\nbecomeRoot();\nconsole.log('went on');\n`,
);

/** The program with some arguments, as a user of that id, with this PATH and nothing else. */
function runAs(uid: number, path: string, ...args: readonly string[]) {
  const disguise = `data:text/javascript,process.getuid=()=>${uid}`;
  return new Promise<{ code: number; stdout: string; stderr: string }>((done) => {
    execFile(
      process.execPath,
      ['--import', disguise, program, ...args],
      { env: { PATH: path, HOME: '/home/somebody', POOL: 'a value' } },
      (error, stdout, stderr) => done({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

test('root goes on as it is', async () => {
  expect(await runAs(0, '/nowhere')).toMatchObject({ code: 0, stdout: 'went on\n' });
});

test('anybody else becomes the same command under sudo: arguments, PATH, HOME, environment and exit code', async () => {
  const sudo = join(folder, 'sudo');
  writeFileSync(sudo, '#!/bin/sh\nprintf "%s\\n" "$@" "$POOL"\nexit 7\n');
  chmodSync(sudo, 0o755);
  const path = `relative:${folder}:/bin`;
  const { code, stdout, stderr } = await runAs(1000, path, 'burst', '--builders', 'a b');
  expect(code).toBe(7);
  expect(stderr).toContain('going on with sudo\n');
  const lines = stdout.trimEnd().split('\n');
  expect(lines.slice(0, 5)).toEqual([
    '--preserve-env',
    'env',
    `PATH=${path}`,
    'HOME=/home/somebody',
    process.execPath,
  ]);
  expect(lines.slice(-5)).toEqual([program, 'burst', '--builders', 'a b', 'a value']);
});

test('where there is no sudo the remedy is told', async () => {
  const { code, stdout, stderr } = await runAs(1000, '/nowhere');
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr).toContain('run the same command as root, or with `sudo -E env "PATH=$PATH"` before it');
});
