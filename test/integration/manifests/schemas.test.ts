import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { ensurePrograms, type Programs } from '../../../src/local/programs.ts';
import { EXAMPLES, exampleNamed, type Tree } from '../../support/examples.ts';
import { SCHEMA_FILES, writeSchemas } from '../../support/schemas.ts';

const run = promisify(execFile);
const MAX_BUFFER = 1 << 26;

let programs: Programs<'kustomize' | 'kubeconform'>;
let folder = '';

beforeAll(async () => {
  programs = await ensurePrograms(['kustomize', 'kubeconform'], {
    install: true,
    log: (line) => console.error(line),
  });
  folder = await mkdtemp(join(tmpdir(), 'schemas-'));
  await writeSchemas(folder);
}, 1_800_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

async function build(example: string): Promise<string> {
  const { stdout } = await run(programs.kustomize, ['build', example], { maxBuffer: MAX_BUFFER });
  return stdout;
}

interface Verdict {
  readonly status: 'valid' | 'refused';
  readonly output: string;
}

async function validate(yaml: string): Promise<Verdict> {
  const file = join(folder, `objects-${crypto.randomUUID()}.yaml`);
  await writeFile(file, yaml);
  const args = ['-strict', '-summary', '-schema-location', join(folder, SCHEMA_FILES), file];
  return run(programs.kubeconform, args, { maxBuffer: MAX_BUFFER }).then(
    ({ stdout }) => ({ status: 'valid', output: stdout }),
    (error: Tree) => ({ status: 'refused', output: `${error.stdout}${error.stderr}` }),
  );
}

describe.each(EXAMPLES)('$name', ({ folder: example }) => {
  test('kustomize builds it, and every object is valid for Kubernetes and the CRDs', async () => {
    const yaml = await build(example);
    const objects = parseAllDocuments(yaml);
    const files = (await readdir(example)).filter(
      (name) => !['pool.yaml', 'kustomization.yaml'].includes(name),
    );
    expect(objects).toHaveLength(files.length);
    const { status, output } = await validate(yaml);
    expect({ status, output }).toEqual({
      status: 'valid',
      output: expect.stringContaining(`Valid: ${files.length}, Invalid: 0, Errors: 0, Skipped: 0`),
    });
  });
});

describe('what is not valid is refused', () => {
  test.each([
    ['StatefulSet', 'an unknown key', (spec: Tree) => Object.assign(spec, { replica: 1 })],
    [
      'StatefulSet',
      'a string for a number',
      (spec: Tree) => Object.assign(spec, { revisionHistoryLimit: '2' }),
    ],
    [
      'Deployment',
      'an unknown key deep inside',
      (spec: Tree) => Object.assign(spec.template.spec.containers[0], { volumeMount: [] }),
    ],
    [
      'ScaledObject',
      'an unknown behaviour',
      (spec: Tree) => Object.assign(spec.fallback, { behavior: 'never' }),
    ],
    ['NodePool', 'a weight above 100', (spec: Tree) => Object.assign(spec, { weight: 101 })],
    [
      'NodePool',
      'an unknown reason',
      (spec: Tree) => Object.assign(spec.disruption.budgets[0], { reasons: ['Bored'] }),
    ],
    [
      'EC2NodeClass',
      'an unknown policy',
      (spec: Tree) => Object.assign(spec, { instanceStorePolicy: 'RAID1' }),
    ],
    ['Certificate', 'an unknown usage', (spec: Tree) => Object.assign(spec, { usages: ['server-auth'] })],
    ['PrometheusRule', 'a group without a name', (spec: Tree) => delete spec.groups[0].name],
    ['ServiceMonitor', 'an unknown key', (spec: Tree) => Object.assign(spec.endpoints[0], { every: '15s' })],
    [
      'NetworkPolicy',
      'a port that is no port',
      (spec: Tree) => Object.assign(spec.ingress[0].ports[0], { port: {} }),
    ],
    ['Service', 'an unknown key', (spec: Tree) => Object.assign(spec, { clusterIp: 'None' })],
  ])('%s: %s', async (kind, _, damage) => {
    const documents = parseAllDocuments(await build(exampleNamed('eks-karpenter').folder)).map(
      (document) => document.toJS() as Tree,
    );
    const object = documents.find((one) => one.kind === kind);
    expect((await validate(stringify(object))).status).toBe('valid');
    damage(object.spec);
    const { status, output } = await validate(stringify(object));
    expect([status, output]).toEqual(['refused', expect.stringContaining(`${kind} `)]);
  });
});
