/** What `docker buildx bake --print` tells of the bake files. */
import { parseFields, splitField } from '../csv.ts';

/** As far as we look at it; older buildx give entries as text, newer ones as objects (docker/buildx 0.20). */
export interface BakeDefinition {
  readonly group?: Readonly<Record<string, { readonly targets: readonly string[] }>>;
  readonly target: Readonly<Record<string, BakeTarget>>;
}

export type BakeTarget = Readonly<Record<string, unknown>>;

/** The bake files can't be read, or not by this buildx. `message` says why. */
export class BakeProblem extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BakeProblem';
  }
}

/** @throws BakeProblem when the text is none. */
export function parseDefinition(text: string): BakeDefinition {
  const value = parseJson(text);
  if (!isObject(value) || !isObject(value['target'])) {
    throw new BakeProblem('`docker buildx bake --print` printed no definition');
  }
  return value as unknown as BakeDefinition;
}

export function targetsWithoutProvenance(definition: BakeDefinition): readonly string[] {
  return Object.entries(definition.target)
    .filter(([, target]) => !types(target['attest']).includes('provenance'))
    .map(([name]) => name);
}

/** Whether any target's result goes to an engine, which has no place for attestations. */
export function goesToEngine(definition: BakeDefinition): boolean {
  return Object.values(definition.target).some((target) => types(target['output']).includes('docker'));
}

/** The `type` of each entry of a list; empty for one that has none. */
function types(entries: unknown): readonly string[] {
  return Array.isArray(entries) ? entries.map(typeOf) : [];
}

function typeOf(entry: unknown): string {
  if (isObject(entry)) return typeof entry['type'] === 'string' ? entry['type'] : '';
  if (typeof entry !== 'string') return '';
  const type = parseFields(entry)
    .map(splitField)
    .find(([key]) => key === 'type');
  return type?.[1] ?? '';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
