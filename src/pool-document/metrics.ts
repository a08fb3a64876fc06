/** Prometheus' text format, as far as a load balancer's counters need it. */

export interface MetricSample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*$/s;
const LABEL = /\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"\s*(?:,|$)/sy;

/** The samples of a page. Comments are passed over, and so is every line that can't be read. */
export function parseMetrics(page: string): readonly MetricSample[] {
  return page.split('\n').flatMap((line) => parseSample(line) ?? []);
}

function parseSample(line: string): MetricSample | undefined {
  if (line.startsWith('#')) return undefined;
  const [, name, list = '', text = ''] = LINE.exec(line) ?? [];
  const labels = parseLabels(list);
  const value = parseValue(text);
  if (name === undefined || labels === undefined || value === undefined) return undefined;
  return { name, labels, value };
}

function parseLabels(list: string): ReadonlyMap<string, string> | undefined {
  const labels = new Map<string, string>();
  for (let at = 0; at < list.length; at = LABEL.lastIndex) {
    LABEL.lastIndex = at;
    const [, name, value] = LABEL.exec(list) ?? [];
    if (name === undefined || value === undefined) return undefined;
    labels.set(
      name,
      value.replace(/\\(.)/gs, (_, character: string) => (character === 'n' ? '\n' : character)),
    );
  }
  return labels;
}

function parseValue(text: string): number | undefined {
  if (/^[+-]?Inf$/.test(text))
    return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (text === 'NaN') return Number.NaN;
  const value = Number(text);
  return Number.isNaN(value) ? undefined : value;
}
