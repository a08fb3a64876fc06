/** Where an architecture's line begins, and how many builders the load balancer knows. */
import { formatDuration } from '../../action/duration.ts';
import { ARCHITECTURES, type Architecture, type ArchitectureName, type Pool } from '../config/model.ts';
import { derived, HOUR_MS, MINUTE_MS, roundUp } from './derived.ts';
import type { Derived, LineSizing } from './model.ts';

/** The largest number of server lines: each of their names is asked for one and a half times a second (400 made 600 queries). */
export const MAX_CEILING = 2048;
/** The order of the line is exact for waits of a day (docs/line.md). */
export const LONGEST_EXACT_WAIT_MS = 24 * HOUR_MS;
/** Builds that wait for each builder, with whom the order of joining and a deadline still make sense. */
const CLIENTS_A_BUILDER = 8;
/** More than any small pool has; connections that are not made cost nothing. */
const LEAST_CLIENTS = 1024;
/** First port in the load balancer's pod, whatever the outer port is. */
const LISTEN_PORT = 12_340;
/** The Action's own default (`queue-timeout`). */
const LEAST_QUEUE_TIMEOUT_MS = 2 * HOUR_MS;
/** Small enough for any pool, so that the first changes of max change nothing else. */
const LEAST_CEILING = 32;

export function sizeLine(pool: Pool, architecture: Architecture): LineSizing {
  const { builds } = architecture;
  const { exposure, tls } = pool;
  const burstWaitMs = burstWait(architecture);
  const host = clientHost(pool, architecture);
  const port = outerPort(pool, architecture.name);
  const known = ceiling(architecture);
  return {
    ceiling: known,
    clients: clients(known.value, builds.burst ?? 0),
    port,
    listenPort: derived(
      listenPort(pool, architecture.name),
      exposure.ports === 'shared'
        ? 'one for all architectures: the server name tells them apart'
        : 'fixed by architecture, so that another outer port changes the Service only',
    ),
    earlySettingsPort:
      exposure.earlySettingsPort === null
        ? null
        : derived(
            exposure.earlySettingsPort + position(architecture.name),
            'from `exposure.early-settings` on, fixed by architecture',
          ),
    endpoint: derived(
      `tcp://${host}:${port.value}`,
      exposure.host === null ? "the Service's name in the cluster" : '`exposure.host`',
    ),
    serverName: tls.kind === 'off' ? null : host,
    queueTimeoutMs: queueTimeout(architecture, burstWaitMs?.value ?? 0),
    coldStartMs: derived(builds.coldStartMs, '`builds.cold-start`; waiting people are told'),
    burstWaitMs,
    stuckAfterMs: derived(
      2 * MINUTE_MS,
      'an idle builder is given away within seconds; two minutes are no delay any more',
    ),
    longAfterMs: derived(
      Math.max(builds.typicalMs, 15 * MINUTE_MS),
      'a full pool gives back its builders within a typical build; at least 15 minutes',
    ),
    noBuilderAfterMs: derived(
      Math.max(2 * builds.coldStartMs, 5 * MINUTE_MS),
      'twice the expected cold start; at least 5 minutes',
    ),
  };
}

/** What a client of this architecture dials. */
export function clientHost(pool: Pool, architecture: Architecture): string {
  return pool.exposure.host === null
    ? `${pool.name}-${architecture.name}.${pool.namespace}.svc`
    : pool.exposure.host.replaceAll('{arch}', architecture.name);
}

/** How many builders there can be: max, or the fixed number. */
export function mostBuilders(architecture: Architecture): number {
  return architecture.replicas ?? architecture.max;
}

/** The same place for an architecture in every file, whichever others there are. */
function position(architecture: ArchitectureName): number {
  return ARCHITECTURES.indexOf(architecture);
}

function listenPort(pool: Pool, architecture: ArchitectureName): number {
  return pool.exposure.ports === 'shared' ? LISTEN_PORT : LISTEN_PORT + position(architecture);
}

function outerPort(pool: Pool, architecture: ArchitectureName): Derived {
  const { service, ports, port } = pool.exposure;
  if (ports === 'shared') return derived(port, '`exposure.port`, shared by all architectures');
  return service === 'cluster'
    ? derived(port, '`exposure.port`; each architecture has a Service of its own')
    : derived(port + position(architecture), 'from `exposure.port` on, fixed by architecture');
}

