/**
 * Who speaks TLS with whom, and by whose certificates, as rendered objects tell it. A load balancer has a change at once,
 * builders have it when they are replaced, one by one: what the two speak or trust must not change between them.
 */
import type { KubernetesObject } from '../components/object.ts';

export interface TrustChange {
  /** `pool buildkit/default` */
  readonly pool: string;
  readonly before: string;
  readonly after: string;
  readonly reason: string;
}

/** One for each pool that is in both and whose sides would no longer understand or trust each other, or might not. */
export function compareTrust(
  before: readonly KubernetesObject[],
  after: readonly KubernetesObject[],
): readonly TrustChange[] {
  const old = trustOf(before);
  return [...trustOf(after)].flatMap(([pool, current]) => {
    const previous = old.get(pool);
    const reason = previous === undefined ? null : breach(previous, current);
    return previous === undefined || reason === null
      ? []
      : [{ pool: `pool ${pool}`, before: describe(previous), after: describe(current), reason }];
  });
}

interface Trust {
  readonly mode: 'off' | 'passthrough' | 'terminate';
  /** Who signs what clients see and show. */
  readonly clients: string;
  /** Who signs what builders see and show. */
  readonly builders: string;
}

const WAY_OUT =
  'use a second pool beside this one, or a pause (docs/operations.md, "Change who signs, or where TLS ends")';

function breach(before: Trust, after: Trust): string | null {
  if (before.mode !== after.mode) {
    return `the new load balancer and the builders that run do not understand each other: no build starts on one of those until it is replaced, and runners need other settings, those that wait included; ${WAY_OUT}`;
  }
  if (before.clients === after.clients && before.builders === after.builders) return null;
  if (describe(before).includes(SECRET) || describe(after).includes(SECRET)) {
    return `who signs is not seen from here: unless every ca.crt has the old CA and the new one (docs/operations.md, "Rotate certificates"), no build starts on a builder that runs until it is replaced, and runners' certificates are refused`;
  }
  return after.mode === 'passthrough'
    ? `builders that run refuse runners with new certificates, and new builders those with old ones; ${WAY_OUT}`
    : `the load balancer takes up the new certificates by itself, and then it and the builders that run do not trust each other: no build starts on one of those until it is replaced, and the certificates that runners have are refused; ${WAY_OUT}`;
}

function describe({ mode, clients, builders }: Trust): string {
  if (mode === 'off') return mode;
  return `${mode}, signed by ${clients === builders ? clients : `${clients} and ${builders}`}`;
}

/** Before the name of a Secret that somebody else makes. */
const SECRET = 'whoever made ';

function trustOf(objects: readonly KubernetesObject[]): ReadonlyMap<string, Trust> {
  const signers = new Map(
    objects.flatMap((object): (readonly [string, string])[] => {
      const { secretName, issuerRef } = specOf(object);
      return object.kind === 'Certificate' && secretName !== undefined && issuerRef !== undefined
        ? [[`${object.metadata?.namespace}/${secretName}`, `${issuerRef.kind} ${issuerRef.name}`]]
        : [];
    }),
  );
  const signerOf = (object: KubernetesObject | undefined, volume: string): string | null => {
    const secret = object === undefined ? undefined : secretOf(object, volume);
    return secret === undefined
      ? null
      : (signers.get(`${object?.metadata?.namespace}/${secret}`) ?? `${SECRET}${secret}`);
  };
  const pools = objects.filter((object) => object.kind === 'Deployment' && componentOf(object) === 'haproxy');
  return new Map(
    pools.map((balancer) => {
      const builder = objects.find(
        (object) => object.kind === 'StatefulSet' && poolOf(object) === poolOf(balancer),
      );
      const [outer, inner, builders] = [
        signerOf(balancer, 'tls'),
        signerOf(balancer, 'tls-client'),
        signerOf(builder, 'tls'),
      ];
      return [
        poolOf(balancer),
        {
          mode: inner === null ? (builders === null ? 'off' : 'passthrough') : 'terminate',
          clients: outer ?? builders ?? '',
          builders: [...new Set([inner, builders])].filter((signer) => signer !== null).join(' and '),
        },
      ];
    }),
  );
}

function poolOf({ metadata }: KubernetesObject): string {
  return `${metadata?.namespace}/${metadata?.labels?.['app.kubernetes.io/instance']}`;
}

function componentOf({ metadata }: KubernetesObject): string | undefined {
  return metadata?.labels?.['app.kubernetes.io/component'];
}

function secretOf(object: KubernetesObject, volume: string): string | undefined {
  const volumes = specOf(object).template?.spec?.volumes ?? [];
  return volumes.find(({ name }) => name === volume)?.secret?.secretName;
}

/** What is read here of a Certificate, a Deployment or a StatefulSet. */
interface Spec {
  readonly secretName?: string;
  readonly issuerRef?: { readonly kind?: string; readonly name?: string };
  readonly template?: { readonly spec?: { readonly volumes?: readonly Volume[] } };
}

interface Volume {
  readonly name: string;
  readonly secret?: { readonly secretName?: string };
}

function specOf(object: KubernetesObject & { readonly spec?: unknown }): Spec {
  return (object.spec ?? {}) as Spec;
}
