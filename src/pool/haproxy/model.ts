/** Everything the load balancer's configuration says. Parsed and derived elsewhere; nothing here is checked again. */

export interface BalancerModel {
  readonly threads: number;
  /**
   * Connections at once: two for each build that comes through an entrance, one for others, and room for the rest. HAProxy
   * accepts nobody beyond it, at whatever port: the entrances' own limits must keep it from ever being reached.
   */
  readonly maxConnections: number;
  /**
   * A process that was asked to stop softly ends after this, whatever still builds: a little before it would be killed.
   * Null: it waits for its last build. In milliseconds.
   */
  readonly hardStopMs: number | null;
  /** As in HAProxy's `log` keyword: `stdout format raw local0`. */
  readonly logTarget: string;
  /** Path of the administration socket (at most 107 bytes), or null for none. */
  readonly adminSocketPath: string | null;
  /** Serves `/metrics` (Prometheus) and `/healthz` over HTTP. */
  readonly metrics: SocketAddress;
  /** Where held places of the placeholder end; only this process connects to it. */
  readonly placeholder: SocketAddress;
  /** `address` may be a name that the system's resolver knows at start. */
  readonly nameServers: readonly NameServer[];
  /** A loopback address through which the names are asked for; see GATHERING_MS. */
  readonly nameGate: SocketAddress;
  readonly resolution: ResolutionTimes;
  readonly timeouts: BalancerTimeouts;
  readonly keepalive: Keepalive;
  readonly checkIntervalMs: number;
  /**
   * How long after its start it gives no builder away, in milliseconds: at least GATHERING_MS, and longer where those who
   * waited at a predecessor are let go only after this one has started.
   */
  readonly gatheringMs: number;
  /** Outer ports that lead to pools with `fedBy: 'entrances'`. */
  readonly entrances: readonly Entrance[];
  /** Path of EARLY_SETTINGS_LUA as a file; needed as soon as one entrance has `earlySettings`. */
  readonly earlySettingsPath: string | null;
  readonly pools: readonly BalancedPool[];
}

export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

export interface NameServer extends SocketAddress {
  readonly name: string;
}

/** How long answers and their absence count, in milliseconds. */
export interface ResolutionTimes {
  readonly intervalMs: number;
  /** A name that is gone takes its builder away after this: about 2 s. */
  readonly holdGoneMs: number;
  /** An unreachable name server takes builders away only after this: hours, or one bad minute empties the pool. */
  readonly holdOutageMs: number;
}

/** In milliseconds, at most 2^31 - 1. */
export interface BalancerTimeouts {
  readonly connectMs: number;
  /** Longer than any client's own deadline, so that a connection closed while it waits always means "dial again". */
  readonly queueMs: number;
  readonly clientMs: number;
  readonly serverMs: number;
}

/** TCP keepalive, the only thing that finds dead peers here. */
export interface Keepalive {
  readonly idleSeconds: number;
  readonly intervalSeconds: number;
  readonly probes: number;
}

/**
 * An outer port that hands its clients to the pools' own frontends, over loopback. So a pool's session count is its
 * demand and nothing else: whoever has not got through the TLS handshake, or knocks only, is counted here.
 */
export interface Entrance {
  /** The frontend's name; no pool may have the same. */
  readonly name: string;
  readonly bind: SocketAddress;
  /** Clients at once: in their handshake, in line and served. */
  readonly maxConnections: number;
  readonly tls: EntranceTls;
  /**
   * Greets every client with an empty SETTINGS frame, so that one that knows nothing of this project (plain buildctl,
   * buildx) waits for hours and not for 20 s. docs/line.md has what such a client loses. Not with pass-through.
   */
  readonly earlySettings: boolean;
  /** By the name that the client asks for in its TLS handshake (SNI). */
  readonly routes: readonly Route[];
  /** The pool of clients with another name or none; null refuses them. */
  readonly otherwise: string | null;
}

export interface Route {
  readonly serverName: string;
  /** The pool's name. */
  readonly pool: string;
}

/**
 * - `off`: nothing is encrypted.
 * - `ended`: here, with client certificates; files are PEM. Each private key lies beside its certificate: `tls.crt`, `tls.key`.
 * - `passed`: at the builder. The load balancer sees no place: such a pool must have `places: 'arrival'`.
 */
export type EntranceTls =
  | { readonly kind: 'off' }
  | { readonly kind: 'passed' }
  | {
      readonly kind: 'ended';
      readonly certificatePath: string;
      /** Whoever has a certificate of one of these CAs may build. */
      readonly clientCaPath: string;
    };

/** One line of builds and the builders that serve it. */
export interface BalancedPool {
  /** The frontend's name: `amd64`. The backend is called `builders_amd64`. */
  readonly name: string;
  /** For `entrances`, a loopback address. */
  readonly bind: SocketAddress;
  /** Who dials `bind`: clients on the network, unencrypted, or this process's own entrances. */
  readonly fedBy: 'network' | 'entrances';
  /**
   * `token`: builds are served in the order in which they joined (the place travels with the client).
   * `arrival`: in the order in which they dialled, for what cannot be read (pass-through).
   */
  readonly places: 'token' | 'arrival';
  /** Clients whose builds count as having joined earlier; only through entrances that end TLS. The first that fits counts. */
  readonly headStarts: readonly HeadStart[];
  /** How the builders are reached. */
  readonly builderTls: BuilderTls | null;
  /**
   * Port of the builders' gate that tells whether another load balancer has the builder (GateModel.slot); null where
   * builders have no gate: then the port that builds use is tried.
   */
  readonly slotPort: number | null;
  /** A loopback address that the ring connects to; see the comments in the generated file. */
  readonly plug: SocketAddress;
  /** In the order in which they are filled. */
  readonly servers: readonly BuilderServer[];
}

export interface HeadStart {
  /** A word of letters, digits and underscores, unique in its pool. */
  readonly name: string;
  /** At most 12 hours; counted in ticks of 256 ms. */
  readonly headStartMs: number;
  /** Common names of client certificates. */
  readonly clients: readonly string[];
  /** A loopback address of its own, through which entrances hand these clients to the pool's frontend. */
  readonly bind: SocketAddress;
}

/** Mutual TLS to the builders; every builder's certificate, which they may share, must be valid for the host of its server line. */
export interface BuilderTls {
  /** Who signs builders. */
  readonly caPath: string;
  /** The load balancer's own certificate, its key beside it. */
  readonly certificatePath: string;
}

export interface BuilderServer {
  readonly name: string;
  /** A name without a dot at the end, or an address. */
  readonly host: string;
  readonly port: number;
}