function ceiling(architecture: Architecture): Derived {
  if (architecture.ceiling !== null) {
    return derived(
      architecture.ceiling,
      '`ceiling`: max can grow to it, and the load balancer stays as it is',
    );
  }
  // Of max even with a fixed number, so that autoscaling can be switched on without a new load balancer.
  const most = Math.max(architecture.max, mostBuilders(architecture));
  const value = Math.min(Math.max(stepAbove(2 * most), LEAST_CEILING), MAX_CEILING);
  return derived(
    value,
    `2 x ${most}, rounded up to a step and at least ${LEAST_CEILING}: the load balancer stays as it is while max is at most ${Math.floor(value / 2)}, and is replaced beyond that, for a new ceiling; with \`ceiling: ${value}\` in the file max can grow to ${value}`,
  );
}

/** The next of 32, 48, 64, 96, 128, 192 and so on. */
function stepAbove(wanted: number): number {
  let step = LEAST_CEILING;
  while (step < wanted) {
    if (step * 1.5 >= wanted) return step * 1.5;
    step *= 2;
  }
  return step;
}

/** Served, waiting, and those who come back before their old connections are seen to be dead. */
function clients(ceiling: number, burst: number): Derived {
  const wanted = Math.max(CLIENTS_A_BUILDER * ceiling, Math.ceil(1.5 * burst), LEAST_CLIENTS);
  return derived(
    roundUp(wanted, 256),
    `${CLIENTS_A_BUILDER} for each of ${ceiling} builders${burst === 0 ? '' : `, one and a half of the declared burst of ${burst}`}, at least ${LEAST_CLIENTS}; whoever comes beyond that is accepted when another one leaves`,
  );
}

/** Clients of all entrances that an architecture has of its own, or its share of one. */
export function clientsOf({ clients: each, earlySettingsPort }: LineSizing): number {
  return earlySettingsPort === null ? each.value : 2 * each.value;
}

/** How long the last of the declared burst waits, if all builds are typical and the pool was at its minimum. */
function burstWait(architecture: Architecture): Derived | null {
  const { burst, coldStartMs, typicalMs } = architecture.builds;
  if (burst === null) return null;
  const ready = architecture.replicas ?? Math.max(architecture.min, architecture.spare);
  if (burst <= ready) return derived(0, `${burst} builds join at once and ${ready} builders are ready`);
  const most = Math.max(mostBuilders(architecture), 1);
  const rounds = Math.ceil(burst / most);
  const coldMs = architecture.replicas === null ? coldStartMs : 0;
  return derived(
    coldMs + (rounds - 1) * typicalMs,
    rounds === 1
      ? `${burst} builds join at once and ${ready} builders are ready: the others wait for one cold start`
      : `${burst} builds join at once on at most ${most} builders: ${rounds} rounds, so ${rounds - 1} typical builds${coldMs > 0 ? ' and a cold start' : ''}`,
  );
}

function queueTimeout(architecture: Architecture, burstWaitMs: number): Derived {
  const { builds } = architecture;
  if (builds.queueTimeoutMs !== null) return derived(builds.queueTimeoutMs, '`builds.queue-timeout`');
  const wanted = Math.max(
    LEAST_QUEUE_TIMEOUT_MS,
    builds.longestMs + 2 * builds.coldStartMs,
    burstWaitMs * 1.5,
  );
  const value = Math.max(
    Math.min(roundUp(wanted, 15 * MINUTE_MS), LONGEST_EXACT_WAIT_MS),
    // A cold start of a day leaves no choice.
    roundUp(2 * builds.coldStartMs, 15 * MINUTE_MS),
  );
  return derived(
    value,
    `the longest build and two cold starts are ${formatDuration(builds.longestMs + 2 * builds.coldStartMs)}${
      burstWaitMs > 0
        ? `, one and a half waits of the declared burst ${formatDuration(burstWaitMs * 1.5)}`
        : ''
    }; at least ${formatDuration(LEAST_QUEUE_TIMEOUT_MS)}, at most a day, in quarters of an hour`,
  );
}
