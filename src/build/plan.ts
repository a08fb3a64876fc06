import type { PoolMetrics, PoolProxies } from '../pool-document/document.ts';
import type { Backoff } from '../queue/backoff.ts';
import type { Endpoint } from '../queue/endpoint.ts';
import type { TlsMaterial } from '../queue/tls.ts';
import type { Arch } from './architecture.ts';
import type { SessionWork, Work } from './work.ts';

export type { Arch };

/** What to do, read once from the inputs and the pool document and never changed. */
export interface Plan {
  /** The builders that the work needs, in the order in which their places are taken; empty only where `unreached` says why. */
  readonly nodes: readonly PlannedNode[];
  /** Why nothing can be asked of the pool, where the work is done all the same (`fallback`). */
  readonly unreached?: string;
  /** How long each search for all of them may last. */
  readonly queueTimeoutMs: number;
  /** How long one attempt to connect may last. */
  readonly connectTimeoutMs: number;
  /** Set-up mode: how long a builder is kept after its last client has left; undefined: the pool does not say. */
  readonly lingerMs?: number | undefined;
  /** For dialling again. */
  readonly backoff: Backoff;
  /** How often the work is run again when a builder was lost after the build had begun. */
  readonly lostBuilderRetries: number;
  /** Whether this machine's own engine builds when the pool can't be had. */
  readonly fallback: 'none' | 'local';
  /** Which buildx to install: `v0.36.1` or `latest`; undefined: the one that is there. */
  readonly buildxVersion: string | undefined;
  /** Where the line's length can be read; undefined: nowhere. */
  readonly metrics: PoolMetrics | undefined;
  readonly work: Work;
  /** What a person should know of the inputs, although it keeps nothing from being done. */
  readonly warnings: readonly string[];
}

/** A plan whose work is done by this step. */
export interface SessionPlan extends Plan {
  readonly work: SessionWork;
}

/** One line to wait in, and what its builder is for. */
export interface PlannedNode {
  readonly arch: Arch;
  readonly endpoint: Endpoint;
  /** Those of the platforms asked for that are built here, as they were written; empty: the builder's own. */
  readonly platforms: readonly string[];
  /** What to say that its builder builds before there is one: those asked for, else what the pool document says. */
  readonly builds: readonly string[];
  /** Undefined: plain TCP. */
  readonly tls: TlsMaterial | undefined;
  /** What the line is called in the metrics; undefined: unknown. */
  readonly proxies: PoolProxies | undefined;
  /** Builders at most; undefined: unknown. */
  readonly maxBuilders: number | undefined;
}
