import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type AttemptEnd, combineSolves, judge } from '../../../src/build/verdict.ts';

const SOLVES = ['none', 'sent', 'answered-ok', 'answered-error'] as const;

/** The rows of docs/outcomes.md's second table: exit code | connection | Solve | verdict. */
function documentedRows(): { end: AttemptEnd; verdict: string }[] {
  const page = readFileSync('docs/outcomes.md', 'utf8');
  const rows = page.split('<!-- verdicts -->')[1]?.split('<!-- end -->')[0] ?? '';
  return rows
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.includes('---') && !line.startsWith('| exit'))
    .flatMap((line) => {
      const [exit, connection, solves, verdict] = line
        .split('|')
        .slice(1, 5)
        .map((cell) => cell.trim().replaceAll('`', ''));
      const exitCode = exit === '0' ? 0 : 1;
      const listed =
        solves === 'any' ? SOLVES : SOLVES.filter((solve) => solves?.split(', ').includes(solve));
      const connections =
        connection === 'any' ? ['open', 'lost', 'going away'] : (connection?.split(', ') ?? []);
      return connections.flatMap((state) =>
        listed.map((solve) => ({
          end: { exitCode, lost: state === 'lost', goaway: state === 'going away', solve },
          verdict: verdict ?? '',
        })),
      );
    });
}

describe('the table in docs/outcomes.md is what the code does', () => {
  const rows = documentedRows();
  test('it names each combination of exit code, connection and Solve exactly once', () => {
    const keys = rows.map((row) => JSON.stringify(row.end));
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.length).toBe(2 * 3 * 4);
  });
  test.each(rows)('$end -> $verdict', ({ end, verdict }) => {
    expect(judge(end)).toBe(verdict);
  });
});

test('a child that a signal ended is no success', () => {
  expect(judge({ exitCode: null, lost: false, goaway: false, solve: 'answered-ok' })).toBe('failed');
});

test('what several builders were asked and have answered makes one state of the build', () => {
  expect(combineSolves([])).toBe('none');
  for (const first of SOLVES) {
    expect(combineSolves([first])).toBe(first);
    for (const second of SOLVES) {
      const both = combineSolves([first, second]);
      expect(both).toBe(combineSolves([second, first]));
      const either = [first, second];
      // Begun on one is begun; answered is what all have answered, unless one has found a fault.
      if (either.includes('answered-error')) expect(both).toBe('answered-error');
      else if (either.includes('sent')) expect(both).toBe('sent');
      else expect(both === 'none').toBe(either.every((state) => state === 'none'));
    }
  }
});
