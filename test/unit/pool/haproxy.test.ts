import { describe, expect, test } from 'vitest';
import {
  type BalancerModel,
  backendName,
  GATHERING_MS,
  LOG_FORMAT,
  renderBalancer,
} from '../../../src/pool/haproxy.ts';
import { priorityRules } from '../../../src/pool/priority.ts';
import { clusterModel, hostOf, serverNameOf } from '../../support/balancer-model.ts';

const HOUR_MS = 3_600_000;

function pool(name: string, port: number, plugPort: number): BalancerModel['pools'][number] {
  return {
    name,
    bind: { address: '0.0.0.0', port },
    fedBy: 'network',
    places: 'token',
    headStarts: [],
    builderTls: null,
    slotPort: null,
    plug: { address: '127.0.0.1', port: plugPort },
    servers: [0, 1, 2].map((n) => ({
      name: `builder-${n}`,
      host: `buildkitd-${name}-${n}.builders.svc`,
      port: 1234,
    })),
  };
}

const MODEL: BalancerModel = {
  threads: 2,
  maxConnections: 4000,
  hardStopMs: null,
  logTarget: 'stdout format raw local0',
  adminSocketPath: null,
  metrics: { address: '0.0.0.0', port: 8404 },
  placeholder: { address: '127.0.0.1', port: 8405 },
  nameServers: [{ name: 'dns', address: '10.0.0.10', port: 53 }],
  nameGate: { address: '127.0.0.1', port: 8410 },
  resolution: { intervalMs: 1000, holdGoneMs: 2000, holdOutageMs: 12 * HOUR_MS },
  timeouts: { connectMs: 5000, queueMs: 6 * HOUR_MS, clientMs: 24 * HOUR_MS, serverMs: 24 * HOUR_MS },
  keepalive: { idleSeconds: 30, intervalSeconds: 10, probes: 3 },
  checkIntervalMs: 1000,
  gatheringMs: GATHERING_MS,
  entrances: [],
  earlySettingsPath: null,
  pools: [pool('amd64', 1234, 8406), pool('arm64', 1235, 8407)],
};

function sectionsOf(text: string): readonly string[] {
  return text.split(/^(?=\S)/m).filter((part) => !part.startsWith('#'));
}

const SECTIONS = sectionsOf(renderBalancer(MODEL));

