import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { describeCheck } from '../../../src/build/check-result.ts';
import { fitMetadata, MAX_METADATA_CHARACTERS, readImage } from '../../../src/build/image-result.ts';
import type { BakeWork } from '../../../src/build/work.ts';

describe('metadata for an output', () => {
  test('stays as buildx wrote it while it fits', () => {
    const text = '{\n  "containerimage.digest": "sha256:1"\n}';
    expect(fitMetadata(text)).toBe(text);
    expect(fitMetadata('')).toBe('');
  });

  test('loses provenance first, in every target of a bake; then everything', () => {
    const long = 'x'.repeat(MAX_METADATA_CHARACTERS);
    const build = { 'containerimage.digest': 'd', 'buildx.build.provenance': { long } };
    expect(JSON.parse(fitMetadata(JSON.stringify(build)))).toEqual({ 'containerimage.digest': 'd' });
    const perPlatform = { 'buildx.build.provenance/linux/amd64': { long } };
    const bake = { app: build, db: { ...perPlatform, 'image.name': 'db' } };
    expect(JSON.parse(fitMetadata(JSON.stringify(bake)))).toEqual({
      app: { 'containerimage.digest': 'd' },
      db: { 'image.name': 'db' },
    });
    expect(fitMetadata(JSON.stringify({ 'image.name': long }))).toBe('');
  });
});

describe('what buildx wrote', () => {
  const folder = mkdtempSync(join(tmpdir(), 'results-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const read = (metadata: string | undefined) => {
    const files = { imageId: join(folder, 'iid'), metadata: join(folder, 'metadata') };
    rmSync(files.metadata, { force: true });
    if (metadata !== undefined) writeFileSync(files.metadata, metadata);
    return readImage(files);
  };

  test('has a digest where it is one image, and none otherwise', async () => {
    expect(await read('{"containerimage.digest":"sha256:1"}\n')).toEqual({
      imageId: '',
      digest: 'sha256:1',
      metadata: '{"containerimage.digest":"sha256:1"}',
    });
    expect((await read('{"app":{"containerimage.digest":"sha256:1"}}')).digest).toBe('');
    expect((await read('null')).digest).toBe('');
    expect(await read(undefined)).toEqual({ imageId: '', digest: '', metadata: '' });
  });
});

describe('a failed check', () => {
  const work = (call: string | undefined) => ({ kind: 'bake', call }) as BakeWork;

  test.each<[string, string | undefined]>([
    ['Check complete, 1 warning has been found!\n\nWARNING: …', 'Check complete, 1 warning has been found!'],
    ['Check complete, 3 warnings have been found!\n', 'Check complete, 3 warnings have been found!'],
    [
      'a\nCheck complete, 1 warning has been found!\nb\nCheck complete, 2 warnings have been found!\n',
      'Check complete, 3 warnings have been found!',
    ],
    ['something else\nand more\n', 'something else'],
    ['', undefined],
  ])('that says %j', (stdout, said) => {
    expect(describeCheck(work('check'), stdout)).toBe(said);
  });

  test('is told of a check alone', () => {
    const stdout = 'Check complete, 1 warning has been found!\n';
    expect(describeCheck(work('outline'), stdout)).toBeUndefined();
    expect(describeCheck(work(undefined), stdout)).toBeUndefined();
  });
});
