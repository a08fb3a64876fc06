/** What docs/operations.md says about numbers and commands, held against the sizing and the command. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { formatDuration } from '../../../../src/action/duration.ts';
import { addPoolCommands } from '../../../../src/pool/command.ts';
import { limitsOf } from '../../../../src/pool/monitoring/recordings.ts';
import { accept } from '../../../support/pool-yaml.ts';

const GUIDE = readFileSync('docs/operations.md', 'utf8');

function section(name: string): string {
  return new RegExp(`<!-- ${name} -->\n\n(.*?)\n\n<!-- end -->`, 's').exec(GUIDE)?.[1] ?? '';
}

function costRows(): readonly string[] {
  return readdirSync('manifests')
    .sort()
    .flatMap((example) => {
      const { sizing } = accept(readFileSync(join('manifests', example, 'pool.yaml'), 'utf8'));
      return sizing.pools.flatMap((pool) =>
        pool.architectures.flatMap((architecture) => {
          const { shrink, name } = architecture;
          if (shrink === null) return [];
          const [min, max] = limitsOf(architecture);
          const arch = sizing.pools.length === 1 ? name : `${pool.pool.name}, ${name}`;
          return [
            `| \`${example}\` | ${arch} | ${min} to ${max} | ${formatDuration(shrink.durationMs.value)} | ${shrink.idleBuilderHours.value} |`,
          ];
        }),
      );
    });
}

test('the table of costs is what the examples give', () => {
  expect(section('cost').split('\n').slice(2)).toEqual(costRows());
});

test('every option of the command that it names exists', () => {
  const program = new Command();
  addPoolCommands(program);
  const calls = [
    ...GUIDE.matchAll(/buildkit-pool ((?:render|explain|validate)(?: --?[a-z-]+(?: [\w./-]+)?)*)/g),
  ];
  expect(calls.length).toBeGreaterThan(3);
  for (const [, call = ''] of calls) {
    const [name, ...words] = call.split(' ');
    const command = program.commands.find((one) => one.name() === name);
    const options = command?.options.map(({ long }) => long) ?? [];
    for (const option of words.filter((word) => word.startsWith('--'))) {
      expect(options, call).toContain(option);
    }
  }
});

test('every object of a pool that it names is rendered', () => {
  const folder = join('manifests', 'eks-karpenter');
  const objects = readdirSync(folder)
    .filter((file) => file.endsWith('.yaml') && file !== 'pool.yaml')
    .flatMap((file) => parseAllDocuments(readFileSync(join(folder, file), 'utf8')))
    .map((document) => document.toJS() as { kind: string; metadata?: { name?: string } });
  const known = new Set(
    objects.flatMap(({ kind, metadata }) => {
      const name = metadata?.name ?? '';
      // cert-manager fills a Secret of the same name; the first builder's pod is the one that the guide looks at.
      return kind === 'StatefulSet' ? [name, `${name}-0`] : [name];
    }),
  );
  const named = [...GUIDE.matchAll(/\bdefault-[a-z0-9]+(?:-[a-z0-9]+)*/g)].map(([name]) => name);
  expect(named.length).toBeGreaterThan(20);
  expect([...new Set(named)].filter((name) => !known.has(name))).toEqual([]);
  const containers = [...GUIDE.matchAll(/ -c ([a-z]+)/g)].map(([, name]) => name);
  const builder = readFileSync(join(folder, 'statefulset-default-amd64-builder.yaml'), 'utf8');
  for (const container of containers) expect(builder).toContain(`- name: ${container}\n`);
});

test('every link within it leads to a heading', () => {
  const anchors = [...GUIDE.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );
  for (const [, anchor] of GUIDE.matchAll(/\]\(#([^)]+)\)/g)) {
    expect(anchors).toContain(anchor);
  }
});
