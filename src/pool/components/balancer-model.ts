/** The load balancer's configuration and start in its pod, from the sizing. */
import { slotPort } from '../builder/pod.ts';
import { renderCertificateWatch } from '../haproxy/certificate-watch.ts';
import {
  type BalancedPool,
  type BalancerModel,
  type Entrance,
  type EntranceTls,
  GATHERING_MS,
  type HeadStart,
  type SocketAddress,
} from '../haproxy.ts';
import type { ArchitectureSizing, PoolSizing, Sizing } from '../sizing/model.ts';

const FOLDER = '/usr/local/etc/haproxy';
const RUN = '/run/haproxy';
const TLS = '/etc/buildkit-pool/tls';

/** In the load balancer's pod. */
export const BALANCER_PATHS = {
  folder: FOLDER,
  configuration: `${FOLDER}/haproxy.cfg`,
  script: `${FOLDER}/start.sh`,
  earlySettings: `${FOLDER}/early-settings.lua`,
  run: RUN,
  adminSocket: `${RUN}/admin.sock`,
  tls: `${TLS}/server`,
  clientTls: `${TLS}/client`,
} as const;

/** Words that start.sh sets and HAProxy puts in where its configuration names them. */
const ANY_ADDRESS = '"$' + '{ANY_ADDRESS}"';
const NAME_SERVER = '"$' + '{NAME_SERVER}"';

/**
 * In a planned replacement the old load balancer lets those who wait go only when Kubernetes has found the new one ready
 * and told the old one to stop, and the network may lead them back to the old one for another moment.
 */
const TAKEOVER_MS = 8_000;

const LOOPBACK = '127.0.0.1';
const DNS_PORT = 53;

export function usesEarlySettings({ architectures }: PoolSizing): boolean {
  return architectures.some(({ line }) => line.earlySettingsPort !== null);
}

export function balancerModel({ cluster }: Sizing, pool: PoolSizing): BalancerModel {
  const { balancer } = pool;
  const takePort = portsFrom(balancer.internalPorts);
  const placeholder = loopback(takePort());
  const nameGate = loopback(takePort());
  return {
    threads: balancer.threads.value,
    maxConnections: balancer.maxConnections.value,
    hardStopMs: balancer.hardStopSeconds.value * 1000,
    logTarget: 'stdout format raw local0',
    adminSocketPath: BALANCER_PATHS.adminSocket,
    metrics: { address: ANY_ADDRESS, port: balancer.metricsPort },
    placeholder,
    nameGate,
    nameServers: [{ name: 'dns', address: cluster.dns.address ?? NAME_SERVER, port: DNS_PORT }],
    resolution: {
      intervalMs: balancer.resolveIntervalMs.value,
      holdGoneMs: balancer.holdGoneMs.value,
      holdOutageMs: balancer.holdOutageMs.value,
    },
    timeouts: {
      connectMs: balancer.connectTimeoutMs.value,
      queueMs: balancer.queueTimeoutMs.value,
      clientMs: balancer.clientTimeoutMs.value,
      serverMs: balancer.serverTimeoutMs.value,
    },
    keepalive: {
      idleSeconds: balancer.keepaliveIdleSeconds.value,
      intervalSeconds: balancer.keepaliveIntervalSeconds.value,
      probes: balancer.keepaliveProbes.value,
    },
    checkIntervalMs: balancer.checkIntervalMs.value,
    gatheringMs: TAKEOVER_MS + GATHERING_MS,
    entrances: entrances(pool),
    earlySettingsPath: usesEarlySettings(pool) ? BALANCER_PATHS.earlySettings : null,
    pools: pool.architectures.map((arch) => balancedPool(pool, arch, takePort)),
  };
}

/** Throws when the range is used up, which the sizing rules out. */
function portsFrom({ from, to }: { readonly from: number; readonly to: number }): () => number {
  let next = from;
  return () => {
    if (next > to) {
      throw new Error(`the load balancer has no internal port left of ${from} to ${to}`);
    }
    next += 1;
    return next - 1;
  };
}

function loopback(port: number): SocketAddress {
  return { address: LOOPBACK, port };
}

function balancedPool(pool: PoolSizing, arch: ArchitectureSizing, takePort: () => number): BalancedPool {
  const { tls } = pool.pool;
  const { port } = arch.builder;
  return {
    name: arch.names.frontend,
    bind: loopback(takePort()),
    fedBy: 'entrances',
    places: tls.kind === 'passthrough' ? 'arrival' : 'token',
    headStarts: tls.kind === 'terminate' ? headStarts(pool, takePort) : [],
    builderTls:
      tls.kind === 'terminate'
        ? {
            caPath: `${BALANCER_PATHS.clientTls}/ca.crt`,
            certificatePath: `${BALANCER_PATHS.clientTls}/tls.crt`,
          }
        : null,
    slotPort: slotPort(port),
    plug: loopback(takePort()),
    servers: Array.from({ length: arch.line.ceiling.value }, (_, ordinal) => ({
      name: `b${ordinal}`,
      host: arch.names.builderHost.replace('{ordinal}', String(ordinal)),
      port,
    })),
  };
}

