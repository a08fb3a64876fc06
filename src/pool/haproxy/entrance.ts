import { EARLY_SETTINGS_ACTION } from './early-settings.ts';
import type { BalancedPool, Entrance, Route, SocketAddress } from './model.ts';
import { at, section } from './section.ts';

/** How long a client may take for its TLS handshake and its first bytes. Those in line have long said them. */
const HELLO_MS = 10_000;

/** One line for each client that did not get in, such as one without a certificate. */
export const REFUSAL_LOG_FORMAT = `{${[
  '"entrance":"%f"',
  '"client":"%ci"',
  '"accepted_ms":%Ts%ms',
  '"refused":"%[fc_err_str,json(ascii)]"',
].join(',')}}`;

/** The frontend of an outer port. */
export function entranceFrontend(entrance: Entrance, pools: readonly BalancedPool[]): string {
  const { tls } = entrance;
  return section(`frontend ${entrance.name}`, [
    `bind ${[at(entrance.bind), ...bindOptions(entrance)].join(' ')}`,
    '# Whoever comes beyond it is accepted when another one leaves; the line, health and metrics do not notice.',
    `maxconn ${entrance.maxConnections}`,
    '# Until a client is handed to its pool; from then on `timeout tunnel` of its way there counts.',
    `timeout client ${HELLO_MS}ms`,
    `tcp-request inspect-delay ${HELLO_MS}ms`,
    '# A build is logged once, by the frontend of its pool.',
    `error-log-format '${REFUSAL_LOG_FORMAT}'`,
    'tcp-request content set-log-level silent',
    ...(tls.kind === 'passed'
      ? ['tcp-request content accept if { req.ssl_hello_type 1 }', 'tcp-request content reject if WAIT_END']
      : ['tcp-request content reject unless { req.len gt 0 }']),
    ...(entrance.earlySettings ? [`tcp-request content ${EARLY_SETTINGS_ACTION}`] : []),
    ...refusal(entrance),
    ...entrance.routes.flatMap((route) =>
      ways(pools, route.pool).map(
        ({ backend, condition }) =>
          `use_backend ${backend} if ${[nameTest(entrance, [route]), condition].join(' ').trim()}`,
      ),
    ),
    ...(entrance.otherwise === null
      ? []
      : ways(pools, entrance.otherwise).map(({ backend, condition }) =>
          condition === '' ? `default_backend ${backend}` : `use_backend ${backend} if ${condition}`,
        )),
  ]);
}

function bindOptions({ tls, otherwise }: Entrance): readonly string[] {
  if (tls.kind !== 'ended') return [];
  return [
    `ssl crt ${tls.certificatePath} ca-file ${tls.clientCaPath} verify required`,
    // grpc-go refuses a server that does not choose HTTP/2 since 1.67.
    'alpn h2 ssl-min-ver TLSv1.2',
    // A name that is not served is refused in the handshake, where the client sees why.
    ...(otherwise === null ? ['strict-sni'] : []),
  ];
}

/** The rules for names of which the certificate knows more than there are pools. */
function refusal(entrance: Entrance): readonly string[] {
  if (entrance.otherwise !== null) return [];
  return [`tcp-request content reject unless ${nameTest(entrance, entrance.routes)}`];
}

function nameTest({ tls }: Entrance, routes: readonly Route[]): string {
  const name = tls.kind === 'passed' ? 'req.ssl_sni' : 'ssl_fc_sni';
  return `{ ${name} -i ${routes.map(({ serverName }) => serverName).join(' ')} }`;
}

interface Way {
  readonly backend: string;
  /** Empty for the last one. */
  readonly condition: string;
}

/** From an entrance to a pool: one way for each head start, and the plain one. */
function ways(pools: readonly BalancedPool[], name: string): readonly Way[] {
  const pool = pools.find((one) => one.name === name);
  return [
    ...(pool?.headStarts ?? []).map((headStart) => ({
      backend: wayName(name, headStart.name),
      condition: `{ ssl_c_s_dn(CN) -m str ${headStart.clients.map(quote).join(' ')} }`,
    })),
    { backend: wayName(name, null), condition: '' },
  ];
}

function wayName(pool: string, headStart: string | null): string {
  return headStart === null ? `to_${pool}` : `to_${pool}_${headStart}`;
}

/** Strong quotes of HAProxy's configuration: nothing in them has a meaning. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The backends through which entrances hand builds to the frontend of `pool`, to be cut after `silentMs` without a byte. */
export function wayBackends(pool: BalancedPool, silentMs: number): readonly string[] {
  const way = (headStart: string | null, bind: SocketAddress): string => {
    const name = wayName(pool.name, headStart);
    return section(`backend ${name}`, [
      `timeout tunnel ${silentMs}ms`,
      // The PROXY header keeps the client's address for the pool's log.
      `server ${name} ${at(bind)} send-proxy-v2`,
    ]);
  };
  return [...pool.headStarts.map((headStart) => way(headStart.name, headStart.bind)), way(null, pool.bind)];
}
