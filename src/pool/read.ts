/** From the text of pool.yaml to every number, or to everything that is wrong with it. */
import type { PoolFile, Problem } from './config/model.ts';
import type { Sizing } from './sizing/model.ts';

export type Reading =
  | {
      readonly kind: 'accepted';
      readonly file: PoolFile;
      readonly sizing: Sizing;
      /** Risky, not wrong; in the order of the file. */
      readonly warnings: readonly Problem[];
    }
  | {
      readonly kind: 'refused';
      /** Errors and warnings, in the order of the file; at least one error. */
      readonly problems: readonly Problem[];
    };

/** Reads pool.yaml. Pure: opens nothing, never throws for what is in `text`. */
export type ReadPool = (text: string) => Reading;
