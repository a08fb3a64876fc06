import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type InputName, InputProblems, readDraft } from '../../../src/action/inputs.ts';
import { Certificates } from '../../support/certificate-authority.ts';

const workspace = mkdtempSync(join(tmpdir(), 'workspace-'));
const certificates = new Certificates();
const authority = certificates.authority();
const client = authority.issue('DNS:client');
writeFileSync(join(workspace, 'ca.pem'), authority.pem);
afterAll(() => {
  rmSync(workspace, { recursive: true });
  certificates[Symbol.dispose]();
});

type Given = Partial<Record<InputName, string>>;
const endpoint = 'tcp://pool-{arch}:1234';
const draft = (given: Given, env: NodeJS.ProcessEnv = {}) =>
  readDraft({
    read: (name) => ({ run: 'x', ...given })[name as InputName] ?? '',
    readWhole: (name) => ({ run: 'x', ...given })[name as InputName] ?? '',
    runnerArch: 'X64',
    workspace,
    env,
  });
const problemsOf = (given: Given, env: NodeJS.ProcessEnv = {}): readonly string[] => {
  try {
    draft(given, env);
  } catch (error) {
    if (error instanceof InputProblems) return error.problems;
    throw error;
  }
  return [];
};

describe('which pool', () => {
  test('a document, an endpoint, both, or BUILDKIT_HOST', () => {
    const host = { BUILDKIT_HOST: 'tcp://host:1' };
    const of = (given: Given, env: NodeJS.ProcessEnv = {}) => draft(given, env).pool;
    expect(of({ endpoint }, host)).toEqual({
      kind: 'endpoint',
      endpoint: { text: endpoint, from: 'endpoint' },
    });
    expect(of({}, host)).toEqual({
      kind: 'endpoint',
      endpoint: { text: 'tcp://host:1', from: 'BUILDKIT_HOST' },
    });
    expect(of({ pool: 'http://pool:8080' }, host)).toEqual({
      kind: 'document',
      url: 'http://pool:8080/pool.json',
      endpoint: undefined,
    });
    expect(of({ pool: 'https://pool/x/pool.json', endpoint })).toMatchObject({
      url: 'https://pool/x/pool.json',
      endpoint: { text: endpoint },
    });
  });

  test.each<[string, Given, string]>([
    ['nothing', {}, 'or in `pool` the URL of its document'],
    ['no URL', { pool: 'pool:8080' }, '`pool` is "pool:8080": write the URL of the pool document'],
    ['a file', { pool: 'file:///pool.json' }, 'write the URL of the pool document'],
    ['a password', { pool: 'http://me:secret@pool/pool.json' }, 'would end up in logs'],
    [
      'no platform',
      { endpoint, platforms: 'linux/amd64,linux/' },
      '`platforms` holds "linux/": write platforms as os/architecture',
    ],
    [
      'a platform nobody builds',
      { endpoint, platforms: 'windows/amd64' },
      '`platforms` holds "windows/amd64", which the endpoint has no builders for',
    ],
    ['an endless dial', { endpoint, 'connect-timeout': '1h' }, 'choose between 1s and 10m'],
  ])('%s', (_, given, remedy) => {
    // A script has no platforms of its own.
    const work: Given = given.platforms === undefined ? {} : { run: '', context: '.' };
    const found = problemsOf({ ...given, ...work });
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(remedy);
    expect(found[0]).not.toContain('secret@');
  });
});