function sectionOf(head: string, sections = SECTIONS): readonly string[] {
  const found = sections.find((text) => text.startsWith(`${head}\n`));
  return (found ?? '')
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

describe.each(MODEL.pools)('the pool $name', ({ name, plug }) => {
  const backend = sectionOf(`backend ${backendName(name)}`);

  test('has a server that is always there, after all builders', () => {
    const servers = backend.filter((line) => line.startsWith('server '));
    expect(servers).toHaveLength(4);
    expect(servers.at(-1)).toBe('server placeholder 127.0.0.1:8405 no-check init-addr last send-proxy');
  });

  test('keeps that server taken by a connection of HAProxy itself', () => {
    expect(sectionOf(`ring plug_${name}`)).toContain(`server plug_${name} 127.0.0.1:${plug.port}`);
    expect(sectionOf(`frontend plug_${name}`)).toContain(`bind 127.0.0.1:${plug.port}`);
    expect(sectionOf(`frontend plug_${name}`)).toContain(`default_backend ${backendName(name)}`);
    expect(backend).toContain(`use-server placeholder if { fe_name plug_${name} }`);
  });

  test('serves one build a builder, lowest ordinal first', () => {
    expect(backend).toContain('balance first');
    expect(backend.find((line) => line.startsWith('default-server'))).toContain(' maxconn 1 ');
  });

  test('orders the line by the places of its clients', () => {
    const frontend = sectionOf(`frontend ${name}`);
    for (const rule of priorityRules(backendName(name))) {
      expect(frontend).toContain(rule);
    }
  });
});

test('only the plugs are held by the placeholder', () => {
  expect(sectionOf('frontend placeholder')).toContain(
    'tcp-request session reject if !{ dst_port 8406 8407 }',
  );
});

test('no frontend has the name of a backend, which HAProxy refuses since 3.3', () => {
  const names = (kind: string) =>
    SECTIONS.filter((text) => text.startsWith(`${kind} `)).map((text) => text.split(/\s/)[1]);
  const frontends = new Set(names('frontend'));
  expect(names('backend').filter((name) => frontends.has(name))).toEqual([]);
});

test('only builds are logged', () => {
  const unlogged = ['frontend placeholder', 'frontend metrics', 'frontend plug_amd64', 'frontend plug_arm64'];
  for (const head of unlogged) {
    expect(sectionOf(head)).toContain('no log');
  }
  expect(sectionOf('frontend amd64')).toContain(`log-format '${LOG_FORMAT}'`);
});

test('the queue timeout is the one of the model', () => {
  expect(sectionOf('defaults')).toContain(`timeout queue ${6 * HOUR_MS}ms`);
});

test('a name that is gone is forgotten in seconds, one that cannot be asked for is kept for hours', () => {
  const holds = sectionOf('resolvers names').filter((line) => line.startsWith('hold '));
  expect(holds).toEqual([
    'hold valid 1000ms',
    'hold nx 2000ms',
    'hold obsolete 0s',
    `hold timeout ${12 * HOUR_MS}ms`,
    `hold refused ${12 * HOUR_MS}ms`,
    `hold other ${12 * HOUR_MS}ms`,
  ]);
});

test('an administration socket is opened only when the model has one', () => {
  expect(sectionOf('global').some((line) => line.startsWith('stats socket'))).toBe(false);
  expect(renderBalancer({ ...MODEL, adminSocketPath: '/run/haproxy.sock' })).toContain(
    'stats socket /run/haproxy.sock mode 600 level admin',
  );
});

describe('a pool behind entrances that end TLS', () => {
  const model = clusterModel({
    address: '127.0.0.1',
    base: 7000,
    pools: [
      { name: 'amd64', ceiling: 16 },
      { name: 'arm64', ceiling: 8 },
    ],
    tls: { folder: '/tls' },
    nameServer: { address: '10.0.0.10', port: 53 },
    slotPort: 1235,
    builderPort: 1234,
    adminSocketPath: null,
    earlySettingsPath: '/etc/haproxy/early-settings.lua',
  });
  const sections = sectionsOf(renderBalancer(model));

  test('asks every client for a certificate and agrees on HTTP/2', () => {
    for (const { name } of model.entrances) {
      const [bind = ''] = sectionOf(`frontend ${name}`, sections);
      expect(bind).toContain(
        'ssl crt /tls/balancer/tls.crt ca-file /tls/balancer/ca.crt verify required alpn h2',
      );
      expect(bind.endsWith('strict-sni')).toBe(name === 'shared');
    }
  });

  test('is told apart by name on the shared port, which refuses other names', () => {
    const shared = sectionOf('frontend shared', sections);
    expect(shared).toContain(
      `tcp-request content reject unless { ssl_fc_sni -i ${serverNameOf('amd64')} ${serverNameOf('arm64')} }`,
    );
    expect(shared).toContain(`use_backend to_arm64 if { ssl_fc_sni -i ${serverNameOf('arm64')} }`);
  });

  test('counts in one frontend of its own what comes through any entrance', () => {
    for (const { name, bind, headStarts } of model.pools) {
      const lines = sectionOf(`frontend ${name}`, sections);
      expect(lines[0]).toBe(`bind 127.0.0.1:${bind.port} accept-proxy`);
      expect(lines[1]).toBe(`bind 127.0.0.1:${headStarts[0]?.bind.port} accept-proxy id 101`);
      expect(sectionOf(`backend to_${name}`, sections)).toEqual([
        `timeout tunnel ${model.timeouts.clientMs}ms`,
        `server to_${name} 127.0.0.1:${bind.port} send-proxy-v2`,
      ]);
    }
  });

  test('takes so many clients and no more, and has no patience with those who say nothing', () => {
    for (const { name, maxConnections } of model.entrances) {
      const lines = sectionOf(`frontend ${name}`, sections);
      expect(lines).toContain(`maxconn ${maxConnections}`);
      expect(lines).toContain('timeout client 10000ms');
      expect(lines).toContain('tcp-request content reject unless { req.len gt 0 }');
    }
    // What stands behind entrances, and health, must never wait for them.
    for (const name of ['amd64', 'plug_amd64', 'placeholder', 'name_gate']) {
      expect(sectionOf(`frontend ${name}`, sections).join()).not.toContain('maxconn');
    }
  });

  test('gives the clients of a head start their own way, before the plain one', () => {
    const ways = sectionOf('frontend only_amd64', sections).filter((line) => /backend/.test(line));
    expect(ways).toEqual([
      "use_backend to_amd64_release if { ssl_c_s_dn(CN) -m str 'release-runner' 'hotfix' }",
      'default_backend to_amd64',
    ]);
  });

  test('verifies for each line a name of its own: another pool\u2019s certificate is refused', () => {
    const servers = sectionOf(`backend ${backendName('arm64')}`, sections).filter((line) =>
      /^server b\d/.test(line),
    );
    expect(servers).toHaveLength(8);
    for (const [ordinal, line] of servers.entries()) {
      const host = hostOf('arm64', ordinal);
      expect(line).toBe(`server b${ordinal} ${host}:1234 verifyhost ${host}`);
    }
    expect(sectionOf(`backend ${backendName('arm64')}`, sections)).toContainEqual(
      expect.stringMatching(/^default-server ssl verify required ca-file \S+ crt \S+ alpn h2 /),
    );
    expect(
      sectionOf(`backend ${backendName('arm64')}`, sections).filter((line) => / placeholder /.test(line)),
    ).toContainEqual(expect.stringContaining(' no-check no-ssl '));
  });

  test('greets early on the ports for plain clients only', () => {
    const early = model.entrances.filter(({ name }) =>
      sectionOf(`frontend ${name}`, sections).includes('tcp-request content lua.early_settings'),
    );
    expect(early.map(({ name }) => name)).toEqual(['early_amd64', 'early_arm64']);
  });

  test('asks the gate of each builder whether it is free', () => {
    const backend = sectionOf(`backend ${backendName('amd64')}`, sections);
    expect(backend).toContain('option httpchk GET /slot');
    expect(backend).toContain('default-server check port 1235 no-check-ssl rise 1 fall 1 downinter 500ms');
  });
});

test('with pass-through nothing is decrypted, and the name in the greeting chooses the pool', () => {
  const [amd64] = MODEL.pools;
  const sections = sectionsOf(
    renderBalancer({
      ...MODEL,
      entrances: [
        {
          name: 'passed',
          bind: { address: '0.0.0.0', port: 443 },
          maxConnections: 1024,
          tls: { kind: 'passed' },
          earlySettings: false,
          routes: [{ serverName: 'amd64.pool.example', pool: 'amd64' }],
          otherwise: null,
        },
      ],
      pools: amd64 === undefined ? [] : [{ ...amd64, fedBy: 'entrances', places: 'arrival' }],
    }),
  );
  const lines = sectionOf('frontend passed', sections);
  expect(lines[0]).toBe('bind 0.0.0.0:443');
  expect(lines).toContain('use_backend to_amd64 if { req.ssl_sni -i amd64.pool.example }');
  expect(sectionOf('frontend amd64', sections).join()).not.toContain('req.payload');
});
