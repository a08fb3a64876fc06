/** What all objects of a pool have in common: their labels, and how Kubernetes writes quantities. */
import type { Labels } from '../config/model.ts';
import type { ArchitectureSizing, PoolSizing } from '../sizing/model.ts';

/** Any object of Kubernetes as a plain value. Components build them typed, by the models of `kubernetes-models`. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata?: ObjectMetadata;
}

export interface ObjectMetadata {
  readonly name?: string;
  readonly namespace?: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
}

/** The parts of a pool that run as pods. */
export type Component = 'haproxy' | 'document' | 'builder';

/** Key of the label that tells a builder's architecture. */
export const ARCH_LABEL = 'buildkit-pool/arch';

/** On every object of a pool. */
export function poolLabels({ pool }: PoolSizing): Labels {
  return { 'app.kubernetes.io/name': 'buildkit-pool', 'app.kubernetes.io/instance': pool.name };
}

/** On the pods of one component and what belongs to it; also what selects them, so these never change. */
export function componentLabels(sizing: PoolSizing, component: Component): Labels {
  return { ...poolLabels(sizing), 'app.kubernetes.io/component': component };
}

/** On the builders of one architecture. */
export function builderLabels(sizing: PoolSizing, { name }: Pick<ArchitectureSizing, 'name'>): Labels {
  return { ...componentLabels(sizing, 'builder'), [ARCH_LABEL]: name };
}

/** `1500m`, or whole cores: `4`. */
export function cpuQuantity(cpuMillis: number): string {
  return cpuMillis % 1000 === 0 ? String(cpuMillis / 1000) : `${cpuMillis}m`;
}

const BINARY_UNITS = [
  ['Ti', 2 ** 40],
  ['Gi', 2 ** 30],
  ['Mi', 2 ** 20],
  ['Ki', 2 ** 10],
] as const;

/** In the largest binary unit that keeps it whole: `1536Mi`. */
export function byteQuantity(bytes: number): string {
  const unit = BINARY_UNITS.find(([, size]) => bytes >= size && bytes % size === 0);
  return unit === undefined ? String(bytes) : `${bytes / unit[1]}${unit[0]}`;
}
