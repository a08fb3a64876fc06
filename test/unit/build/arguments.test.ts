import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readDraft } from '../../../src/action/inputs.ts';
import { type BakeDefinition, parseDefinition } from '../../../src/build/bake-definition.ts';
import { type WorkCommand, workCommand } from '../../../src/build/work-command.ts';
import { BAKE_ROWS } from './peer-bake-table.ts';
import { BUILD_ROWS, JOB_ENV, type PeerRow, WORKSPACE_FILES } from './peer-build-table.ts';

const workspace = mkdtempSync(join(tmpdir(), 'workspace-'));
beforeAll(() => {
  for (const name of [...WORKSPACE_FILES, 'a.hcl', 'b.hcl', 'c.json']) {
    mkdirSync(join(workspace, dirname(name)), { recursive: true });
    writeFileSync(join(workspace, name), '');
  }
});
afterAll(() => rmSync(workspace, { recursive: true }));

function command(
  row: Pick<PeerRow, 'inputs' | 'env' | 'event'>,
  definition?: BakeDefinition,
  version?: string,
): WorkCommand {
  const event = join(workspace, 'event.json');
  writeFileSync(event, JSON.stringify(row.event ?? {}));
  const whole = (name: string) => row.inputs[name] ?? '';
  const { work } = readDraft({
    read: (name) => (name === 'endpoint' ? 'tcp://pool:1234' : whole(name).trim()),
    readWhole: whole,
    env: { ...JOB_ENV, GITHUB_EVENT_PATH: event, ...row.env },
    runnerArch: 'X64',
    workspace,
  });
  if (work.kind === 'run' || work.kind === 'setup') throw new Error('not a build');
  const files = { imageId: '/iid', metadata: '/meta' };
  return workCommand(work, { builder: 'pool-1', files, definition, version });
}

/** Flags with their values, in the order of their names, then what stands alone: subcommand, context, targets. */
function comparable(args: readonly string[]): readonly string[] {
  const flags: string[] = [];
  const alone: string[] = [];
  const switches = ['--load', '--push', '--pull', '--no-cache'];
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? '';
    if (!arg.startsWith('--')) alone.push(arg);
    else if (switches.includes(arg)) flags.push(arg);
    else flags.push(`${arg} ${args[++at]}`);
  }
  const name = (flag: string) => flag.split(' ')[0] ?? '';
  return [...flags.sort((a, b) => name(a).localeCompare(name(b))), ...alone];
}

/** With the values of secrets in the place of their variables, and without what every command has. */
function told({ args, env }: WorkCommand): readonly string[] {
  const text = args.map((arg) =>
    arg.replace(/env=(BUILDKIT_POOL_SECRET_\d+)$/, (_, name: string) => `value=${env[name]}`),
  );
  for (const flag of ['--builder', '--metadata-file']) {
    const at = text.indexOf(flag);
    expect(text[at + 1]).toBe(flag === '--builder' ? 'pool-1' : '/meta');
    text.splice(at, 2);
  }
  return comparable(text);
}

describe('a build has the arguments that docker/build-push-action gives it', () => {
  test.each(BUILD_ROWS.map((row) => [row.rule, row] as const))('%s', (_, row) => {
    expect(told(command(row))).toEqual(comparable(row.expected));
  });
});

describe('a bake has the arguments that docker/bake-action gives it', () => {
  test.each(BAKE_ROWS.map((row) => [row.rule, row] as const))('%s', (_, row) => {
    const made = command(row, row.definition ?? { target: { app: {} } });
    expect(told(made)).toEqual(comparable(row.expected));
    if (row.folder !== undefined) expect(made.folder).toBe(row.folder);
  });

  test('older buildx know neither --allow nor --var', () => {
    const source = { source: '.' };
    expect(command({ inputs: source }, undefined, '0.16.0').args).not.toContain('--allow');
    expect(command({ inputs: { ...source, allow: 'network.host' } }, undefined, '0.17.1').args).toEqual(
      expect.arrayContaining(['--allow', 'network.host']),
    );
    expect(command({ inputs: source }, undefined, '0.17.1').args).not.toContain('fs=*');
    expect(command({ inputs: source }, undefined, '0.18.0').args).toContain('fs=*');
    expect(() => command({ inputs: { ...source, allow: 'network.host' } }, undefined, '0.16.2')).toThrow(
      'needs buildx 0.17 or newer for `allow` in bake mode, and this is 0.16.2',
    );
    expect(() => command({ inputs: { ...source, vars: 'A=1' } }, undefined, '0.30.1')).toThrow(
      'needs buildx 0.31 or newer for `vars`, and this is 0.30.1',
    );
    expect(command({ inputs: { ...source, vars: 'A=1' } }, undefined, '0.0.0+unknown').args).toContain('A=1');
  });

  test('the token that reads a remote definition is in the environment alone; one of the environment comes first', () => {
    const inputs = { targets: 'app', 'github-token': 'ghs_1' };
    const made = command({ inputs });
    expect(made.env).toMatchObject({ BUILDX_BAKE_GIT_AUTH_TOKEN: 'ghs_1' });
    expect(made.args.join(' ')).not.toContain('ghs_1');
    expect(command({ inputs, env: { BUILDX_BAKE_GIT_AUTH_TOKEN: 'own' } }).env).toMatchObject({
      BUILDX_BAKE_GIT_AUTH_TOKEN: 'own',
    });
  });
});

describe('a secret', () => {
  test('has its value in the environment of buildx alone', () => {
    const made = command({ inputs: { context: '.', secrets: 'A=hidden-1\n"B=hidden\n2"' } });
    expect(made.args).toEqual(
      expect.arrayContaining([
        '--secret',
        'id=A,env=BUILDKIT_POOL_SECRET_0',
        'id=B,env=BUILDKIT_POOL_SECRET_1',
      ]),
    );
    expect(made.env).toMatchObject({
      BUILDKIT_POOL_SECRET_0: 'hidden-1',
      BUILDKIT_POOL_SECRET_1: 'hidden\n2',
    });
    expect(made.args.join(' ')).not.toContain('hidden');
  });

  test('may have commas and quotes in its id and its path', () => {
    const made = command({ inputs: { context: '.', secrets: 'a,b"c=x', 'secret-files': 'F=a,b.txt' } });
    expect(made.args).toEqual(
      expect.arrayContaining(['"id=a,b""c",env=BUILDKIT_POOL_SECRET_0', 'id=F,"src=a,b.txt"']),
    );
  });
});

describe('a bake definition', () => {
  test('may be of an older buildx, whose entries are text', () => {
    const definition = parseDefinition(
      JSON.stringify({
        target: {
          app: { attest: ['type=sbom'] },
          own: { attest: ['mode=max,type=provenance'] },
        },
      }),
    );
    expect(command({ inputs: { source: '.' } }, definition).args.filter((arg) => /attest/.test(arg))).toEqual(
      [expect.stringMatching(/^app\.attest=type=provenance,mode=max/)],
    );
  });

  test.each(['', 'null', '[]', '{"target":1}', '{}', 'not json'])('%j is none', (text) => {
    expect(() => parseDefinition(text)).toThrow('printed no definition');
  });
});
