import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hostArchitecture } from '../../../src/local/architecture.ts';
import { formatDuration, readArguments } from '../../../src/local/arguments.ts';
import { parseUp } from '../../../src/local/command.ts';
import { parseConnectionRecord } from '../../../src/local/connection-record.ts';
import { parseCounters } from '../../../src/local/counters.ts';
import { createPoolFolder, sweepDeadPools } from '../../../src/local/folder.ts';
import { countConnections } from '../../../src/local/process.ts';
import { findProgram, isAtLeast, PROGRAMS, remedyFor } from '../../../src/local/program-search.ts';
import { ensurePrograms } from '../../../src/local/programs.ts';
import { identify, isAlive } from '../../../src/process-identity.ts';

const UP = {
  min: '2',
  max: '8',
  port: '0',
  arch: [],
  idle: '20m',
  sync: '1s',
  install: true,
};

test('the options of `up`', () => {
  expect(parseUp(UP)).toEqual({
    archs: [hostArchitecture()],
    minBuilders: 2,
    maxBuilders: 8,
    port: 0,
    idleMs: 1_200_000,
    syncMs: 1000,
  });
});

test('every problem of `up` is told at once', () => {
  const given = { ...UP, min: 'two', max: '0', port: '70000', arch: ['x86'], idle: '20', sync: '0s' };
  expect(() => parseUp(given)).toThrow(
    [
      '--min: expected a whole number from 0 to 250, got `two`',
      '--max: expected a whole number from 1 to 250, got `0`',
      '--port: expected a whole number from 0 to 65535, got `70000`',
      '--arch: expected one of amd64, arm64, got `x86`',
      '--idle: expected a duration from 1s to 1h such as `30s`, got `20`',
      '--sync: expected a duration from 100ms to 1m such as `30s`, got `0s`',
    ].join('\n'),
  );
});

test('durations', () => {
  const reader = readArguments();
  const read = (text: string) => reader.readDuration('--idle', text, 0, 1e12);
  expect(['250ms', '1.5s', '20m', '2h'].map(read)).toEqual([250, 1500, 1_200_000, 7_200_000]);
  expect([250, 1500, 1_200_000, 7_200_000].map(formatDuration)).toEqual(['250ms', '1500ms', '20m', '2h']);
});

test('a record of the load balancer', () => {
  const line =
    '{"frontend":"amd64","server":"builder-1","place":"9F0A3C51","accepted_ms":1000,"queue_ms":20,"connect_ms":1,"total_ms":500,"termination":"--","received_bytes":39,"sent_bytes":18}';
  expect(parseConnectionRecord(line)).toEqual({
    frontend: 'amd64',
    server: 'builder-1',
    place: 0x9f0a3c51,
    acceptedAtMs: 1000,
    assignedAtMs: 1020,
    grantedAtMs: 1021,
    releasedAtMs: 1500,
    termination: '--',
    receivedBytes: 39,
    sentBytes: 18,
  });
});

test('a client that left the line has no builder, and one without a token no place', () => {
  const line =
    '{"frontend":"amd64","server":"<NOSRV>","place":"","accepted_ms":1000,"queue_ms":20,"connect_ms":-1,"total_ms":500,"termination":"CQ","received_bytes":39,"sent_bytes":0}';
  expect(parseConnectionRecord(line)).toMatchObject({ server: null, place: null, grantedAtMs: null });
});

test.each(['Server builders_amd64/builder-0 is UP', '{"frontend":', '{"frontend":"amd64"}', ''])(
  'no record: %s',
  (line) => {
    expect(parseConnectionRecord(line)).toBeNull();
  },
);

test('the counters of a pool', () => {
  const table = [
    '# pxname,svname,qcur,scur,stot,status,',
    'amd64,FRONTEND,,5,17,OPEN,',
    'builders_amd64,builder-0,0,1,9,UP,',
    'builders_amd64,builder-1,0,0,0,MAINT (resolution),',
    'builders_amd64,placeholder,0,1,1,no check,',
    'builders_amd64,BACKEND,4,6,18,UP,',
    '',
  ].join('\n');
  expect(parseCounters(table, 'amd64', 'builders_amd64')).toEqual({
    sessions: 5,
    totalSessions: 17,
    queued: 4,
    servers: new Map([
      ['builder-0', { up: true, sessions: 1 }],
      ['builder-1', { up: false, sessions: 0 }],
      ['placeholder', { up: true, sessions: 1 }],
    ]),
  });
  expect(parseCounters(table, 'arm64', 'builders_arm64')).toBeNull();
  expect(parseCounters('', 'amd64', 'builders_amd64')).toBeNull();
});

test('a process is told from a later one with the same number', () => {
  const own = identify(process.pid);
  expect(own).not.toBeNull();
  expect(own && isAlive(own)).toBe(true);
  expect(isAlive({ pid: process.pid, startedAt: '1' })).toBe(false);
  expect(identify(2 ** 22 + 1)).toBeUndefined();
});

test('connections to an address are counted from the accepting side', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.77.255.251', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  expect(await countConnections('127.77.255.251', port)).toBe(0);
  const { connect } = await import('node:net');
  const client = connect(port, '127.77.255.251');
  const [accepted] = await Promise.all([
    new Promise<import('node:net').Socket>((resolve) => server.once('connection', resolve)),
    new Promise((resolve) => client.once('connect', resolve)),
  ]);
  expect(await countConnections('127.77.255.251', port)).toBe(1);
  expect(await countConnections('127.77.255.252', port)).toBe(0);
  accepted.destroy();
  client.destroy();
  server.close();
});

test('what a dead pool left is removed, what a living one has is not', async () => {
  const base = await mkdtemp(join(tmpdir(), 'sweep-'));
  try {
    const living = await createPoolFolder(base);
    const dead = await createPoolFolder(base);
    const { writeFile } = await import('node:fs/promises');
    await writeFile(join(dead.path, 'owner.json'), JSON.stringify({ pid: process.pid, startedAt: '1' }));
    expect(await sweepDeadPools(base)).toEqual([dead.path]);
    expect(await sweepDeadPools(base)).toEqual([]);
    await living.remove();
  } finally {
    await rm(base, { recursive: true });
  }
});

test('version requirements', () => {
  expect(isAtLeast('HAProxy version 2.6.12-1+deb12u4 2026/10/17', [2, 6])).toBe(true);
  expect(isAtLeast('HAProxy version 2.4.1', [2, 6])).toBe(false);
  expect(isAtLeast('github.com/docker/buildx v0.36.1 abc', [0, 16])).toBe(true);
  expect(isAtLeast('github.com/docker/buildx v0.9.1 abc', [0, 16])).toBe(false);
  expect(isAtLeast('unknown', [0, 16])).toBe(false);
});

test.each(PROGRAMS)('a missing %s is named together with what gets it', (name) => {
  expect(remedyFor(name)).toMatch(/^(run|install|see) /);
});

test('an explicit path that leads nowhere is a problem, not a reason to look elsewhere', async () => {
  process.env['BUILDKIT_POOL_HAPROXY'] = '/nowhere/haproxy';
  try {
    const problem =
      'BUILDKIT_POOL_HAPROXY is `/nowhere/haproxy`: expected the absolute path of an executable file';
    await expect(findProgram('haproxy')).rejects.toThrow(problem);
    await expect(ensurePrograms(['haproxy'], { install: false, log: () => undefined })).rejects.toThrow(
      problem,
    );
  } finally {
    delete process.env['BUILDKIT_POOL_HAPROXY'];
  }
});
