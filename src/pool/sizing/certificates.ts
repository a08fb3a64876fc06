/** Certificates: their names, and whether they last long enough for every builder to take a new one. */
import { formatDuration } from '../../action/duration.ts';
import type { Cluster, Pool } from '../config/model.ts';
import { derived } from './derived.ts';
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
