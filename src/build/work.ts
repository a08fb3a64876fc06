import type { SetupWork } from '../setup/setup-work.ts';

/** What a step does: read once from the inputs and never changed. */
export type Work = SessionWork | SetupWork;

/** What is done with a builder by the step itself. */
export type SessionWork = BuildWork | BakeWork | RunWork;

/** `docker buildx build`. Lists hold what the flag of the same name takes, ready to be passed on. */
export interface BuildWork {
  readonly kind: 'build';
  /** Folder from the workspace, or a remote one. */
  readonly context: string;
  readonly file: string | undefined;
  readonly addHosts: readonly string[];
  readonly allow: readonly string[];
  readonly annotations: readonly string[];
  readonly attests: readonly string[];
  readonly buildArgs: readonly string[];
  readonly buildContexts: readonly string[];
  readonly cacheFrom: readonly string[];
  readonly cacheTo: readonly string[];
  readonly call: string | undefined;
  readonly cgroupParent: string | undefined;
  readonly labels: readonly string[];
  readonly load: boolean;
  readonly network: string | undefined;
  readonly noCache: boolean;
  readonly noCacheFilters: readonly string[];
  readonly outputs: readonly string[];
  /** The platforms to build for, and so the architectures whose builders are needed. */
  readonly platforms: readonly string[];
  readonly pull: boolean;
  readonly push: boolean;
  /** Of the same id the last one counts (BuildKit's session). */
  readonly secrets: readonly Secret[];
  readonly shmSize: string | undefined;
  readonly ssh: readonly string[];
  readonly tags: readonly string[];
  readonly target: string | undefined;
  readonly ulimits: readonly string[];
}

/** Where a secret comes from: the value itself, a variable of the environment, or a file. */
export type Secret =
  | { readonly kind: 'value'; readonly id: string; readonly value: string }
  | { readonly kind: 'variable'; readonly id: string; readonly name: string }
  | { readonly kind: 'file'; readonly id: string; readonly path: string };

/** `docker buildx bake`. */
export interface BakeWork {
  readonly kind: 'bake';
  readonly source: BakeSource;
  readonly files: readonly string[];
  readonly targets: readonly string[];
  readonly set: readonly string[];
  readonly vars: readonly string[];
  readonly allow: readonly string[];
  readonly call: string | undefined;
  readonly load: boolean;
  readonly noCache: boolean;
  /** The architectures whose builders are needed; what is built for which platform says the definition. */
  readonly platforms: readonly string[];
  /** As `--provenance` takes it. */
  readonly provenance: string | undefined;
  /** For each target that says nothing of provenance, where `provenance` is undefined; undefined for none at all. */
  readonly defaultProvenance: string | undefined;
  readonly pull: boolean;
  readonly push: boolean;
  readonly sbom: string | undefined;
  /** Reads a remote definition, and the contexts in its repository. */
  readonly gitToken: string | undefined;
}

/** Where the definition is: a Git or HTTP URL that the builder fetches, or a folder on this machine. */
export type BakeSource =
  | { readonly kind: 'remote'; readonly url: string }
  | { readonly kind: 'folder'; readonly path: string };

/** A script of the workflow's own, run by a shell with the builder already ours. */
export interface RunWork {
  readonly kind: 'run';
  readonly script: string;
  /** The architectures whose builders are needed. */
  readonly platforms: readonly string[];
}

/** Everything in a work that nobody may read in a log. */
export function secretValues(work: Work): readonly string[] {
  switch (work.kind) {
    case 'build':
      return work.secrets.flatMap((secret) => (secret.kind === 'value' ? [secret.value] : []));
    case 'bake':
      return work.gitToken === undefined ? [] : [work.gitToken];
    case 'run':
    case 'setup':
      return [];
  }
}
