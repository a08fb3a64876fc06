/** Reading a bake definition by a buildx that crashes, as 0.16.0 does now and then. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readDefinition } from '../../../src/build/bake-reading.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bake-reading-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const PANIC = 'echo "panic: close of closed channel\n\ngoroutine 1 [running]:\nprinter.go:112" >&2; exit 2';
const DEFINITION = `echo '{"target":{"app":{"context":"."}}}'`;

/** A buildx that does this in its first run, that in its second, and so on. */
async function read(...runs: readonly string[]) {
  const program = join(folder, 'buildx');
  const cases = runs.map((run, index) => `${index + 1}) ${run} ;;`).join('\n');
  writeFileSync(
    program,
    `#!/bin/sh\necho run >> "${folder}/runs"\ncase $(wc -l < "${folder}/runs") in\n${cases}\nesac\n`,
  );
  chmodSync(program, 0o755);
  return await readDefinition(
    {
      source: { kind: 'folder', path: '.' },
      files: [],
      targets: ['app'],
      set: [],
      vars: [],
      load: false,
      push: false,
      gitToken: undefined,
    },
    {
      buildx: { command: program, prefix: [], accept: async () => {}, version: async () => 'v0.16.0' },
      builder: '',
      env: process.env,
      cwd: folder,
      signal: new AbortController().signal,
    },
  );
}
const runs = () => readFileSync(join(folder, 'runs'), 'utf8').split('\n').length - 1;

test('a crash is no answer: it is asked again', async () => {
  expect(await read(PANIC, DEFINITION)).toEqual({ target: { app: { context: '.' } } });
  expect(runs()).toBe(2);
});

test('one that always crashes is given up', async () => {
  await expect(read(PANIC, PANIC, PANIC, DEFINITION)).rejects.toThrow(
    'has no readable bake definition: printer.go:112',
  );
  expect(runs()).toBe(3);
});

test('files that are wrong are read once', async () => {
  await expect(read('echo "ERROR: no such target" >&2; exit 1', DEFINITION)).rejects.toThrow(
    'has no readable bake definition: ERROR: no such target',
  );
  expect(runs()).toBe(1);
});
