/** The YAML side of pool.yaml: its values, and where each of them stands. */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  visit,
} from 'yaml';
import { type Finding, messageOf, type Path } from './finding.ts';
import type { Problem } from './model.ts';

export type Source =
  | { readonly kind: 'yaml'; readonly value: unknown; readonly locate: (finding: Finding) => Problem }
  | { readonly kind: 'broken'; readonly problems: readonly Problem[] };

/** Far above any pool.yaml; keeps a mistaken file (a dump, a trace) from being taken apart at length. */
const MAX_CHARACTERS = 1_000_000;

/** Reads YAML 1.2 with merge keys (`<<`). Aliases that multiply beyond reason are refused. */
export function readSource(text: string): Source {
  if (text.length > MAX_CHARACTERS) {
    return broken([
      problemAt(
        { line: 1, col: 1 },
        `the file has ${text.length} characters`,
        'a pool.yaml has some thousand',
      ),
    ]);
  }
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, merge: true, prettyErrors: false });
  const [first, second] = 'empty' in documents ? [] : documents;
  if (first === undefined) {
    return broken([problemAt({ line: 1, col: 1 }, 'the file is empty', 'write version: 1 and pools')]);
  }
  const faults = first.errors.map(({ message, pos }) =>
    problemAt(lines.linePos(pos[0]), `not valid YAML: ${oneLine(message)}`, REPAIR),
  );
  if (second !== undefined && faults.length === 0) {
    const at = lines.linePos(second.range[0]);
    faults.push(problemAt(at, 'the file holds several YAML documents', 'write one, all pools under `pools`'));
  }
  faults.push(...findUnknownAliases(first, lines));
  if (faults.length > 0) return broken(faults);
  try {
    return { kind: 'yaml', value: first.toJS(), locate: (finding) => locate(first, lines, finding) };
  } catch (error) {
    // Aliases of aliases multiply only when they are resolved.
    const message = error instanceof Error ? error.message : String(error);
    return broken([problemAt({ line: 1, col: 1 }, `not usable YAML: ${oneLine(message)}`, REPAIR)]);
  }
}

function findUnknownAliases(document: Document.Parsed, lines: LineCounter): readonly Problem[] {
  const anchors = new Set<string>();
  const faults: Problem[] = [];
  visit(document, {
    Node: (_key, node) => {
      if (isAlias(node)) {
        if (anchors.has(node.source)) return;
        const at = lines.linePos(node.range?.[0] ?? 0);
        const what = `no anchor &${node.source} stands before the alias *${node.source}`;
        faults.push(problemAt(at, `not valid YAML: ${what}`, REPAIR));
      } else if ('anchor' in node && typeof node.anchor === 'string') {
        anchors.add(node.anchor);
      }
    },
  });
  return faults;
}

function broken(problems: readonly Problem[]): Source {
  return { kind: 'broken', problems };
}

const REPAIR = 'write it in YAML 1.2 (most editors underline the place)';

function problemAt(at: { line: number; col: number }, problem: string, remedy: string): Problem {
  return {
    severity: 'error',
    // Position 0 stands for an unknown one.
    line: Math.max(at.line, 1),
    column: Math.max(at.col, 1),
    key: '',
    message: messageOf({ problem, remedy }),
    remedy,
  };
}

function oneLine(message: string): string {
  return message.replaceAll(/\s+/g, ' ').trim();
}

/** The place of a key, or of its closest parent that is in the file. */
function locate(document: Document.Parsed, lines: LineCounter, finding: Finding): Problem {
  let node: Node | null = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const step of finding.path) {
    const found = child(document, node, step);
    if (found === undefined) break;
    offset = found.offset ?? offset;
    node = found.node;
  }
  const { line, col } = lines.linePos(offset);
  const key = finding.path
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`))
    .join('')
    .replace(/^\./, '');
  return { ...problemAt({ line, col }, finding.problem, finding.remedy), severity: finding.severity, key };
}

interface Child {
  readonly node: Node | null;
  readonly offset: number | undefined;
}

function child(document: Document.Parsed, parent: Node | null, step: string | number): Child | undefined {
  const node = isAlias(parent) ? (parent.resolve(document) ?? null) : parent;
  if (isSeq(node) && typeof step === 'number') {
    const item = node.items[step] as Node | null | undefined;
    return item === undefined ? undefined : { node: item, offset: item?.range?.[0] };
  }
  if (!isMap(node)) return undefined;
  for (const { key, value } of node.items) {
    if (isScalar(key) && String(key.value) === String(step)) {
      return { node: value as Node | null, offset: key.range?.[0] };
    }
  }
  // Merge keys: what is meant may stand in any of the maps that are merged in.
  for (const { key, value } of node.items) {
    // The parser stands for the key by a symbol.
    if (!isScalar(key) || (key.value !== '<<' && typeof key.value !== 'symbol')) continue;
    const merged = isSeq(value) ? (value.items as Node[]) : [value as Node];
    for (const map of merged) {
      const found = child(document, map, step);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** Whether the file has something at this path. */
export function has(value: unknown, path: Path): boolean {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return false;
    at = (at as Record<string | number, unknown>)[step];
  }
  return true;
}

/** What the file has at this path; undefined when nothing. */
export function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}
