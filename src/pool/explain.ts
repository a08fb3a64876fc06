/** Every derived number with its reason, grouped, as a table for a terminal. */
import { formatDuration } from '../action/duration.ts';
import { formatCpu, formatSize } from './config/units.ts';
import type { ArchitectureSizing, Derived, PoolSizing, Sizing } from './sizing/model.ts';

export interface Explanation {
  readonly title: string;
  readonly rows: readonly ExplainedNumber[];
}

export interface ExplainedNumber {
  /** `queue timeout`. */
  readonly name: string;
  /** With its unit, for a person. */
  readonly value: string;
  readonly reason: string;
}

/** All of it, in the order of the file. No number is left out: whatever the sizing derives is found here. */
export function explainSizing(sizing: Sizing): readonly Explanation[] {
  return sizing.pools.flatMap(explainPool).filter(({ rows }) => rows.length > 0);
}

/** The table as text; reasons are wrapped so that no line is longer than `width` if that can be had. */
export function explain(sizing: Sizing, width = 120): string {
  const explanations = explainSizing(sizing);
  const all = explanations.flatMap(({ rows }) => rows);
  const nameWidth = Math.max(0, ...all.map(({ name }) => name.length));
  const valueWidth = Math.max(0, ...all.map(({ value }) => value.length).filter((length) => length <= 24));
  const indent = nameWidth + valueWidth + 6;
  return explanations
    .map(({ title, rows }) =>
      [
        title,
        ...rows.map(({ name, value, reason }) => {
          const head = `  ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  `;
          return `${head}${wrap(reason, width - indent, head.length > indent ? head.length : indent, indent)}`;
        }),
      ].join('\n'),
    )
    .join('\n\n')
    .concat('\n');
}

function explainPool(sizing: PoolSizing): readonly Explanation[] {
  const { pool } = sizing;
  const of = (what: string) => `${pool.name} (namespace ${pool.namespace}): ${what}`;
  return [
    { title: of('load balancer'), rows: rowsOf(sizing.balancer) },
    { title: of('Action'), rows: rowsOf(sizing.action) },
    { title: of('pool document'), rows: rowsOf(sizing.document) },
    { title: of('certificates'), rows: rowsOf(sizing.certificates) },
    ...sizing.architectures.flatMap((architecture) => explainArchitecture(architecture, of)),
  ];
}

function explainArchitecture(
  sizing: ArchitectureSizing,
  of: (what: string) => string,
): readonly Explanation[] {
  const title = (what: string) => of(`${sizing.name}, ${what}`);
  const { line, builder, drain, autoscaler, shrink, nodePools, ...rest } = sizing;
  return [
    { title: title('line'), rows: rowsOf(line) },
    { title: title('one builder'), rows: rowsOf(builder) },
    { title: title('drain'), rows: rowsOf(drain) },
    { title: title('autoscaler'), rows: rowsOf(autoscaler) },
    { title: title('from max to min'), rows: rowsOf(shrink) },
    {
      title: title('all builders'),
      rows: rowsOf({
        replicas: rest.replicas,
        maxUnavailable: rest.maxUnavailable,
        unreachableAfterSeconds: rest.unreachableAfterSeconds,
      }),
    },
    ...(nodePools === null
      ? []
      : [
          { title: title('nodes'), rows: rowsOf({ ...nodePools, pools: null }) },
          ...nodePools.pools.map((pool) => ({
            title: title(`nodes ${pool.instanceType}`),
            rows: rowsOf(pool),
          })),
        ]),
  ];
}

/** Every derived value in an object, however deep, its name made of the keys on the way. */
function rowsOf(value: unknown, keys: readonly string[] = []): readonly ExplainedNumber[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  if (isDerived(value)) {
    const key = keys.at(-1) ?? '';
    const name = keys.map(words).join(', ');
    return [{ name, value: format(key, value.value), reason: value.reason }];
  }
  return Object.entries(value).flatMap(([key, inner]) => rowsOf(inner, [...keys, key]));
}

function isDerived(value: object): value is Derived<number | string> {
  return (
    'value' in value &&
    'reason' in value &&
    typeof value.reason === 'string' &&
    (typeof value.value === 'number' || typeof value.value === 'string')
  );
}

const UNITS: readonly (readonly [suffix: string, format: (value: number) => string])[] = [
  ['Ms', formatDuration],
  ['Seconds', (seconds) => formatDuration(seconds * 1000)],
  ['Bytes', formatSize],
  ['Millis', formatCpu],
  ['Percent', (percent) => `${percent} %`],
];

function format(key: string, value: number | string): string {
  if (typeof value === 'string') return value;
  const unit = UNITS.find(([suffix]) => key.endsWith(suffix));
  if (unit !== undefined) return unit[1](value);
  return key === 'percent' ? `${value} %` : String(value);
}

/** `queueTimeoutMs` is a `queue timeout`. */
function words(key: string): string {
  const unit = UNITS.find(([suffix]) => key.endsWith(suffix));
  const bare = unit === undefined ? key : key.slice(0, -unit[0].length);
  return bare.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function wrap(text: string, width: number, first: number, indent: number): string {
  const room = Math.max(width, 40);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const limit = lines.length === 0 ? Math.max(room - (first - indent), 20) : room;
    if (line !== '' && line.length + 1 + word.length > limit) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`);
}
