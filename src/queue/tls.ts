/** What a connection to a pool with TLS needs. PEM contents, never paths. */
export interface TlsMaterial {
  /** Who signs the load balancer's certificate; the system's authorities when left out. */
  readonly ca?: string;
  /** Ours, with what leads to its signer. */
  readonly cert?: string;
  readonly key?: string;
  /** The name in the load balancer's certificate, sent as SNI; the host that is dialled when left out. */
  readonly serverName?: string;
}
