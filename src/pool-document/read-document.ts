/** From what a pool's server answered to a document, or to everything that is wrong with it. */

import * as z from 'zod/mini';
import en from 'zod/v4/locales/en.js';
import { parsePlatform } from '../build/architecture.ts';
import { parseEndpoint } from '../queue/endpoint.ts';
import { POOL_DOCUMENT_SCHEMA, type PoolDocument } from './document.ts';

export type DocumentReading =
  | { readonly kind: 'document'; readonly document: PoolDocument }
  /** One line each, the path of the field first. */
  | { readonly kind: 'problems'; readonly problems: readonly string[] };

// The small form of the library, and its messages in English only: this is loaded before a build begins.
z.config(en());

const WEEK_S = 7 * 24 * 3_600;

const name = z.string().check(z.minLength(1), z.maxLength(253));
const number = (least: number, most: number) => z.number().check(z.gte(least), z.lte(most));
const httpUrl = z.string().check(
  z.refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), {
    error: 'expected an http:// or https:// URL',
  }),
);
const endpoint = z.string().check((payload) => {
  const result = parseEndpoint(payload.value, '{arch}');
  if (result.kind === 'problem') {
    payload.issues.push({ code: 'custom', input: payload.value, message: result.problem });
  }
});
const platform = z.string().check(
  z.refine((text) => parsePlatform(text) !== undefined, {
    error: 'expected a platform such as linux/amd64',
  }),
);

// Unknown fields are left out, not refused: a pool may be newer than its builds.
const architecture = z.object({
  arch: name,
  platforms: z.array(platform).check(z.minLength(1)),
  endpoint,
  max_builders: z.int().check(z.gte(1)),
  expected_cold_start_s: number(0, WEEK_S),
  tls: z.nullable(z.object({ server_name: name })),
  proxies: z.nullable(z.object({ frontend: name, backend: name })),
});

const document = z.object({
  schema: z.literal(POOL_DOCUMENT_SCHEMA),
  name,
  queue_timeout_s: number(1, WEEK_S),
  connect_timeout_s: number(1, 600),
  redial: z
    .object({ base_ms: number(1, 60_000), cap_ms: number(1, 60_000) })
    .check(z.refine(({ base_ms, cap_ms }) => base_ms <= cap_ms, { error: 'base_ms is more than cap_ms' })),
  linger_s: number(0, WEEK_S),
  metrics: z.nullable(z.object({ url: httpUrl, interval_s: number(0, 3_600) })),
  architectures: z.array(architecture).check(
    z.minLength(1),
    z.refine((list) => new Set(list.map(({ arch }) => arch)).size === list.length, {
      error: 'the same arch occurs twice',
    }),
  ),
  versions: z.record(z.string(), z.string()),
});

/** Never throws. */
export function readDocument(text: string): DocumentReading {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return {
      kind: 'problems',
      problems: [`it is no JSON: it begins with ${JSON.stringify(text.slice(0, 60))}`],
    };
  }
  // With another schema nothing else that could be said is to the point.
  const schema = typeof value === 'object' && value !== null && 'schema' in value ? value.schema : undefined;
  if (schema !== POOL_DOCUMENT_SCHEMA) {
    const what = typeof schema === 'string' ? `is ${JSON.stringify(schema.slice(0, 60))}` : 'is missing';
    return { kind: 'problems', problems: [`schema ${what}: expected ${POOL_DOCUMENT_SCHEMA}`] };
  }
  const result = document.safeParse(value);
  if (result.success) return { kind: 'document', document: result.data };
  return {
    kind: 'problems',
    problems: result.error.issues.map(({ path, message }) =>
      path.length === 0 ? message : `${fieldPath(path)}: ${message}`,
    ),
  };
}

/** `architectures[1].endpoint` */
function fieldPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');
}