describe('other names of inputs', () => {
  test('stand for what they stand for', () => {
    expect(draft({ 'buildkit-address': 'host:99', run: '', command: 'make' })).toMatchObject({
      pool: { endpoint: { text: 'tcp://host:99', from: 'endpoint' } },
      work: { kind: 'run', script: 'make', platforms: [] },
    });
    expect(draft({ 'buildkit-address': endpoint, run: '', context: '.', image: 'a:1' }).work).toMatchObject({
      tags: ['a:1'],
    });
    expect(draft({ endpoint, run: '', command: 'make', image: 'a:1' }).work).toEqual({
      kind: 'run',
      script: 'make',
      platforms: [],
    });
  });

  test.each<[Given, number]>([
    [{ 'connect-attempts': '480', 'connect-delay': '15' }, 7_200_000],
    [{ 'connect-attempts': '10' }, 150_000],
    [{ 'connect-delay': '2s' }, 960_000],
    [{ 'connect-attempts': '4', 'connect-delay': '0.5' }, 2_000],
  ])('%o wait as long as they did', (given, ms) => {
    expect(draft({ endpoint, ...given }).queueTimeoutMs).toBe(ms);
  });

  test.each<[string, Given, string]>([
    [
      'differ',
      { endpoint, 'buildkit-address': 'x:1' },
      '`endpoint` and `buildkit-address` are both given, and differ',
    ],
    ['two scripts', { endpoint, run: 'a', command: 'b' }, '`run` and `command` are both given'],
    [
      'two deadlines',
      { endpoint, 'queue-timeout': '1h', 'connect-attempts': '3' },
      'both say how long to wait',
    ],
    ['no number', { endpoint, 'connect-attempts': 'many' }, '`connect-attempts` is "many"'],
    ['no delay', { endpoint, 'connect-delay': '0' }, '`connect-delay` is "0"'],
    [
      'too long',
      { endpoint, 'connect-attempts': '100000', 'connect-delay': '60' },
      'choose between 1s and 168h',
    ],
  ])('%s', (_, given, remedy) => {
    expect(problemsOf(given)).toEqual([expect.stringContaining(remedy) as string]);
  });
});

describe('TLS', () => {
  const pair = { cert: client.cert.trim(), key: client.key.trim() };

  test('contents, files and variables are one; without any there is none', () => {
    expect(draft({ endpoint }).tls).toBeUndefined();
    expect(draft({ endpoint, ca: 'ca.pem', ...pair }).tls).toEqual({ ca: authority.pem, ...pair });
    expect(draft({ endpoint, 'server-name': 'pool.example' }).tls).toEqual({ serverName: 'pool.example' });
    // As JSON leaves a secret behind.
    expect(draft({ endpoint, ...pair, key: pair.key.replaceAll('\n', '\\n') }).tls).toEqual(pair);
    const env = {
      BUILDER_NODE_0_AUTH_TLS_CACERT: authority.pem,
      BUILDER_NODE_0_AUTH_TLS_CERT: client.cert,
      BUILDER_NODE_0_AUTH_TLS_KEY: client.key,
    };
    expect(draft({ endpoint }, env).tls).toEqual({ ca: authority.pem.trim(), ...pair });
    expect(
      draft({ endpoint, ca: 'ca.pem' }, { ...env, BUILDER_NODE_0_AUTH_TLS_CACERT: 'no file' }).tls?.ca,
    ).toBe(authority.pem);
  });

  const other = authority.issue('DNS:other');
  test.each<[string, Given, readonly string[]]>([
    ['half a pair', { cert: client.cert }, ['`key` is not given, but `cert` is']],
    ['the other half', { key: client.key }, ['`cert` is not given, but `key` is']],
    [
      'no pair',
      { cert: client.cert, key: other.key },
      ['`key` is not the key of the first certificate in `cert`'],
    ],
    [
      'mixed up',
      { cert: client.key, key: client.cert },
      ['`cert` holds no certificate', '`key` holds no private key'],
    ],
    [
      'broken',
      { ca: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' },
      ['`ca` holds a certificate that can’t be read'],
    ],
    [
      'encrypted',
      { ...pair, key: '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----' },
      ['`key` is encrypted with a password'],
    ],
    ['no file', { ca: 'none.pem' }, ['`ca` is neither PEM nor the path of a file that can be read (ENOENT)']],
    ['no host name', { 'server-name': 'pool:443' }, ['`server-name` is no host name']],
  ])('%s', (_, given, remedies) => {
    const found = problemsOf({ endpoint, ...given });
    expect(found).toHaveLength(remedies.length);
    for (const [index, remedy] of remedies.entries()) expect(found[index]).toContain(remedy);
    expect(found.join()).not.toContain(client.key.split('\n')[1]);
  });
});
