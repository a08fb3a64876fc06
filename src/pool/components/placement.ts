/** Where pods run: builders on their own nodes, everything else off them. */
import type { IPod } from 'kubernetes-models/v1/Pod';
import type { Labels, Toleration } from '../config/model.ts';
import type { ArchitectureSizing, PoolSizing, Sizing } from '../sizing/model.ts';
import { type Component, componentLabels } from './object.ts';

type PodSpec = NonNullable<IPod['spec']>;
type PodAffinity = NonNullable<PodSpec['affinity']>;
type PodToleration = NonNullable<PodSpec['tolerations']>[number];
type Placement = Pick<PodSpec, 'nodeSelector' | 'tolerations' | 'affinity'>;

/** Taint and label of the nodes that Karpenter makes for one architecture's builders; the value is the node class. */
export const BUILDER_NODE = 'buildkit-pool/builder';

/** Of the builders of one architecture. */
export function placeBuilders({ name, architecture, names }: ArchitectureSizing): Placement {
  const arch = { 'kubernetes.io/arch': name };
  const { nodes } = architecture;
  switch (nodes.kind) {
    case 'any':
      return { nodeSelector: arch };
    case 'selector':
      return {
        nodeSelector: { ...arch, ...nodes.selector },
        ...withTolerations(nodes.tolerations.map(renderToleration)),
      };
    case 'karpenter': {
      const value = names.nodeClass ?? '';
      return {
        nodeSelector: { ...arch, [BUILDER_NODE]: value },
        tolerations: [{ key: BUILDER_NODE, operator: 'Equal', value, effect: 'NoSchedule' }],
      };
    }
  }
}

/**
 * On a node that has died a pod stays for five minutes by default, and nothing takes its place meanwhile. A node that was
 * only out of touch does no harm: its pods end as softly as in any replacement, and the gate of a builder takes one build
 * at a time, whichever load balancer sends it.
 */
const DEAD_NODE_SECONDS = 30;
const DEAD_NODE = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'].map(
  (key) => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: DEAD_NODE_SECONDS }) as const,
);

/**
 * Of the load balancer and the pool document: never on a node that is made for builders, which comes and goes, and whose
 * going would end every build of the pool. Where builders run on any node this can only be a wish: a cluster of one node
 * must hold them all.
 */
export function placeBesideBuilders(
  sizing: Sizing,
  pool: PoolSizing,
  component: 'haproxy' | 'document',
): Placement {
  const { selector, tolerations } = pool.pool.balancer;
  const apart: readonly Component[] = component === 'document' ? ['builder', 'document'] : ['builder'];
  const terms = avoidingTerms(sizing);
  const affinity: PodAffinity = {
    ...(terms.length === 0
      ? {}
      : {
          nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } },
        }),
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: apart.map((other) => ({
        weight: 100,
        podAffinityTerm: {
          labelSelector: { matchLabels: { ...componentLabels(pool, other) } },
          topologyKey: 'kubernetes.io/hostname',
        },
      })),
    },
  };
  return {
    ...(Object.keys(selector).length === 0 ? {} : { nodeSelector: { ...selector } }),
    tolerations: [
      ...tolerations.map(renderToleration),
      // Whoever names one of these taints has decided.
      ...DEAD_NODE.filter(({ key }) => !tolerations.some((given) => given.key === key)),
    ],
    affinity,
  };
}

interface NodeSelectorTerm {
  matchExpressions: { key: string; operator: 'NotIn' | 'DoesNotExist'; values?: string[] }[];
}

/**
 * Terms are alternatives, expressions within a term all hold. A node is not the builders' when at least one label of their
 * selector is not on it; this must hold for every selector, so each choice of one label from each selector is a term.
 */
function avoidingTerms({ pools }: Sizing): NodeSelectorTerm[] {
  const architectures = pools.flatMap((pool) => pool.architectures);
  const karpenter = architectures.some(({ names }) => names.nodeClass !== null);
  const selectors = new Map(
    architectures.flatMap(({ architecture: { nodes } }) =>
      nodes.kind === 'selector' ? [[JSON.stringify(nodes.selector), nodes.selector] as const] : [],
    ),
  );
  if (!karpenter && selectors.size === 0) {
    return [];
  }
  const start: NodeSelectorTerm = {
    matchExpressions: karpenter ? [{ key: BUILDER_NODE, operator: 'DoesNotExist' }] : [],
  };
  return [...selectors.values()].reduce<NodeSelectorTerm[]>(excludeSelector, [start]);
}

function excludeSelector(terms: NodeSelectorTerm[], selector: Labels): NodeSelectorTerm[] {
  return terms.flatMap(({ matchExpressions }) =>
    Object.entries(selector).map(([key, value]) => ({
      matchExpressions: [...matchExpressions, { key, operator: 'NotIn' as const, values: [value] }],
    })),
  );
}

function withTolerations(tolerations: PodToleration[]): Pick<PodSpec, 'tolerations'> {
  return tolerations.length === 0 ? {} : { tolerations };
}

function renderToleration({ key, value, effect }: Toleration): PodToleration {
  return {
    key,
    ...(value === null ? { operator: 'Exists' } : { operator: 'Equal', value }),
    ...(effect === null ? {} : { effect }),
  };
}