function headStarts({ pool }: PoolSizing, takePort: () => number): readonly HeadStart[] {
  return pool.priorities.map(({ name, headStartMs, clients }) => ({
    // HAProxy's names have no dashes in the middle of a variable.
    name: name.replaceAll('-', '_'),
    headStartMs,
    clients,
    bind: loopback(takePort()),
  }));
}

/** One for each outer port; architectures that share one are told apart by the name that clients ask for. */
function entrances(pool: PoolSizing): readonly Entrance[] {
  const tls = entranceTls(pool);
  const listening = new Map<number, ArchitectureSizing[]>();
  for (const arch of pool.architectures) {
    const port = arch.line.listenPort.value;
    listening.set(port, [...(listening.get(port) ?? []), arch]);
  }
  const plain = [...listening].map(([port, sharing]) => entrance(port, sharing, tls, false));
  const early = pool.architectures.flatMap((arch) =>
    arch.line.earlySettingsPort === null
      ? []
      : [entrance(arch.line.earlySettingsPort.value, [arch], tls, true)],
  );
  return [...plain, ...early];
}

function entrance(
  port: number,
  sharing: readonly ArchitectureSizing[],
  tls: EntranceTls,
  earlySettings: boolean,
): Entrance {
  const [only] = sharing;
  return {
    name: `${earlySettings ? 'early' : 'entrance'}_${port}`,
    bind: { address: ANY_ADDRESS, port },
    maxConnections: sharing.reduce((sum, { line }) => sum + line.clients.value, 0),
    tls,
    earlySettings,
    routes:
      sharing.length === 1
        ? []
        : sharing.flatMap(({ line, names }) =>
            line.serverName === null ? [] : [{ serverName: line.serverName, pool: names.frontend }],
          ),
    otherwise: sharing.length === 1 && only !== undefined ? only.names.frontend : null,
  };
}

function entranceTls({ pool }: PoolSizing): EntranceTls {
  switch (pool.tls.kind) {
    case 'off':
      return { kind: 'off' };
    case 'passthrough':
      return { kind: 'passed' };
    case 'terminate':
      return {
        kind: 'ended',
        certificatePath: `${BALANCER_PATHS.tls}/tls.crt`,
        clientCaPath: `${BALANCER_PATHS.tls}/ca.crt`,
      };
  }
}

/**
 * The program of the load balancer's container. Any request to stop is a soft one: builds that run go on, those who wait
 * are let go and dial again, to the one that takes over. Images may be configured to stop with SIGTERM, which HAProxy
 * would take for "at once". Where TLS ends in the load balancer, renewed certificates are taken up.
 */
export function renderBalancerScript({ cluster }: Sizing, { pool }: PoolSizing): string {
  const { address } = cluster.dns;
  const watch =
    pool.tls.kind === 'terminate'
      ? renderCertificateWatch({
          adminSocketPath: BALANCER_PATHS.adminSocket,
          folders: [BALANCER_PATHS.tls, BALANCER_PATHS.clientTls],
        })
      : null;
  return `#!/bin/sh
# Generated by buildkit-pool. Change the source, not this file.
set -u
ANY_ADDRESS=0.0.0.0
[ -e /proc/net/if_inet6 ] && ANY_ADDRESS=::
export ANY_ADDRESS
${address === null ? FIND_NAME_SERVER : '# The name server is in the configuration.'}
haproxy=
stop() {
  [ -n "$haproxy" ] || exit 0
  kill -USR1 "$haproxy"
}
${watch === null ? '' : `${FIND_SOCAT}${watch}`}trap stop TERM INT USR1
haproxy -db -f ${BALANCER_PATHS.configuration} &
haproxy=$!
${watch === null ? '' : 'watch_certificates &\n'}# A signal ends the wait, not HAProxy.
while :; do
  wait "$haproxy"
  status=$?
  kill -0 "$haproxy" 2> /dev/null || exit "$status"
done
`;
}

/** Better no load balancer beside the old one than one whose certificates end some day. */
const FIND_SOCAT = `command -v socat > /dev/null || {
  echo 'start: this image has no socat, which hands renewed certificates to HAProxy: use the official image, as of 2026' >&2
  exit 1
}
`;

const FIND_NAME_SERVER = `# The cluster's name server, as the kubelet wrote it down.
NAME_SERVER=
while read -r key value _; do
  if [ "$key" = nameserver ]; then
    NAME_SERVER=$value
    break
  fi
done < /etc/resolv.conf
if [ -z "$NAME_SERVER" ]; then
  echo 'start: /etc/resolv.conf names no name server' >&2
  exit 1
fi
export NAME_SERVER`;
