import { expect, test } from 'vitest';
import { chooseRunner } from '../../../src/setup/runner-process.ts';
import { describeBuilds, renderSetupSummary, type SetupReport } from '../../../src/setup/setup-report.ts';
import { parseSetupState } from '../../../src/setup/setup-state.ts';

test('the summary has a row for each line', () => {
  const builds = { succeeded: 2, failed: 1, lost: 0 };
  const line = { endpoint: 'tcp://pool:1', builds, waits: [] };
  const report: SetupReport = {
    schema: 'buildkit-pool/setup-report/v1',
    builder: 'mine',
    hold: 'step',
    over: true,
    queue_ms: 75_500,
    builds,
    lines: [
      { ...line, arch: 'amd64', queue_ms: 75_000 },
      { ...line, arch: 'arm64', queue_ms: 500, builds: { succeeded: 0, failed: 0, lost: 0 } },
    ],
  };
  expect(renderSetupSummary(report)).toBe(
    [
      '### Pool builder `mine`',
      '',
      '| architecture | queued | times in line | builds | pool |',
      '| --- | --- | --- | --- | --- |',
      '| amd64 | 1m15s | 0 | 2 succeeded, 1 failed | `tcp://pool:1` |',
      '| arm64 | 500 ms | 0 | 0 succeeded | `tcp://pool:1` |',
      '',
    ].join('\n'),
  );
  expect(describeBuilds({ succeeded: 0, failed: 0, lost: 1 })).toBe('1 lost their builder');
});

test('a state that can’t be read is none', () => {
  for (const text of ['', '{', 'null', '[]', '{"registration":{"name":1}}'])
    expect(parseSetupState(text)).toBeUndefined();
  const registration = { name: 'n', folder: '/f', command: 'c', prefix: [], configFolder: '/c', use: true };
  expect(parseSetupState(JSON.stringify({ gateway: { pid: -1 }, registration }))).toMatchObject({
    gateway: undefined,
    cleanup: true,
  });
});

test.each([
  ['GitHub’s worker', ['Runner.Worker', 'Runner.Listener', 'bash', 'systemd'], 0],
  ['the worker, with shells and others in between', ['sh', 'timeout', 'Runner.Worker', 'Runner.Listener'], 2],
  ['another runner, with a shell in between', ['sh', 'act_runner'], 1],
  ['nobody, but for a shell', ['bash'], undefined],
  ['nobody at all, in a container', [], undefined],
])('the end of the job is told by %s', (_, names, index) => {
  const ancestors = names.map((name, at) => ({ pid: 1_000 - at, name }));
  expect(chooseRunner(ancestors)).toBe(index === undefined ? undefined : ancestors[index]);
});
