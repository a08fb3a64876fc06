/** The file without what does not fit, so that the rest of it can be checked in the same run. */
import type { Path } from './finding.ts';

/** A copy of `value` without what stands at `paths`. Anchored values that occur twice become two. */
export function prune(value: unknown, paths: readonly Path[]): unknown {
  const copy: unknown = structuredClone(value);
  for (const path of paths) remove(copy, path);
  return copy;
}

function remove(value: unknown, path: Path): void {
  let at = value;
  for (const step of path.slice(0, -1)) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return;
    at = (at as Record<string | number, unknown>)[step];
  }
  const last = path.at(-1);
  // An item of a list stays, as a hole would shift the others: the whole list goes by its own path.
  if (last !== undefined && typeof at === 'object' && at !== null && !Array.isArray(at)) {
    delete (at as Record<string | number, unknown>)[last];
  }
}

/**
 * What a finding about a section follows from, beside that section: a finding is told only if none of it was removed,
 * because a default in the place of what was meant would accuse the wrong key.
 */
const FOLLOWS_FROM: Readonly<Record<string, readonly string[]>> = {
  namespace: [],
  'scale-down': ['builds', 'architectures'],
  tls: ['builds', 'architectures', 'scale-down', 'exposure'],
  cache: [],
  exposure: ['tls', 'architectures'],
  egress: [],
  balancer: ['exposure'],
  document: [],
  priorities: ['tls'],
  architectures: ['builds', 'cache', 'autoscaling', 'scale-down', 'tls'],
};

/** Whether a finding at `path` can be trusted although what stood at `removed` is gone. */
export function isIndependent(path: Path, removed: readonly Path[]): boolean {
  const [top, pool, section, arch] = path;
  if (top !== 'pools' || pool === undefined || section === undefined) return false;
  const sources = FOLLOWS_FROM[String(section)];
  if (sources === undefined) return false;
  return !removed.some((gone) => {
    const inDefaults = gone[0] === 'defaults';
    const inPool = gone[0] === 'pools' && gone[1] === pool;
    if (!inDefaults && !inPool) return gone[0] === 'cluster' && section === 'architectures';
    const goneSection = inDefaults ? gone[1] : gone[2];
    if (goneSection === undefined) return true;
    if (goneSection === section) {
      return section !== 'architectures' || gone[3] === undefined || gone[3] === arch;
    }
    return sources.includes(String(goneSection));
  });
}
