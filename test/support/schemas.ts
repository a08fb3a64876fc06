/**
 * JSON schemas of Kubernetes and of the CRDs used, made from the projects' own files, which Go's module proxy serves.
 * Strict: a key that no schema knows is refused, as the API server warns and kubectl refuses. What the API server checks by
 * code or by CEL rules is not in them.
 */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { prepareGo } from '../../src/local/install.ts';

interface SchemaModule {
  readonly module: string;
  readonly sum: string;
  readonly openapi?: readonly string[];
  readonly crds?: readonly string[];
}

type Schema = { readonly [key: string]: unknown };

/** For kubeconform's `-schema-location`, after the folder. */
export const SCHEMA_FILES = '{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json';

/** Writes one file for every kind into `folder`. The modules are fetched once and then in Go's cache. */
export async function writeSchemas(folder: string): Promise<void> {
  const modules = JSON.parse(await readFile('tools/schemas/modules.json', 'utf8')) as readonly SchemaModule[];
  const go = await prepareGo('tools/kubeconform', (line) => console.error(line));
  for (const wanted of modules) {
    const source = await fetchModule(wanted, go, folder);
    for (const file of wanted.openapi ?? []) {
      await writeKubernetesSchemas(JSON.parse(await readFile(join(source, file), 'utf8')) as OpenApi, folder);
    }
    for (const file of wanted.crds ?? []) {
      await writeCrdSchemas(parse(await readFile(join(source, file), 'utf8')) as Crd, folder);
    }
  }
}

async function fetchModule(
  wanted: SchemaModule,
  go: Awaited<ReturnType<typeof prepareGo>>,
  cwd: string,
): Promise<string> {
  const { stdout } = await promisify(execFile)(go.command, ['mod', 'download', '-json', wanted.module], {
    cwd,
    env: { ...process.env, GOFLAGS: '', ...go.env },
    maxBuffer: 1 << 20,
  });
  const { Dir, Sum } = JSON.parse(stdout) as { Dir: string; Sum: string };
  if (Sum !== wanted.sum) {
    throw new Error(`${wanted.module} has the sum ${Sum}, not the pinned ${wanted.sum}`);
  }
  return Dir;
}

interface OpenApi {
  readonly definitions: Readonly<Record<string, Schema>>;
}

interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

async function writeKubernetesSchemas(api: OpenApi, folder: string): Promise<void> {
  for (const [name, definition] of Object.entries(api.definitions)) {
    const kinds = (definition['x-kubernetes-group-version-kind'] ?? []) as readonly GroupVersionKind[];
    const [kind] = kinds;
    // Those with several (ListMeta, DeleteOptions) are no objects of their own.
    if (kinds.length !== 1 || kind === undefined) {
      continue;
    }
    const definitions = new Map<string, Schema>();
    collectDefinitions(name, api, definitions);
    await writeSchema(folder, kind, {
      $ref: `#/definitions/${name}`,
      definitions: Object.fromEntries(definitions),
    });
  }
}

function collectDefinitions(name: string, api: OpenApi, into: Map<string, Schema>): void {
  const definition = api.definitions[name];
  if (definition === undefined || into.has(name)) {
    return;
  }
  into.set(name, makeStrict(definition) as Schema);
  for (const match of JSON.stringify(definition).matchAll(/"#\/definitions\/([^"]+)"/g)) {
    collectDefinitions(match[1] ?? '', api, into);
  }
}

interface Crd {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly schema: { openAPIV3Schema: Schema } }[];
  };
}

async function writeCrdSchemas({ spec }: Crd, folder: string): Promise<void> {
  for (const { name, schema } of spec.versions) {
    const { properties, ...rest } = schema.openAPIV3Schema as { properties: Schema };
    // A CRD's metadata is only `type: object` in its schema; the API server checks it as any other's.
    const strict = makeStrict({
      ...rest,
      properties: { ...properties, metadata: { type: 'object', additionalProperties: true } },
    });
    await writeSchema(folder, { group: spec.group, version: name, kind: spec.names.kind }, strict as Schema);
  }
}

async function writeSchema(
  folder: string,
  { group, version, kind }: GroupVersionKind,
  schema: Schema,
): Promise<void> {
  // kubeconform calls the core group by its version.
  const name = `${kind}-${group === '' ? version : group}-${version}.json`.toLowerCase();
  await writeFile(join(folder, name), JSON.stringify(schema));
}

/** OpenAPI's dialect as JSON Schema, no unknown key allowed. */
function makeStrict(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(makeStrict);
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  const node = value as Record<string, unknown>;
  const {
    format,
    nullable: _nullable,
    ...rest
  } = Object.fromEntries(
    Object.entries(node).filter(([key]) => !key.startsWith('x-kubernetes-') && key !== 'description'),
  );
  const strict: Record<string, unknown> = Object.fromEntries(
    Object.entries(rest).map(([key, child]) => [
      key,
      // The names below `properties` are the objects' own, not the schema language's.
      key === 'properties' ? mapValues(node['properties'] as Schema, makeStrict) : makeStrict(child),
    ]),
  );
  if (node['x-kubernetes-int-or-string'] === true || format === 'int-or-string') {
    delete strict['type'];
    delete strict['anyOf'];
    return { ...strict, anyOf: [{ type: 'integer' }, { type: 'string' }] };
  }
  const open = 'additionalProperties' in node || node['x-kubernetes-preserve-unknown-fields'] === true;
  return 'properties' in node && !open ? { ...strict, additionalProperties: false } : strict;
}

function mapValues(record: Schema, change: (value: unknown) => unknown): Schema {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}
