/** Where pods run: builders on their own nodes, everything else off them. */
import type { IPod } from 'kubernetes-models/v1/Pod';
import type { Labels, Toleration } from '../config/model.ts';
import type { ArchitectureSizing, PoolSizing, Sizing } from '../sizing/model.ts';
import { componentLabels } from './object.ts';

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
 * Of the load balancer and the pool document: never on a node that is made for builders, which comes and goes, and whose
 * going would end every build of the pool. Where builders run on any node this can only be a wish: a cluster of one node
 * must hold them all.
 */
export function placeBesideBuilders(sizing: Sizing, pool: PoolSizing): Placement {
  const { selector, tolerations } = pool.pool.balancer;
  const terms = avoidingTerms(sizing);
  const affinity: PodAffinity = {
    ...(terms.length === 0
      ? {}
      : {
          nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } },
        }),
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        {
          weight: 100,
          podAffinityTerm: {
            labelSelector: { matchLabels: { ...componentLabels(pool, 'builder') } },
            topologyKey: 'kubernetes.io/hostname',
          },
        },
      ],
    },
  };
  return {
    ...(Object.keys(selector).length === 0 ? {} : { nodeSelector: { ...selector } }),
    ...withTolerations(tolerations.map(renderToleration)),
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
