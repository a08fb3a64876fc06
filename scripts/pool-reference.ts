// The table of keys in docs/pool-yaml.md, from the published schema.

interface SchemaNode {
  readonly $ref?: string;
  readonly allOf?: readonly SchemaNode[];
  readonly anyOf?: readonly SchemaNode[];
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: SchemaNode | false;
  readonly items?: SchemaNode;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly definitions?: Readonly<Record<string, SchemaNode>>;
}

const BEGIN = '<!-- keys -->';
const END = '<!-- end -->';

/** `text` with its table between the two marks made anew. */
export function replaceReference(text: string, schema: unknown): string {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END, begin);
  if (begin === -1 || end === -1) throw new Error(`docs/pool-yaml.md has lost its marks ${BEGIN} and ${END}`);
  return `${text.slice(0, begin + BEGIN.length)}\n\n${formatReference(schema as SchemaNode)}\n\n${text.slice(end)}`;
}

function formatReference(schema: SchemaNode): string {
  const parts = [
    { title: '`cluster`', path: ['cluster'] },
    { title: '`pools.<name>`, and `defaults` but for namespace and architectures', path: ['pools', '*'] },
    {
      title: '`pools.<name>.architectures.<architecture>`: amd64, arm64, ppc64le, riscv64, s390x',
      path: ['pools', '*', 'architectures', 'amd64'],
    },
  ];
  return parts
    .map(({ title, path }) => {
      const rows = rowsOf(schema, follow(schema, path), '');
      return `### ${title}\n\n| key | value | default | |\n| --- | --- | --- | --- |\n${rows.join('\n')}`;
    })
    .join('\n\n');
}

function follow(schema: SchemaNode, path: readonly string[]): SchemaNode {
  return path.reduce((node, key) => {
    const at = resolve(schema, node);
    const next = key === '*' ? at.additionalProperties || undefined : at.properties?.[key];
    if (next === undefined) throw new Error(`the schema has no ${path.join('.')}`);
    return next;
  }, schema);
}

function resolve(schema: SchemaNode, node: SchemaNode): SchemaNode {
  const [only] = node.allOf ?? [];
  if (only !== undefined) return resolve(schema, only);
  if (node.$ref === undefined) return node;
  return schema.definitions?.[node.$ref.slice('#/definitions/'.length)] ?? {};
}

function rowsOf(schema: SchemaNode, node: SchemaNode, prefix: string): readonly string[] {
  const map = resolve(schema, node);
  return Object.entries(map.properties ?? {}).flatMap(([key, written]) => {
    const name = `${prefix}${key}`;
    if (name === 'architectures') return [];
    const inner = resolve(schema, written);
    const needed = map.required?.includes(key) ?? false;
    const row = `| \`${name}\` | ${kindOf(schema, inner)} | ${defaultOf(inner, needed)} | ${inner.description ?? ''} |`;
    return [row, ...nested(schema, inner, name)];
  });
}

function nested(schema: SchemaNode, node: SchemaNode, name: string): readonly string[] {
  const map = [node, ...(node.anyOf ?? [])].find(({ properties }) => properties !== undefined);
  if (map !== undefined) return rowsOf(schema, map, `${name}.`);
  const item = node.items === undefined ? undefined : resolve(schema, node.items);
  const itemMap =
    item === undefined ? undefined : [item, ...(item.anyOf ?? [])].find(({ properties }) => properties);
  return itemMap === undefined ? [] : rowsOf(schema, itemMap, `${name}[].`);
}

function kindOf(schema: SchemaNode, node: SchemaNode): string {
  if (node.const !== undefined) return `\`${String(node.const)}\``;
  if (node.enum !== undefined) return node.enum.map((choice) => `\`${choice}\``).join(', ');
  if (node.anyOf !== undefined) {
    return [...new Set(node.anyOf.map((choice) => kindOf(schema, resolve(schema, choice))))].join(' or ');
  }
  const [example] = node.examples ?? [];
  switch (node.type) {
    case 'integer':
      return `${node.minimum} to ${node.maximum}`;
    case 'number':
      return 'number';
    case 'string':
      return example === undefined ? 'text' : `such as \`${String(example)}\``;
    case 'boolean':
      return '`true`, `false`';
    case 'array':
      return node.items === undefined ? 'list' : `list of ${kindOf(schema, resolve(schema, node.items))}`;
    default:
      return 'map';
  }
}

function defaultOf(node: SchemaNode, needed: boolean): string {
  if (needed) return '(needed)';
  if (node.default === undefined) return '';
  return `\`${typeof node.default === 'string' ? node.default : JSON.stringify(node.default)}\``;
}
