import { expect, test } from 'vitest';
import { makeMatrix } from '../../../src/bake-matrix/matrix.ts';

const definition = {
  target: {
    a: { platforms: ['linux/amd64', 'linux/arm64'], tags: ['x', 'y'], context: '.' },
    b: { platforms: [], dockerfile: 'Dockerfile' },
  },
};

test('without fields, one entry a target', () => {
  expect(makeMatrix(definition, [])).toEqual([{ target: 'a' }, { target: 'b' }]);
});

test('with fields, one entry a combination; a field that a target lacks is left out', () => {
  expect(makeMatrix(definition, ['context', 'platforms', 'tags'])).toEqual([
    { target: 'a', context: '.', platforms: 'linux/amd64', tags: 'x' },
    { target: 'a', context: '.', platforms: 'linux/amd64', tags: 'y' },
    { target: 'a', context: '.', platforms: 'linux/arm64', tags: 'x' },
    { target: 'a', context: '.', platforms: 'linux/arm64', tags: 'y' },
    { target: 'b' },
  ]);
});

test('a field named as what every object has is no field', () => {
  expect(makeMatrix(definition, ['constructor', 'toString'])).toEqual([{ target: 'a' }, { target: 'b' }]);
});
