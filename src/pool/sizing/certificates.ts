/** Certificates: their names, and whether they last long enough for every builder to take a new one. */
import { formatDuration } from '../../action/duration.ts';
import type { Cluster, Pool, Tls } from '../config/model.ts';
import { derived, HOUR_MS } from './derived.ts';
import { clientHost, mostBuilders } from './line.ts';
import type { ArchitectureSizing, CertificateSizing } from './model.ts';

export function sizeCertificates(
  pool: Pool,
  cluster: Cluster,
  architectures: readonly ArchitectureSizing[],
): CertificateSizing | null {
  if (pool.tls.kind === 'off') return null;
  const { lifetimeMs, renewBeforeMs } = pool.tls.certificates;
  const roll = rollTime(pool, architectures);
  const domain = cluster.domain;
  const clientNames = architectures.flatMap(({ architecture, names }) => [
    clientHost(pool, architecture),
    `${names.clientService}.${pool.namespace}.svc`,
    `${names.clientService}.${pool.namespace}.svc.${domain}`,
    `${names.clientService}.${pool.namespace}`,
    names.clientService,
  ]);
  const builderNames = architectures.map(
    ({ names }) => `*.${names.headlessService}.${pool.namespace}.svc.${domain}`,
  );
  return {
    lifetimeMs: derived(lifetimeMs, '`tls.lifetime`'),
    renewBeforeMs: derived(renewBeforeMs, '`tls.renew-before`'),
    ...sizeBuilders(pool.tls),
    rollMs: derived(roll.value, roll.reason),
    alertBeforeMs: derived(
      Math.floor((renewBeforeMs + roll.value) / 2),
      'half way between renewal and the last moment to begin a roll: by then renewal has failed',
    ),
    balancerDnsNames: unique(clientNames),
    buildersDnsNames: unique(
      pool.tls.kind === 'passthrough' ? [...clientNames, ...builderNames] : builderNames,
    ),
  };
}

const YEAR_MS = 365 * 24 * HOUR_MS;
const AUTHORITY_YEARS = 10;

/** Where the pool's own CA signs, it can sign for long; where somebody else does, nobody knows what he allows. */
function sizeBuilders(
  tls: Exclude<Tls, { kind: 'off' }>,
): Pick<CertificateSizing, 'buildersLifetimeMs' | 'buildersRenewBeforeMs' | 'authority'> {
  const { lifetimeMs, renewBeforeMs } = tls.certificates;
  if (tls.certificates.kind !== 'cert-manager' || tls.certificates.issuer !== null) {
    return {
      buildersLifetimeMs: derived(lifetimeMs, '`tls.lifetime`: not signed by a CA of the pool'),
      buildersRenewBeforeMs: derived(renewBeforeMs, '`tls.renew-before`: not signed by a CA of the pool'),
      authority: null,
    };
  }
  const leastMs = Math.max(YEAR_MS, renewBeforeMs);
  const buildersMs = Math.max(2 * leastMs, lifetimeMs);
  return {
    buildersLifetimeMs: derived(
      buildersMs,
      'at least twice what is left when it is renewed; `tls.lifetime` if that is longer',
    ),
    buildersRenewBeforeMs: derived(
      leastMs,
      'buildkitd reads its certificate at start only, and `min` builders may never start anew: at least a year is left to each that starts; `tls.renew-before` if that is longer',
    ),
    authority: {
      lifetimeMs: derived(
        Math.max(AUTHORITY_YEARS * YEAR_MS, 2 * buildersMs),
        'ten years, or twice the longest certificate: a CA is replaced with an overlap, by hand',
      ),
      renewBeforeMs: derived(
        buildersMs,
        "the builders' lifetime: no certificate outlives the CA that it was signed with",
      ),
    },
  };
}

/**
 * buildkitd reads its key pair once, at start. A roll lets idle builders go first and at most as many at once as
 * scale-down does; each wave waits for its longest build and for new builders.
 */
function rollTime(pool: Pool, architectures: readonly ArchitectureSizing[]) {
  const rolls = architectures.map(({ architecture, drain }) => {
    const most = mostBuilders(architecture);
    const wave = Math.max(
      pool.scaleDown.atOnceBuilders,
      Math.floor((most * pool.scaleDown.atOncePercent) / 100),
      1,
    );
    const waves = Math.max(Math.ceil(most / wave), 1);
    const waveMs = drain.graceSeconds.value * 1000 + architecture.builds.coldStartMs;
    return {
      value: waves * waveMs,
      reason: `${architecture.name}: ${most} builders, ${wave} at a time, are ${waves} ${waves === 1 ? 'wave' : 'waves'} of a grace period and a cold start (${formatDuration(waveMs)})`,
    };
  });
  return rolls.reduce((longest, roll) => (roll.value > longest.value ? roll : longest), {
    value: 0,
    reason: 'no builder',
  });
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names)];
}
