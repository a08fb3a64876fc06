import type { Duplex } from 'node:stream';

/**
 * A pool connection whose builder is ours: it has acknowledged our SETTINGS.
 * Our side has sent the 24-byte client preface and one SETTINGS frame (the place token), and opened no stream.
 */
export interface PoolConnection {
  /** Paused; the next byte it gives is the first one after the builder's acknowledgement. */
  readonly socket: Duplex;
  /** The frames the builder sent before its acknowledgement (its SETTINGS first), whole and in order. Not yet acknowledged by us. */
  readonly preamble: Buffer;
}
