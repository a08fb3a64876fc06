import type { Endpoint } from '../queue/endpoint.ts';
import type { Work } from './work.ts';

/** What to do, read once from the inputs and never changed. */
export interface Plan {
  readonly arch: Arch;
  readonly endpoint: Endpoint;
  /** How long each wait for a builder may last. */
  readonly queueTimeoutMs: number;
  /** How often the work is run again when its builder was lost after the build had begun. */
  readonly lostBuilderRetries: number;
  /** Which buildx to install: `v0.36.1` or `latest`; undefined: the one that is there. */
  readonly buildxVersion: string | undefined;
  readonly work: Work;
  /** What a person should know of the inputs, although it keeps nothing from being done. */
  readonly warnings: readonly string[];
}

/** As Docker names platforms. */
export type Arch = 'amd64' | 'arm64';
