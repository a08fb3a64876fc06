import type { SetupWork } from '../setup/setup-work.ts';

/** What a step does with a builder: read once from the inputs and never changed. */
export type Work = BuildWork | RunWork | SetupWork;

/** `docker buildx build`. */
export interface BuildWork {
  readonly kind: 'build';
  readonly context: string;
  readonly file: string | undefined;
  readonly tags: readonly string[];
  readonly buildArgs: readonly string[];
  readonly target: string | undefined;
  readonly outputs: readonly string[];
  readonly push: boolean;
  readonly load: boolean;
  readonly platforms: readonly string[];
  readonly noCache: boolean;
}

/** A script of the workflow's own, run by a shell with the builder already ours. */
export interface RunWork {
  readonly kind: 'run';
  readonly script: string;
}
