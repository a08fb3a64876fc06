import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { replaceReference } from '../../../../scripts/pool-reference.ts';
import { STAND_INS } from '../../../../src/pool/config/doubt.ts';
import { instanceFacts } from '../../../../src/pool/config/instance-types.ts';
import { formatSchema, jsonSchema, poolFileSchema } from '../../../../src/pool/config/schema.ts';
import { readPool } from '../../../../src/pool/read.ts';
import { accept, writtenFiles } from '../../../support/pool-yaml.ts';

interface SchemaNode {
  readonly $ref?: string;
  readonly allOf?: readonly SchemaNode[];
  readonly anyOf?: readonly SchemaNode[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | false;
  readonly items?: SchemaNode;
  readonly required?: readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly definitions?: Readonly<Record<string, SchemaNode>>;
}

const schema = jsonSchema() as SchemaNode;
// Formats and meta keys are for editors; unknown ones must not hide a mistake in the rest.
const validate = new Ajv({ strict: true, allErrors: true, allowUnionTypes: true }).compile(schema as object);

test('the published schema is the present one', () => {
  expect(readFileSync('schemas/pool.schema.json', 'utf8')).toBe(formatSchema());
});

test('what is accepted, the published schema accepts, too; what it refuses, is refused', () => {
  let accepted = 0;
  fc.assert(
    fc.property(writtenFiles, (text) => {
      const valid = validate(parse(text));
      const reading = readPool(text);
      if (reading.kind === 'accepted') {
        accepted++;
        expect(validate.errors ?? []).toEqual([]);
      }
      if (!valid) expect(reading.kind).toBe('refused');
    }),
    { numRuns: 150 },
  );
  expect(accepted).toBeGreaterThan(30);
});

test('the published schema refuses unknown keys at every depth', () => {
  const written = {
    version: 1,
    cluster: { dns: {}, karpenter: { discovery: 'ci', role: 'nodes', 'working-hours': {} } },
    defaults: { builds: {}, tls: {}, exposure: { clients: {} }, 'scale-down': { 'at-once': {} } },
    pools: { b: { architectures: { amd64: { builder: {}, nodes: { selector: {}, size: {} } } } } },
  };
  expect(validate(written)).toBe(true);
  let maps = 0;
  const visit = (value: unknown) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
    const map = value as Record<string, unknown>;
    for (const inner of Object.values(map)) visit(inner);
    if (map === written.pools || map === written.pools.b.architectures.amd64.nodes.selector) return;
    maps++;
    map['unknown-key'] = 1;
    expect(validate(written), JSON.stringify(written)).toBe(false);
    expect(poolFileSchema.safeParse(written).success).toBe(false);
    delete map['unknown-key'];
  };
  visit(written);
  expect(maps).toBeGreaterThan(12);
  expect(validate(written)).toBe(true);
});

test('every key is described, and the defaults that the schema tells are those that hold', () => {
  const undescribed: string[] = [];
  const defaults = (node: SchemaNode, path: string): unknown => {
    const own = resolve(node);
    if (own.default !== undefined) return own.default;
    if (own.properties === undefined) return undefined;
    const entries = Object.entries(own.properties).flatMap(([key, inner]) => {
      if (resolve(inner).description === undefined) undescribed.push(`${path}.${key}`);
      const value = defaults(inner, `${path}.${key}`);
      return value === undefined ? [] : [[key, value] as const];
    });
    return entries.length === 0 ? undefined : Object.fromEntries(entries);
  };
  const resolve = (node: SchemaNode): SchemaNode => {
    if (node.allOf !== undefined) return resolve(node.allOf[0] ?? {});
    if (node.$ref !== undefined)
      return resolve(schema.definitions?.[node.$ref.split('/').at(-1) ?? ''] ?? {});
    const map = node.anyOf?.map(resolve).find(({ properties }) => properties !== undefined);
    return map === undefined ? node : { ...map, description: node.description ?? map.description ?? '' };
  };
  const top = defaults(schema, '') as {
    cluster: Record<string, unknown>;
    defaults: Record<string, Record<string, unknown>>;
  };
  const architecture = defaults({ $ref: '#/definitions/architecture' }, 'architecture') as Record<
    string,
    unknown
  >;
  expect(undescribed).toEqual([]);

  // What belongs to a choice that is not the default one cannot be written beside it.
  const { karpenter: _none, ...cluster } = top.cluster;
  const { cache: _cache, tls, ...shared } = top.defaults;
  const { issuer: _issuer, ...restOfTls } = tls ?? {};
  const { nodes: _nodes, ...numbers } = architecture;
  const explicit = {
    version: 1,
    cluster,
    pools: {
      b: {
        ...shared,
        tls: restOfTls,
        cache: { kind: 'node-local', path: '/var/lib/buildkit-pool' },
        architectures: { amd64: numbers },
      },
    },
  };
  const minimal = { version: 1, pools: { b: { architectures: { amd64: {} } } } };
  expect(accept(stringify(explicit)).file).toEqual(accept(stringify(minimal)).file);
  expect(Object.keys(shared).length + Object.keys(numbers).length).toBeGreaterThan(8);
});

test('the table of instance types has those of the examples', () => {
  expect(instanceFacts('m6id.24xlarge')).toEqual({
    architecture: 'amd64',
    vcpus: 96,
    memoryGib: 384,
    nvmeGb: 5700,
    maxPods: 737,
  });
  expect(instanceFacts('m7gd.16xlarge')).toEqual({
    architecture: 'arm64',
    vcpus: 64,
    memoryGib: 256,
    nvmeGb: 3800,
    maxPods: 737,
  });
  expect(instanceFacts('x9.huge')).toBeUndefined();
});

test('the table of keys in the documentation is the present one, and its examples are accepted', () => {
  const text = readFileSync('docs/pool-yaml.md', 'utf8');
  expect(replaceReference(text, jsonSchema())).toBe(text);
  const examples = [...text.matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml]) => yaml ?? '');
  expect(examples.length).toBe(3);
  const warnings = examples.map((example) => accept(example).warnings.map(({ key }) => key));
  expect(warnings).toEqual([[], [], []]);
});

test('each key that must be there has a stand-in, so that its fault hides nothing else', () => {
  const needed = (node: SchemaNode, path: readonly string[]): readonly string[] => {
    const { $ref, allOf = [], anyOf = [], properties = {}, additionalProperties, required = [] } = node;
    const reference = $ref === undefined ? undefined : schema.definitions?.[$ref.split('/').at(-1) ?? ''];
    return [
      ...required.map((key) => [...path, key].join('.')),
      ...[...(reference === undefined ? [] : [reference]), ...allOf, ...anyOf].flatMap((inner) =>
        needed(inner, path),
      ),
      ...Object.entries(properties).flatMap(([key, inner]) => needed(inner, [...path, key])),
      // Items of lists go with their list.
      ...(additionalProperties ? needed(additionalProperties, [...path, '*']) : []),
    ];
  };
  const keys = [...new Set(needed(schema, []))].filter((key) => key !== 'pools');
  expect(keys.length).toBeGreaterThan(3);
  expect(keys.toSorted()).toEqual(STAND_INS.map(([path]) => path).toSorted());
});
