import { describe, expect, test } from 'vitest';
import { type BalancerModel, backendName, LOG_FORMAT, renderBalancer } from '../../../src/pool/haproxy.ts';
import { priorityRules } from '../../../src/pool/priority.ts';

const HOUR_MS = 3_600_000;

function pool(name: string, port: number, plugPort: number): BalancerModel['pools'][number] {
  return {
    name,
    bind: { address: '0.0.0.0', port },
    bindOptions: ['ssl', 'crt', '/tls/tls.pem'],
    serverOptions: ['ssl', 'verify', 'required'],
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
  pools: [pool('amd64', 1234, 8406), pool('arm64', 1235, 8407)],
};

const SECTIONS = renderBalancer(MODEL)
  .split(/^(?=\S)/m)
  .filter((text) => !text.startsWith('#'));

function sectionOf(head: string): readonly string[] {
  const found = SECTIONS.find((text) => text.startsWith(`${head}\n`));
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

  test('writes the options of its sockets', () => {
    expect(sectionOf(`frontend ${name}`)[0]).toMatch(/^bind 0\.0\.0\.0:123\d ssl crt \/tls\/tls\.pem$/);
    expect(backend).toContain(`server builder-0 buildkitd-${name}-0.builders.svc:1234 ssl verify required`);
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

test('an administration socket is opened only when the model has one', () => {
  expect(sectionOf('global').some((line) => line.startsWith('stats socket'))).toBe(false);
  expect(renderBalancer({ ...MODEL, adminSocketPath: '/run/haproxy.sock' })).toContain(
    'stats socket /run/haproxy.sock mode 600 level admin',
  );
});
