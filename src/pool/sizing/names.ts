/** What objects are called. Two components that mean the same object find its name here. */
import { createHash } from 'node:crypto';
import type { Architecture, Cluster, Pool } from '../config/model.ts';
import type { ArchitectureNames, NamedClient, PoolNames } from './model.ts';

/** Kubernetes' limit of a label's value and of most objects' names. */
export const MAX_LABEL = 63;
/** A StatefulSet's pods carry a label with its name, a dash and a hash of ten characters. */
export const MAX_STATEFUL_SET = MAX_LABEL - 11;

export function poolNames(pool: Pool, cluster: Cluster): PoolNames {
  const { name, namespace, tls } = pool;
  const document = `${name}-document`;
  const balancer = `${name}-haproxy`;
  const clientSecret = `${name}-client-tls`;
  const terminates = tls.kind === 'terminate';
  const made = tls.kind !== 'off' && tls.certificates.kind === 'cert-manager';
  const given = tls.kind !== 'off' && tls.certificates.kind === 'secrets' ? tls.certificates.secrets : null;
  const secret = (wanted: boolean, own: string, theirs: string | undefined) =>
    wanted ? (theirs ?? own) : null;
  return {
    namespace,
    balancer,
    document,
    clientService: pool.exposure.service === 'load-balancer' ? name : null,
    balancerSecret: secret(terminates, `${name}-haproxy-tls`, given?.balancer),
    balancerClientSecret: secret(terminates, `${name}-haproxy-client-tls`, given?.balancerClient),
    buildersSecret: secret(tls.kind !== 'off', `${name}-builders-tls`, given?.builders),
    clientSecret: made ? clientSecret : null,
    namedClients: made
      ? pool.priorities
          .flatMap(({ clients }) => clients)
          // That one everybody has.
          .filter((client) => client !== clientSecret)
          .map((client) => namedClient(pool, client))
      : [],
    documentUrl: `http://${document}.${namespace}.svc.${cluster.domain}:${pool.document.port}/pool.json`,
    balancerUrl: `http://${balancer}.${namespace}.svc.${cluster.domain}:${pool.balancer.metricsPort}`,
  };
}

/** A common name may have letters that no object may: what is left of it gets a mark of the whole. */
function namedClient({ name }: Pool, commonName: string): NamedClient {
  const plain = commonName
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  const mark = createHash('sha256').update(commonName).digest('hex').slice(0, 8);
  const own = plain === commonName ? plain : [plain, mark].filter((part) => part !== '').join('-');
  return { commonName, secret: `${name}-client-${own}-tls` };
}

export function architectureNames(
  pool: Pool,
  architecture: Architecture,
  cluster: Cluster,
): ArchitectureNames {
  const base = `${pool.name}-${architecture.name}`;
  const statefulSet = `${base}-builder`;
  const headlessService = `${base}-builders`;
  return {
    clientService: base,
    statefulSet,
    headlessService,
    scaledObject: base,
    frontend: architecture.name,
    builderHost: `${statefulSet}-{ordinal}.${headlessService}.${pool.namespace}.svc.${cluster.domain}`,
    nodeClass: architecture.nodes.kind === 'karpenter' ? base : null,
  };
}

/** NodePools are cluster-wide; a type's dots become dashes. */
export function nodePoolName(pool: Pool, architecture: Architecture, type: string): string {
  return `${pool.name}-${architecture.name}-${type.replaceAll('.', '-')}`;
}
