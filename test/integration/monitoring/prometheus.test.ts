/** The real Prometheus reads the real load balancer as a ServiceMonitor tells it to, and records what is true. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { stringify } from 'yaml';
import { dashboard } from '../../../src/pool/monitoring/dashboard.ts';
import { RECORDED } from '../../../src/pool/monitoring/recordings.ts';
import { ruleGroups } from '../../../src/pool/monitoring/rules.ts';
import { BALANCER_METRICS, balancerEndpoint } from '../../../src/pool/monitoring/scrape.ts';
import { accept } from '../../support/pool-yaml.ts';
import { findPrometheus } from '../../support/promtool.ts';
import { AMD64, ARM64, Rig } from '../../support/server-line.ts';

const [POOL] = accept(`
version: 1
pools:
  main: { namespace: buildkit, architectures: { amd64: { max: 4 }, arm64: { max: 2 } } }
`).sizing.pools;
const ENDPOINT = balancerEndpoint('metrics');
const WAIT = { timeout: 60_000, interval: 200 };
const PROMETHEUS_PORT = 19_090;

let rig: Rig;
let target = '';
let folder = '';
let prometheus: ChildProcess;

beforeAll(async () => {
  if (POOL === undefined) throw new Error('no pool');
  rig = await Rig.open({
    pools: [
      { name: AMD64, ceiling: 8 },
      { name: ARM64, ceiling: 4 },
    ],
    tls: false,
  });
  await rig.startBalancer();
  const { metrics } = rig.model();
  target = `${metrics.address}:${metrics.port}`;
  folder = await mkdtemp(join(tmpdir(), 'prometheus-'));
  await writeFile(join(folder, 'rules.yaml'), stringify({ groups: ruleGroups(POOL) }, { lineWidth: 0 }));
  await writeFile(
    join(folder, 'prometheus.yaml'),
    stringify({
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: ['rules.yaml'],
      scrape_configs: [
        {
          job_name: POOL.names.balancer,
          metrics_path: ENDPOINT.path,
          params: ENDPOINT.params,
          // As prometheus-operator labels the target of a ServiceMonitor.
          static_configs: [
            {
              targets: [target],
              labels: { namespace: POOL.names.namespace, service: POOL.names.balancer, pod: 'lb' },
            },
          ],
        },
      ],
    }),
  );
  const { prometheus: program } = await findPrometheus();
  const { SETPRIV: setpriv = 'setpriv' } = process.env;
  prometheus = spawn(
    setpriv,
    [
      ...['--pdeathsig', 'KILL', '--', program],
      `--config.file=${join(folder, 'prometheus.yaml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${rig.address}:${PROMETHEUS_PORT}`,
      '--log.level=error',
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  await vi.waitFor(async () => expect(await ask('up')).toHaveLength(1), WAIT);
  // It may have to be fetched.
}, 600_000);

afterAll(async () => {
  if (prometheus?.exitCode === null) {
    prometheus.kill('SIGKILL');
    await once(prometheus, 'exit');
  }
  await rig?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

async function ask(query: string): Promise<readonly Sample[]> {
  const url = new URL(`http://${rig.address}:${PROMETHEUS_PORT}/api/v1/query`);
  url.searchParams.set('query', query);
  const { status, data, error } = (await (await fetch(url)).json()) as {
    status: string;
    error?: string;
    data: { result: readonly Sample[] };
  };
  if (status !== 'success') throw new Error(`${query}: ${error}`);
  return data.result;
}

/** The recorded series that come from the load balancer alone. */
async function recordedOf(arch: string): Promise<Readonly<Record<string, number>>> {
  const found = await Promise.all(
    (['demand', 'waiting', 'busy', 'up', 'idle'] as const).map(async (name) => {
      const [sample] = await ask(`${RECORDED[name]}{namespace="buildkit",pool="main",arch="${arch}"}`);
      return [name, Number(sample?.value[1])] as const;
    }),
  );
  return Object.fromEntries(found);
}

async function page(query: string): Promise<string> {
  return await (await fetch(`http://${target}${ENDPOINT.path}${query}`)).text();
}

function queryOf(params: Readonly<Record<string, readonly string[]>>): string {
  return `?${Object.entries(params)
    .flatMap(([key, values]) => values.map((value) => `${key}=${value}`))
    .join('&')}`;
}

test('records the demand, the line and the builders as they are', async () => {
  await rig.startStandIns(AMD64, [0, 1, 2]);
  await rig.startStandIns(ARM64, [0]);
  await expect
    .poll(() => recordedOf(AMD64), WAIT)
    .toEqual({ demand: 0, waiting: 0, busy: 0, up: 0, idle: 0 });

  for (const [pool, ordinal] of [
    [AMD64, 0],
    [AMD64, 1],
    [ARM64, 0],
  ] as const) {
    rig.announce(pool, ordinal);
  }
  const builds = [0, 1, 2, 3].map((index) => rig.join(`${index}`, rig.door(AMD64)));
  await expect
    .poll(() => recordedOf(AMD64), WAIT)
    .toEqual({ demand: 4, waiting: 2, busy: 2, up: 2, idle: 0 });
  await expect
    .poll(() => recordedOf(ARM64), WAIT)
    .toEqual({ demand: 0, waiting: 0, busy: 0, up: 1, idle: 1 });

  for (const build of builds.filter(({ state }) => state === 'waiting')) build.leave();
  rig.announce(AMD64, 2);
  await expect
    .poll(() => recordedOf(AMD64), WAIT)
    .toEqual({ demand: 2, waiting: 0, busy: 2, up: 3, idle: 1 });
});

describe('what is scraped', () => {
  test('has every metric that rules and dashboard speak of', async () => {
    const names = new Set(
      (await page(queryOf(ENDPOINT.params)))
        .split('\n')
        .filter((line) => !line.startsWith('#'))
        .map((line) => line.split(/[{ ]/)[0]),
    );
    for (const name of BALANCER_METRICS) expect(names).toContain(name);
  });

  test('has no server line without a builder', async () => {
    const [scraped, whole] = await Promise.all([page(queryOf(ENDPOINT.params)), page('')]);
    expect(scraped).toContain('server="b0"');
    expect(scraped).not.toContain('server="b7"');
    expect(whole).toContain('server="b7"');
    expect(scraped.length).toBeLessThan(whole.length);
  });
});

test("every question of the dashboard is valid, and the load balancer's have answers", async () => {
  const questions = dashboard().panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  for (const question of questions) {
    const asked = question
      .replaceAll('$namespace', '.+')
      .replaceAll('$pool', 'main')
      .replaceAll('$arch', 'amd64|arm64');
    await ask(asked);
    if (
      /haproxy_|:(demand|waiting|builders_(up|idle|busy|max))/.test(question) &&
      !question.includes('wanted')
    ) {
      // There is none for a moment after a scrape that was not answered in time.
      await expect.poll(() => ask(asked), { ...WAIT, message: question }).not.toEqual([]);
    }
  }
});

test('rules and dashboard ask the load balancer for nothing that is not scraped', () => {
  if (POOL === undefined) throw new Error('no pool');
  const expressions = [
    ...ruleGroups(POOL).flatMap(({ rules }) => rules.map(({ expr }) => expr)),
    ...dashboard().panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
  ].join(' ');
  const asked = new Set([...expressions.matchAll(/haproxy_\w+/g)].map(([name]) => name));
  expect([...asked].sort()).toEqual([...BALANCER_METRICS].sort());
});
