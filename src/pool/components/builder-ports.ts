import type { BuilderSizing } from '../sizing/model.ts';

/** Ports of a builder pod. */
export interface BuilderPorts {
  /** The gate's: where builds come. */
  readonly builds: number;
  /** The gate's: whether the builder is free, over HTTP. */
  readonly slot: number;
  /** buildkitd's own, on loopback. */
  readonly daemon: number;
}

export function builderPorts({ port }: Pick<BuilderSizing, 'port'>): BuilderPorts {
  return { builds: port, slot: port + 1, daemon: port + 2 };
}
