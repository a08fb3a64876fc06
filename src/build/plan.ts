import type { Endpoint } from '../queue/endpoint.ts';
import type { TlsMaterial } from '../queue/tls.ts';
import type { Work } from './work.ts';

/** What to do, read once from the inputs and never changed. */
export interface Plan {
  readonly arch: Arch;
  readonly endpoint: Endpoint;
  /** The builders that the work needs, in the order in which their places are taken; never empty. */
  readonly nodes: readonly PlannedNode[];
  /** How long each wait for a builder may last. */
  readonly queueTimeoutMs: number;
  /** How often the work is run again when its builder was lost after the build had begun. */
  readonly lostBuilderRetries: number;
  readonly work: Work;
}

/** One line to wait in, and what its builder is for. */
export interface PlannedNode {
  readonly arch: Arch;
  readonly endpoint: Endpoint;
  /** Those of the platforms asked for that are built here, as they were written; empty: the builder's own. */
  readonly platforms: readonly string[];
  /** Undefined: plain TCP. */
  readonly tls: TlsMaterial | undefined;
}

/** As Docker names platforms. */
export type Arch = 'amd64' | 'arm64';
