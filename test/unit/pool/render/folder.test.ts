import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compareFolder, readObjects, writeFolder } from '../../../../src/pool/render/folder.ts';
import { renderPool } from '../../../../src/pool/render/render.ts';
import { exampleNamed, sizeText } from '../../../support/examples.ts';

const files = renderPool(sizeText(exampleNamed('kind').poolYaml));
let folder = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'render-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

test('a folder is brought up to date, and what others put there stays', async () => {
  await writeFolder(folder, files);
  expect(await compareFolder(folder, files)).toEqual([]);
  await writeFile(join(folder, 'pool.yaml'), 'version: 1\n');
  await writeFile(join(folder, 'patch.yaml'), 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n');
  await writeFile(join(folder, 'service-default-amd64.yaml'), 'edited by hand\n');
  const fewer = files.filter(({ path }) => path !== 'service-default-arm64.yaml');
  await rm(join(folder, 'namespace-buildkit.yaml'));

  const wanted = [
    { path: 'namespace-buildkit.yaml', kind: 'missing' },
    { path: 'service-default-amd64.yaml', kind: 'changed' },
    { path: 'service-default-arm64.yaml', kind: 'superfluous' },
  ];
  expect(await compareFolder(folder, fewer)).toEqual(wanted);
  expect(await writeFolder(folder, fewer)).toEqual(wanted);
  expect(await compareFolder(folder, fewer)).toEqual([]);
  expect(await readFile(join(folder, 'pool.yaml'), 'utf8')).toBe('version: 1\n');
  expect(await readdir(folder)).toHaveLength(fewer.length + 2);
});

test('objects are read back, without pool.yaml and the kustomization', async () => {
  await writeFolder(folder, files);
  await writeFile(join(folder, 'pool.yaml'), exampleNamed('kind').poolYaml);
  const objects = await readObjects(folder);
  expect(objects).toHaveLength(files.length - 1);
  expect(await readObjects(join(folder, 'nowhere'))).toEqual([]);
});

test('a file that is no YAML is named', async () => {
  await writeFile(join(folder, 'broken.yaml'), 'a: [1\n');
  await expect(readObjects(folder)).rejects.toThrow(join(folder, 'broken.yaml'));
});
