/** What can still be said of a file in which some values are faulty: the rest of it, and which rules go by the rest alone. */
import { type Finding, KEYS, type Path } from './finding.ts';
import { has, valueAt } from './source.ts';

/** In the place of faulty values that the schema does not let anyone leave out; `*` is any key. */
export const STAND_INS: readonly (readonly [path: string, value: unknown])[] = [
  ['version', 1],
  ['cluster.karpenter.discovery', 'unknown'],
  ['cluster.karpenter.role', 'unknown'],
  ['defaults.tls.issuer.name', 'unknown'],
  ['pools.*.tls.issuer.name', 'unknown'],
  ['pools.*.architectures', {}],
];

/** A copy of `value` without what stands at `paths`. */
export function prune(value: unknown, paths: readonly Path[]): unknown {
  const copy: unknown = structuredClone(value);
  for (const path of paths) {
    const parent = valueAt(copy, path.slice(0, -1));
    const last = path.at(-1);
    // An item of a list stays, as a hole would shift the others: the whole list goes by its own path.
    if (last === undefined || !isMap(parent)) continue;
    delete parent[last];
    const standIn = STAND_INS.find(([pattern]) => matches(path, pattern.split('.')));
    if (standIn !== undefined) parent[last] = structuredClone(standIn[1]);
  }
  return copy;
}

function matches(path: Path, pattern: readonly string[]): boolean {
  return (
    path.length === pattern.length && pattern.every((step, index) => step === '*' || step === path[index])
  );
}

/** A rule that has read a faulty value has nothing to say. */
export function isDoubtful(finding: Finding, doubts: readonly Path[]): boolean {
  return doubts.some(
    (doubt) =>
      isWithin(finding.path, doubt) ||
      finding.about.some((read) => isWithin(read, doubt) || isWithin(doubt, read)),
  );
}

function isWithin(path: Path, outer: Path): boolean {
  return outer.length <= path.length && outer.every((step, index) => step === path[index]);
}

/**
 * Everything that is not known when what stands at `faulty` is not: what inherits it (architectures from their pool, pools
 * from the defaults), and what it is a default of.
 */
export function spreadDoubt(file: unknown, faulty: readonly Path[]): readonly Path[] {
  const pools = keysAt(file, ['pools']);
  const inherited = faulty.flatMap(([top, section, ...rest]): Path[] =>
    top !== 'defaults'
      ? []
      : pools
          .filter(
            (pool) =>
              section === undefined || !isOverridden(file, ['pools', pool, section], rest.slice(0, 1)),
          )
          .map((pool) => ['pools', pool, ...(section === undefined ? [] : [section]), ...rest]),
  );
  const known = [...faulty, ...inherited];
  return [...known, ...known.flatMap((path) => followers(file, path))];
}

/** A pool lays its sections over the defaults' key by key; what is no map is replaced. */
function isOverridden(file: unknown, section: Path, key: Path): boolean {
  return (
    has(file, section) &&
    (!isMap(valueAt(file, section)) || (key.length > 0 && has(file, [...section, ...key])))
  );
}

function followers(file: unknown, [top, pool, section, ...rest]: Path): readonly Path[] {
  if (top !== 'pools' || pool === undefined) return [];
  const at: Path = ['pools', pool, 'architectures'];
  const every = (key: Path): readonly Path[] =>
    keysAt(file, at)
      .map((arch): Path => [...at, arch, ...key])
      .filter((path) => !has(file, path));
  const [first, second] = rest;
  switch (section) {
    case 'builds':
      return every(['builds', ...rest]);
    case 'autoscaling':
      return keysAt(file, at).map((arch) => [...at, arch, 'replicas']);
    case 'architectures': {
      if (first === undefined) return [];
      const own = (key: string): Path => [...at, first, key];
      const unwritten = (...keys: readonly string[]) => keys.map(own).filter((path) => !has(file, path));
      return [
        ...(rest.length === 1 ? [[...at, KEYS]] : []),
        ...(second === 'min' ? unwritten('max') : []),
        ...(second === 'replicas' ? unwritten('min', 'max') : []),
      ];
    }
    default:
      return [];
  }
}

function keysAt(file: unknown, path: Path): readonly string[] {
  const value = valueAt(file, path);
  return isMap(value) ? Object.keys(value) : [];
}

function isMap(value: unknown): value is Record<string | number, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
