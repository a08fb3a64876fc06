/**
 * Certificates by cert-manager. With a CA of the pool's own there are two: one for what clients see and show, one for
 * what builders see and show, so that a runner's certificate opens the load balancer and never a builder.
 */
import type { ICertificate } from '@kubernetes-models/cert-manager/cert-manager.io/v1/Certificate';
import type { IIssuer } from '@kubernetes-models/cert-manager/cert-manager.io/v1/Issuer';
import type { AuthoritySizing, CertificateSizing, PoolSizing } from '../sizing/model.ts';
import { type KubernetesObject, poolLabels } from './object.ts';

/** None without TLS, and none where Secrets come from elsewhere. */
export function certificates(pool: PoolSizing): readonly KubernetesObject[] {
  const { tls } = pool.pool;
  const sizing = pool.certificates;
  if (tls.kind === 'off' || tls.certificates.kind !== 'cert-manager' || sizing === null) {
    return [];
  }
  const given = tls.certificates.issuer;
  const outer = given ?? ownIssuer(pool, 'clients');
  const inner = given ?? ownIssuer(pool, tls.kind === 'passthrough' ? 'clients' : 'builders');
  const builders = { lifetimeMs: sizing.buildersLifetimeMs, renewBeforeMs: sizing.buildersRenewBeforeMs };
  const { balancerSecret, balancerClientSecret, buildersSecret, clientSecret, namedClients } = pool.names;
  return [
    ...(sizing.authority === null
      ? []
      : authorities(pool, sizing.authority, [...new Set([outer.name, inner.name])])),
    ...leaf(pool, sizing, balancerSecret, outer, serverOf(sizing.balancerDnsNames)),
    ...leaf(pool, sizing, clientSecret, outer, clientOf(clientSecret)),
    ...namedClients.flatMap(({ secret, commonName }) =>
      leaf(pool, sizing, secret, outer, clientOf(commonName)),
    ),
    ...leaf(pool, sizing, balancerClientSecret, inner, clientOf(balancerClientSecret)),
    ...leaf(pool, builders, buildersSecret, inner, serverOf(sizing.buildersDnsNames)),
  ];
}

type IssuerReference = ICertificateSpec['issuerRef'];
type ICertificateSpec = NonNullable<ICertificate['spec']>;

function ownIssuer({ pool }: PoolSizing, side: 'clients' | 'builders') {
  return { kind: 'Issuer' as const, name: `${pool.name}-${side}-ca` };
}

function authorities(
  pool: PoolSizing,
  sizing: AuthoritySizing,
  names: readonly string[],
): readonly KubernetesObject[] {
  const root = `${pool.pool.name}-self-signed`;
  const selfSigned: IIssuer = {
    apiVersion: 'cert-manager.io/v1',
    kind: 'Issuer',
    metadata: metadata(pool, root),
    spec: { selfSigned: {} },
  };
  return [
    selfSigned,
    ...names.flatMap((name): readonly [ICertificate, IIssuer] => [
      {
        apiVersion: 'cert-manager.io/v1',
        kind: 'Certificate',
        metadata: metadata(pool, name),
        spec: {
          isCA: true,
          commonName: name,
          secretName: name,
          duration: `${toHours(sizing.lifetimeMs.value)}h`,
          renewBefore: `${toHours(sizing.renewBeforeMs.value)}h`,
          // A new key would be a new CA, which nobody trusts yet.
          privateKey: { algorithm: 'ECDSA', size: 256, rotationPolicy: 'Never' },
          issuerRef: { group: 'cert-manager.io', kind: 'Issuer', name: root },
        },
      },
      {
        apiVersion: 'cert-manager.io/v1',
        kind: 'Issuer',
        metadata: metadata(pool, name),
        spec: { ca: { secretName: name } },
      },
    ]),
  ];
}

/** Whom a certificate is for. */
type Subject = Pick<ICertificateSpec, 'commonName' | 'dnsNames' | 'usages'>;

function serverOf(dnsNames: readonly string[]): Subject {
  return { dnsNames: [...dnsNames], usages: ['digital signature', 'server auth'] };
}

function clientOf(commonName: string | null): Subject {
  return { ...(commonName === null ? {} : { commonName }), usages: ['digital signature', 'client auth'] };
}

/** The Secret has the certificate's name. */
function leaf(
  pool: PoolSizing,
  sizing: Pick<CertificateSizing, 'lifetimeMs' | 'renewBeforeMs'>,
  secret: string | null,
  issuer: Pick<IssuerReference, 'kind' | 'name'>,
  { usages = [], ...subject }: Subject,
): readonly ICertificate[] {
  if (secret === null) {
    return [];
  }
  return [
    {
      apiVersion: 'cert-manager.io/v1',
      kind: 'Certificate',
      metadata: metadata(pool, secret),
      spec: {
        secretName: secret,
        ...subject,
        duration: `${toHours(sizing.lifetimeMs.value)}h`,
        renewBefore: `${toHours(sizing.renewBeforeMs.value)}h`,
        privateKey: { algorithm: 'ECDSA', size: 256, rotationPolicy: 'Always' },
        usages,
        issuerRef: { group: 'cert-manager.io', ...issuer },
      },
    },
  ];
}

function toHours(ms: number): number {
  return Math.round(ms / 3_600_000);
}

function metadata(pool: PoolSizing, name: string) {
  return { name, namespace: pool.names.namespace, labels: { ...poolLabels(pool) } };
}
