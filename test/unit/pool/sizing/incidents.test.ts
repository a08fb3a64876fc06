import { expect, test } from 'vitest';
import { accept, problemsOf } from '../../../support/pool-yaml.ts';

/** One pool of amd64; each line of `architecture` below it. */
function file(architecture: readonly string[], pool: readonly string[] = []): string {
  return [
    'version: 1',
    'cluster: {karpenter: {discovery: ci, role: nodes}}',
    'pools:',
    '  buildkitd:',
    '    monitoring: prometheus-operator',
    ...pool.map((line) => `    ${line}`),
    '    architectures:',
    '      amd64:',
    ...architecture.map((line) => `        ${line}`),
  ].join('\n');
}

test('incident 1: the load balancer knows all builders that the autoscaler may start, from one number', () => {
  const [pool] = accept(file(['min: 32', 'max: 360'])).sizing.pools;
  const [amd64] = pool?.architectures ?? [];
  expect(amd64?.autoscaler?.maxReplicas.value).toBe(360);
  expect(amd64?.line.ceiling.value).toBe(768);
  expect(problemsOf(file(['max: 360', 'ceiling: 10']))).toEqual([
    expect.stringMatching(
      /^pool\.yaml:9:9: error: pools\.buildkitd\.architectures\.amd64\.ceiling: 10 is less than max \(360\).*stand idle; write 720/,
    ),
  ]);
});

test('incident 3: a single instance type is warned about, and several get weights in their order', () => {
  expect(problemsOf(file(['nodes: {instance-types: [m6id.24xlarge]}']))).toEqual([
    expect.stringMatching(/:8:17: warning: .*nodes\.instance-types: m6id\.24xlarge is the only type/),
  ]);
  const [pool] = accept(file(['nodes: {instance-types: [m6id.24xlarge, m5d.24xlarge, m6id.32xlarge]}']))
    .sizing.pools;
  const nodePools = pool?.architectures[0]?.nodePools?.pools ?? [];
  expect(nodePools.map(({ weight }) => weight.value)).toEqual([100, 66, 33]);
  // Any of them can serve the whole pool alone.
  for (const { nodes, builders } of nodePools) expect(nodes.value * builders.value).toBeGreaterThanOrEqual(4);
});

test('incident 5: a maximum without headroom over the declared burst is warned about, an impossible burst refused', () => {
  const builds = (burst: number, rest = '') =>
    `builds: {cold-start: 6m30s, typical: 8m, burst: ${burst}${rest}}`;
  expect(problemsOf(file(['max: 17', builds(17)]))).toEqual([
    expect.stringMatching(
      /:8:9: warning: .*\.max: 17 leaves no headroom over the declared burst of 17.*write 19 or more/,
    ),
  ]);
  expect(problemsOf(file(['max: 19', builds(17)]))).toEqual([]);
  // The deadline that broke: 8 minutes, with cold starts of 6 to 6.5.
  expect(problemsOf(file(['max: 19', builds(17, ', queue-timeout: 8m')]))).toEqual([
    expect.stringMatching(/warning: .*queue-timeout: 8m00s is less than two cold starts \(13m00s\)/),
  ]);
  expect(problemsOf(file(['max: 10', builds(100, ', queue-timeout: 1h')]))).toEqual([
    expect.stringMatching(
      /error: .*builds\.burst: the last of 100 builds would wait 1h19m .* give up after 1h00m; raise max or queue-timeout/,
    ),
  ]);
});

test('incident 11: the deadline is sized from the expected cold start, and the document tells it', () => {
  const [pool] = accept(file(['builds: {cold-start: 90m}'])).sizing.pools;
  const line = pool?.architectures[0]?.line;
  expect(line?.coldStartMs.value).toBe(90 * 60_000);
  expect(line?.queueTimeoutMs.value).toBe(5 * 3_600_000);
  expect(problemsOf(file(['builds: {cold-start: 13m, queue-timeout: 10m}']))).toEqual([
    expect.stringMatching(
      /error: .*queue-timeout: 10m00s is not longer than a cold start \(13m00s\).*write 26m00s or more/,
    ),
  ]);
});
