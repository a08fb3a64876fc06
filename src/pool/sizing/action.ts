/** The runner side's numbers, handed to it in the pool document, and the server of that document. */
import { DIAL_BACKOFF } from '../../queue/backoff.ts';
import type { Pool } from '../config/model.ts';
import { derived, MIB } from './derived.ts';
import type { ActionSizing, ArchitectureSizing, DocumentSizing } from './model.ts';

export function sizeAction(architectures: readonly ArchitectureSizing[]): ActionSizing {
  const deadlines = architectures.map(({ line }) => line.queueTimeoutMs);
  const longest = deadlines.reduce(
    (most, deadline) => (deadline.value > most.value ? deadline : most),
    deadlines[0] ?? derived(0, 'no architecture'),
  );
  return {
    queueTimeoutMs: derived(longest.value, `the longest of all architectures: ${longest.reason}`),
    connectTimeoutMs: derived(15_000, 'for one attempt when nobody answers at all'),
    backoffBaseMs: derived(DIAL_BACKOFF.baseMs, 'bound of the first delay, full jitter'),
    backoffCapMs: derived(
      DIAL_BACKOFF.capMs,
      'after a restart the load balancer lets nobody through for a little longer than this, so that all are back in their places',
    ),
    lingerMs: derived(
      30_000,
      "longer than the pauses between a client's own attempts (20 s), so that one that gave up and came back has its place",
    ),
    metricsIntervalMs: derived(15_000, 'how often a waiting build reads its position for its person'),
  };
}

export function sizeDocument(pool: Pool): DocumentSizing {
  return {
    port: pool.document.port,
    replicas: derived(2, 'one may be replaced while the other answers'),
    cpuMillis: derived(20, 'one small file'),
    memoryBytes: derived(32 * MIB, 'one small file'),
    maxAgeSeconds: derived(60, 'a change is everywhere within a minute'),
  };
}
