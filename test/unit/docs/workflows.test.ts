/** What every workflow of the repository has in common; what each does is actionlint's and its own tests' to say. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

interface Job {
  readonly permissions?: unknown;
  readonly 'timeout-minutes'?: number;
  readonly steps?: readonly { readonly uses?: string; readonly with?: Readonly<Record<string, unknown>> }[];
}

const FOLDER = '.github/workflows';
const workflows = readdirSync(FOLDER).map((name) => {
  const text = readFileSync(join(FOLDER, name), 'utf8');
  const { permissions, jobs } = parse(text) as { permissions: unknown; jobs: Record<string, Job> };
  return { name, text, permissions, jobs };
});
/** Jobs that may do more than read: publishing, and nothing else. */
const WRITERS: Readonly<Record<string, readonly string[]>> = {
  'release.yml publish': ['attestations', 'contents', 'id-token', 'packages'],
  'docker-builds.yml image': ['packages'],
};

describe.each(workflows)('$name', ({ name, permissions, jobs }) => {
  test('has least permissions, and each of its jobs says its own', () => {
    expect(permissions).toEqual({});
    for (const [job, { permissions: own = {}, 'timeout-minutes': minutes }] of Object.entries(jobs)) {
      const writes = Object.entries(own as Record<string, string>)
        .filter(([, level]) => level !== 'read')
        .map(([scope]) => scope);
      expect(writes.toSorted(), job).toEqual(WRITERS[`${name} ${job}`] ?? []);
      expect(minutes, job).toBeGreaterThan(0);
    }
  });

  test('pins actions by commit, with their version beside it, and leaves no token in the checkout', () => {
    for (const [job, { steps = [] }] of Object.entries(jobs)) {
      for (const { uses, with: inputs } of steps) {
        if (uses === undefined || uses.startsWith('./')) continue;
        expect(uses, job).toMatch(/@[0-9a-f]{40}$/);
        if (uses.startsWith('actions/checkout@') && WRITERS[`${name} ${job}`]?.includes('contents') !== true)
          expect(inputs?.['persist-credentials'], job).toBe(false);
      }
    }
  });
});

test('an action is the same one in all of them', () => {
  const pins = new Map<string, Set<string>>();
  for (const { text } of workflows) {
    for (const [, action = '', pin = ''] of text.matchAll(
      /uses: ([^@\s]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)$/gm,
    ))
      pins.set(action, (pins.get(action) ?? new Set()).add(pin));
  }
  expect(pins.size).toBeGreaterThan(5);
  for (const [action, found] of pins) expect([...found], action).toHaveLength(1);
});

test('jobs that need a pool are skipped, or say what to set, where there is none', () => {
  for (const name of ['canary.yml', 'docker-builds.yml', 'burst.yml']) {
    const text = workflows.find((workflow) => workflow.name === name)?.text ?? '';
    for (const variable of ['BUILDKIT_POOL_ENDPOINT', 'BUILDKIT_POOL_RUNNERS'])
      expect(text, name).toMatch(new RegExp(`vars\\.${variable}( != ''| \\}\\})`));
  }
});
