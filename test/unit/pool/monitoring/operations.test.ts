/** What docs/operations.md says about numbers and commands, held against the sizing and the command. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, test } from 'vitest';
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
