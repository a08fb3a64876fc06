import { expect, test } from 'vitest';
import { inputVariable } from '../../../src/burst/action-child.ts';
import { parseBurst } from '../../../src/burst/command.ts';
import { parseCommandFile } from '../../../src/burst/command-file.ts';
import { renderDockerfile } from '../../../src/burst/workspace.ts';

test('values of one line and of several', () => {
  const text = 'one=1\nmany<<ghadelimiter_1\na=b\n\nc<<d\nghadelimiter_1\nempty=\nlast=x=y\n';
  expect([...parseCommandFile(text)]).toEqual([
    ['one', '1'],
    ['many', 'a=b\n\nc<<d'],
    ['empty', ''],
    ['last', 'x=y'],
  ]);
});

test('what follows a value without its end is not taken for values', () => {
  expect([...parseCommandFile('a=1\nb<<end\nc=2\n')]).toEqual([['a', '1']]);
});

test('inputs are named as the runner names them', () => {
  expect(inputVariable('build-args')).toBe('INPUT_BUILD-ARGS');
  expect(inputVariable('server name')).toBe('INPUT_SERVER_NAME');
});

test('every problem of the command line is told at once', () => {
  const given = { builders: '0', builds: 'many', seconds: '-1', min: '300', json: 'x', mode: 'run' };
  expect(() => parseBurst(given)).toThrow(
    [
      '--builders: expected a whole number from 1 to 250, got `0`',
      '--builds: expected a whole number from 1 to 2000, got `many`',
      '--seconds: expected a whole number from 0 to 86400, got `-1`',
      '--min: expected a whole number from 0 to 250, got `300`',
      '--mode: expected one of build, got `run`',
    ].join('\n'),
  );
});

test('all builders are there from the start unless --min says otherwise', () => {
  const given = { builders: '4', builds: '9', seconds: '5', json: '/tmp/burst.json', mode: 'build' };
  expect(parseBurst(given)).toMatchObject({ builders: 4, minBuilders: 4 });
  expect(parseBurst({ ...given, min: '2' })).toMatchObject({ builders: 4, minBuilders: 2 });
  expect(() => parseBurst({ ...given, min: '5' })).toThrow('--min (5) is more than --builders (4)');
});

test('a build pauses for as long as asked', () => {
  expect(renderDockerfile(7)).toContain('sleep 7');
});
