/**
 * What is attested of a build: the rules of docker/build-push-action and docker/bake-action.
 * Source: build-push-action 7.3 (context.ts, getAttestArgs), actions-toolkit 0.92 (Build.resolveProvenanceAttrs,
 * resolveAttestationAttrs, hasAttestationType).
 */
import { joinFields, parseFields, splitField } from '../../csv.ts';
import type { GitHubFacts } from '../github-facts.ts';

export interface AttestationInputs {
  /** The inputs' text; empty when not given. */
  readonly provenance: string;
  readonly sbom: string;
  readonly attests: readonly string[];
  /** Whether the result goes to an engine, which has no place for attestations. */
  readonly toEngine: boolean;
  /** False when BUILDX_NO_DEFAULT_ATTESTATIONS says so. */
  readonly byDefault: boolean;
}

/**
 * The values of `--attest`. `provenance` and `sbom` come before the same types in `attests`; where neither gives a
 * provenance, there is one by default (BuildKit has attestations since 0.11, and a pool's is newer).
 * @throws CsvProblem
 */
export function resolveAttestations(inputs: AttestationInputs, facts: GitHubFacts): readonly string[] {
  const { provenance, sbom, attests } = inputs;
  const given = attests.map((attest) => ({ attest, type: typeOf(attest) }));
  const chosen: string[] = [];
  if (provenance !== '') {
    chosen.push(spellOutBooleans(`type=provenance,${resolveProvenance(provenance, facts)}`));
  } else if (inputs.byDefault && !inputs.toEngine && !given.some(({ type }) => type === 'provenance')) {
    chosen.push(`type=provenance,${defaultProvenance(facts)}`);
  }
  if (sbom !== '') chosen.push(spellOutBooleans(`type=sbom,${sbom}`));
  for (const { attest, type } of given) {
    if (type === 'provenance') {
      if (provenance === '') chosen.push(withBuilderId(attest, facts));
    } else if (type === 'sbom') {
      if (sbom === '') chosen.push(attest);
    } else {
      chosen.push(spellOutBooleans(attest));
    }
  }
  return chosen;
}

/** The input `provenance`: a boolean, or attributes, with the run's page as the builder's id. @throws CsvProblem */
export function resolveProvenance(input: string, facts: GitHubFacts): string {
  if (/^(true|True|TRUE)$/.test(input)) return withBuilderId('', facts);
  if (/^(false|False|FALSE)$/.test(input)) return 'false';
  return withBuilderId(input, facts);
}

/** A private repository tells no more than buildx tells by itself, and nothing outside the image. */
export function defaultProvenance(facts: GitHubFacts): string {
  return withBuilderId(facts.privateRepository ? 'mode=min,inline-only=true' : 'mode=max', facts);
}

function withBuilderId(attributes: string, facts: GitHubFacts): string {
  if (attributes === '' && facts.runUrl === undefined) return 'true';
  if (facts.runUrl === undefined) return attributes;
  const id = joinFields([`builder-id=${facts.runUrl}`]);
  if (attributes === '') return id;
  const given = parseFields(attributes).some((field) => splitField(field)[0] === 'builder-id');
  return given ? attributes : `${attributes},${id}`;
}

/** A bare `true` or `false` among the attributes becomes `disabled=false` or `disabled=true`. */
function spellOutBooleans(attributes: string): string {
  return joinFields(
    parseFields(attributes).map((field) => {
      const value = parseGoBoolean(field.trim());
      return value === undefined ? field.trim() : `disabled=${!value}`;
    }),
  );
}

function typeOf(attest: string): string | undefined {
  for (const field of parseFields(attest)) {
    const [key, value] = splitField(field);
    if (key === 'type' && (value === 'provenance' || value === 'sbom')) return value;
  }
  return undefined;
}

/** As Go's strconv.ParseBool, which docker's Actions go by; undefined for anything else. */
export function parseGoBoolean(text: string): boolean | undefined {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(text)) return false;
  return undefined;
}
