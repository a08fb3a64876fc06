/**
 * The load balancer: one pod, one process, one thread group. Nothing here follows from min, max, spare, idle times or the
 * Action's deadlines, so that they change without touching it; nor from a declared burst that its ceiling has room for.
 */
import { formatDuration } from '../../action/duration.ts';
import type { Pool } from '../config/model.ts';
import { formatSize } from '../config/units.ts';
import { METRICS_CONNECTIONS } from '../haproxy.ts';
import { derived, HOUR_MS, MIB, MINUTE_MS, roundUp } from './derived.ts';
import { clientsOf, LONGEST_EXACT_WAIT_MS } from './line.ts';
import type { ArchitectureSizing, BalancerSizing } from './model.ts';

/** Loopback ports for its dealings with itself. */
export const INTERNAL_PORTS = { from: 21_000, to: 21_999 } as const;
/** Longest deadline that an Action may have (its `queue-timeout`), ms. */
const LONGEST_DEADLINE_MS = 168 * HOUR_MS;
/**
 * A connection that was accepted. Measured with 900 builds that wait, each of them two connections, one with TLS: 47 KiB a
 * build on HAProxy 2.6.12, 48 KiB on 3.4.0. The kernel's share is not in that.
 */
const CONNECTION_BYTES = 64 * 1024;
/** On top, for a build that has a builder: another connection with TLS, and the buffers of two streams, 32 KiB each way. */
const BUSY_BYTES = 192 * 1024;
const PROCESS_BYTES = 256 * MIB;
/** Who reads metrics and health, and a few connections of its own: one to each plug and placeholder, some for names. */
const RESERVED_CONNECTIONS = METRICS_CONNECTIONS + 512;
const BUILDERS_A_THREAD = 128;
const RESOLVE_INTERVAL_MS = 1_000;

export function sizeBalancer(pool: Pool, architectures: readonly ArchitectureSizing[]): BalancerSizing {
  const ceiling = architectures.reduce((sum, { line }) => sum + line.ceiling.value, 0);
  const longestMs = Math.max(0, ...architectures.map(({ architecture }) => architecture.builds.longestMs));
  const deadlineMs = Math.max(0, ...architectures.map(({ line }) => line.queueTimeoutMs.value));
  const clients = architectures.reduce((sum, { line }) => sum + clientsOf(line), 0);
  const maxConnections = 2 * clients + RESERVED_CONNECTIONS;
  const threads = Math.min(Math.max(Math.ceil(ceiling / BUILDERS_A_THREAD), 2), 8);
  const queueTimeoutMs =
    (deadlineMs <= LONGEST_EXACT_WAIT_MS ? LONGEST_EXACT_WAIT_MS : LONGEST_DEADLINE_MS) + HOUR_MS;
  const silentMs = Math.max(queueTimeoutMs, roundUp(longestMs + HOUR_MS, HOUR_MS));
  const silent =
    'longer than any wait and any build: a step may say nothing for hours, and keepalive finds the dead';
  const hardStopSeconds = Math.ceil((longestMs + Math.max(longestMs / 10, 5 * MINUTE_MS)) / 1000);
  return {
    threads: derived(
      threads,
      `one for ${BUILDERS_A_THREAD} of ${ceiling} builders; 2 to 8, all in one thread group: one line`,
    ),
    maxConnections: derived(
      maxConnections,
      `two for each of ${clients} clients, at an entrance and in a line, and ${RESERVED_CONNECTIONS} for health, metrics and its own: these answer however many clients there are`,
    ),
    cpuMillis: derived(threads * 500, 'half a core a thread; contexts and results all pass through'),
    memoryBytes: derived(
      roundUp(PROCESS_BYTES + maxConnections * CONNECTION_BYTES + ceiling * BUSY_BYTES, 64 * MIB),
      `${formatSize(PROCESS_BYTES)}, ${formatSize(CONNECTION_BYTES)} a connection and ${formatSize(BUSY_BYTES)} more a builder`,
    ),
    connectTimeoutMs: derived(5_000, 'a builder in DNS answers at once, or is gone'),
    queueTimeoutMs: derived(
      queueTimeoutMs,
      deadlineMs <= LONGEST_EXACT_WAIT_MS
        ? "an hour more than any deadline of up to a day: a connection closed while waiting always means 'dial again'"
        : 'an hour more than the longest deadline an Action may have, a week',
    ),
    clientTimeoutMs: derived(silentMs, silent),
    serverTimeoutMs: derived(silentMs, silent),
    resolveIntervalMs: derived(
      RESOLVE_INTERVAL_MS,
      `a new builder gets its build a second after its name is there; about ${Math.round(1.5 * ceiling)} queries a second`,
    ),
    holdGoneMs: derived(2_000, 'a name that is gone for two seconds is gone'),
    holdOutageMs: derived(
      24 * HOUR_MS,
      'a name server that is dead takes no builder away for a day; 30 s would empty the pool',
    ),
    keepaliveIdleSeconds: derived(30, 'below the idle limits of clouds'),
    keepaliveIntervalSeconds: derived(10, 'then every 10 s'),
    keepaliveProbes: derived(6, 'a peer that is dead is found after 90 s'),
    checkIntervalMs: derived(2_000, 'a builder is known as up or down within seconds'),
    graceSeconds: derived(
      hardStopSeconds + 60,
      `builds that run when it is replaced end in peace: the longest (${formatDuration(longestMs)}), a tenth or five minutes more, and a minute`,
    ),
    hardStopSeconds: derived(
      hardStopSeconds,
      'a minute before its grace period ends, so that it ends by itself',
    ),
    readiness: {
      periodSeconds: derived(1, 'a new one takes over at once: until then nobody who waits is let go'),
      timeoutSeconds: derived(3, 'its answer takes a millisecond'),
      failureThreshold: derived(5, 'a slow answer is nothing'),
    },
    liveness: {
      periodSeconds: derived(30, 'a restart cuts every build: there is no hurry'),
      timeoutSeconds: derived(10, 'a busy machine is slow, not dead'),
      failureThreshold: derived(10, 'five minutes without any answer'),
    },
    metricsPort: pool.balancer.metricsPort,
    internalPorts: INTERNAL_PORTS,
  };
}
