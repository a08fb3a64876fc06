/**
 * The pool document: what a pool tells its builds, as JSON at `/pool.json`. The server side writes it, the Action reads
 * it, so that no number is kept twice. Stable: fields are added, never changed or removed, within a version; a reader
 * ignores fields that it does not know. docs/pool-document.md tells it to people.
 */
export const POOL_DOCUMENT_SCHEMA = 'buildkit-pool/pool/v1';

/** Seconds (`_s`) and milliseconds (`_ms`) are numbers of zero and more. */
export interface PoolDocument {
  readonly schema: typeof POOL_DOCUMENT_SCHEMA;
  /** The pool's name in pool.yaml. */
  readonly name: string;
  /** How long a build waits for a builder unless its step says otherwise; shorter than the load balancer's own timeout. */
  readonly queue_timeout_s: number;
  /** How long one attempt to connect may last. */
  readonly connect_timeout_s: number;
  /**
   * How soon a build that lost its connection dials again: full jitter below a bound that doubles from `base_ms` to
   * `cap_ms`. The load balancer waits a little longer than the cap for all of them after its start.
   */
  readonly redial: { readonly base_ms: number; readonly cap_ms: number };
  /** Set-up mode: a builder is kept for so long after its last client has left. */
  readonly linger_s: number;
  /** The load balancer's Prometheus metrics; null: not for builds to read. */
  readonly metrics: PoolMetrics | null;
  /** One line of builds each; at least one, no two of the same architecture. */
  readonly architectures: readonly PoolArchitecture[];
  /** What runs there, by name: `{"buildkit": "0.32.2", "haproxy": "3.4.0"}`. For people. */
  readonly versions: Readonly<Record<string, string>>;
}

export interface PoolMetrics {
  /** `http://host:port/metrics`, without a query. */
  readonly url: string;
  /** How often a waiting build may read it. */
  readonly interval_s: number;
}

export interface PoolArchitecture {
  /** As Docker names architectures: `amd64`. */
  readonly arch: string;
  /** What its builders build, as Docker names platforms, their own first: `["linux/arm64", "linux/arm/v7"]`. */
  readonly platforms: readonly string[];
  /** Where its line begins: `tcp://host:port`. */
  readonly endpoint: string;
  /** Builders at most. */
  readonly max_builders: number;
  /** From asking for a builder that does not exist to having it. */
  readonly expected_cold_start_s: number;
  /** TLS ends in the load balancer, and clients need a certificate; null: plain TCP. */
  readonly tls: PoolTls | null;
  /** What the line is called in the metrics (label `proxy`); null: it is not there. */
  readonly proxies: PoolProxies | null;
}

export interface PoolTls {
  /** The name in the load balancer's certificate, sent as SNI, whatever address is dialled. */
  readonly server_name: string;
}

export interface PoolProxies {
  readonly frontend: string;
  readonly backend: string;
}
