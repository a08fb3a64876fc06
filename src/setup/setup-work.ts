import type { Hold } from './line-order.ts';

/** What set-up mode does: leaves a builder of buildx's for the later steps of the job. */
export interface SetupWork {
  readonly kind: 'setup';
  /** Of the builder; undefined for one that is made up. */
  readonly name: string | undefined;
  /** Makes it the default of the later steps. */
  readonly use: boolean;
  readonly hold: Hold;
  /** How long a builder is kept after its last client has left, ms; undefined: what the pool document says, or 30 s. */
  readonly lingerMs: number | undefined;
  /** Removes the builder's entry from buildx when the job ends. */
  readonly cleanup: boolean;
}

/** A little more than the 20 s after which a client of BuildKit's gives up and comes again. */
export const DEFAULT_LINGER_MS = 30_000;
