/**
 * What applying newly rendered objects over older ones does to builds: for each difference whether it does nothing, rolls
 * builders, replaces the load balancer, lets Karpenter replace nodes, or hits a field that Kubernetes refuses to change.
 * Pure.
 */
import type { KubernetesObject } from '../components/object.ts';
import { compareTrust } from './trust.ts';

/**
 * - `nothing`: taken over in place; no build and no builder notices.
 * - `nodes`: new nodes have it; Karpenter leaves one alone as long as there is a builder on it.
 * - `builders`: a new revision of the builders, which each takes when its pod is deleted and drained.
 * - `balancer`: the way into the line is replaced. Of the load balancer itself that is planned: running builds end on the old
 *   one, waiting ones go to the new one. What stands before it is not ours: the reason says what becomes of builds.
 * - `trust`: what the load balancer, the builders that run and the runners speak or trust would no longer fit together.
 * - `immutable`: Kubernetes refuses the change.
 */
export type Effect = 'nothing' | 'nodes' | 'builders' | 'balancer' | 'trust' | 'immutable';

/** The gravest last. */
export const EFFECTS: readonly Effect[] = ['nothing', 'nodes', 'builders', 'balancer', 'trust', 'immutable'];

export interface Change {
  /** `StatefulSet buildkit/default-amd64-builder`; with `trust` the whole pool: `pool buildkit/default`. */
  readonly object: string;
  /** `spec.maxReplicaCount`; empty for an object that comes or goes as a whole. */
  readonly path: string;
  /** As JSON, shortened; null: it is not there. */
  readonly before: string | null;
  readonly after: string | null;
  readonly effect: Effect;
  readonly reason: string;
}

/** In the order of effects, the gravest first, then of the new objects. */
export function compareObjects(
  before: readonly KubernetesObject[],
  after: readonly KubernetesObject[],
): readonly Change[] {
  const old = new Map(before.map((object) => [identify(object), object]));
  const current = new Map(after.map((object) => [identify(object), object]));
  const changes = [
    ...compareTrust(before, after).map(
      ({ pool, ...rest }): Change => ({ ...rest, object: pool, path: 'tls', effect: 'trust' }),
    ),
    ...[...current].flatMap(([id, object]) => {
      const previous = old.get(id);
      return previous === undefined ? [describeWhole(id, object, 'added')] : compareOne(id, previous, object);
    }),
    ...[...old]
      .filter(([id]) => !current.has(id))
      .map(([id, object]) => describeWhole(id, object, 'removed')),
  ];
  return EFFECTS.toReversed().flatMap((effect) => changes.filter((change) => change.effect === effect));
}

/** The gravest of all; `nothing` without any change. */
export function gravest(changes: readonly Change[]): Effect {
  return EFFECTS.findLast((effect) => changes.some((change) => change.effect === effect)) ?? 'nothing';
}

function identify({ kind, metadata }: KubernetesObject): string {
  return `${kind} ${metadata?.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata?.name}`;
}

function compareOne(id: string, before: KubernetesObject, after: KubernetesObject): readonly Change[] {
  return differences(before, after, []).map(({ path, from, to }) => ({
    object: id,
    path: path.join('.'),
    before: from === undefined ? null : shorten(from),
    after: to === undefined ? null : shorten(to),
    ...judge(after, path, from, to),
  }));
}

interface Difference {
  readonly path: readonly string[];
  readonly from: unknown;
  readonly to: unknown;
}

function differences(from: unknown, to: unknown, path: readonly string[]): readonly Difference[] {
  const [left, right] = [asRecord(from), asRecord(to)];
  if (left === null || right === null) {
    return JSON.stringify(from) === JSON.stringify(to) ? [] : [{ path, from, to }];
  }
  const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  return keys.flatMap((key) => differences(left[key], right[key], [...path, key]));
}

/** Lists of things with names are compared name by name; other lists as a whole. */
function asRecord(value: unknown): Readonly<Record<string, unknown>> | null {
  if (Array.isArray(value)) {
    const names = value.map((item: unknown) => nameOf(item));
    return value.length > 0 && names.every((name) => name !== null) && new Set(names).size === names.length
      ? Object.fromEntries(value.map((item: unknown, index) => [names[index] ?? '', item]))
      : null;
  }
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
}

function nameOf(item: unknown): string | null {
  return typeof item === 'object' && item !== null && 'name' in item && typeof item.name === 'string'
    ? item.name
    : null;
}

interface Judgement {
  readonly effect: Effect;
  readonly reason: string;
}

const IN_PLACE: Judgement = { effect: 'nothing', reason: 'taken over in place' };
const NEW_BALANCER: Judgement = {
  effect: 'balancer',
  reason: 'a new load balancer takes over those who wait; running builds end on the old one',
};
const NEW_BUILDERS: Judgement = {
  effect: 'builders',
  reason: 'builders take it when their pods are deleted and drained; new ones have it at once',
};
const NEW_NODES: Judgement = {
  effect: 'nodes',
  reason: 'new nodes have it; Karpenter leaves a node alone as long as there is a builder on it',
};

function judge(object: KubernetesObject, path: readonly string[], from: unknown, to: unknown): Judgement {
  const [section, field] = path;
  const component = object.metadata?.labels?.['app.kubernetes.io/component'];
  if (section === 'metadata') {
    return judgeMetadata(object, path);
  }
  switch (object.kind) {
    case 'StatefulSet':
      return judgeStatefulSet(field);
    case 'Deployment':
      return judgeDeployment(field, component);
    case 'ConfigMap':
      if (component === 'haproxy') return judgeConfiguration(from, to);
      if (component === 'builder') return NEW_BUILDERS;
      return component === 'document' ? NEW_DOCUMENT : IN_PLACE;
    case 'Service':
      return judgeService(path, component, from, to);
    case 'NodePool':
      return judgeNodePool(path);
    case 'EC2NodeClass':
      return NEW_NODES;
    case 'Certificate':
      return judgeCertificate(object, field);
    default:
      return IN_PLACE;
  }
}

/** A line a builder: max may have moved a ceiling that is not written down. */
function judgeConfiguration(from: unknown, to: unknown): Judgement {
  const lines = (text: unknown) => String(text).match(/^ *server b\d+ /gm)?.length ?? 0;
  const [before, after] = [lines(from), lines(to)];
  return before === after
    ? NEW_BALANCER
    : {
        ...NEW_BALANCER,
        reason: `${NEW_BALANCER.reason}; it has ${after} lines for builders instead of ${before}: where only max has changed, a \`ceiling\` in pool.yaml keeps them`,
      };
}

const NEW_DOCUMENT: Judgement = { effect: 'nothing', reason: "the pool document's own server is replaced" };

/** What the API server lets change: ValidateStatefulSetUpdate in pkg/apis/apps/validation of Kubernetes 1.36. */
const STATEFUL_SET_MUTABLE = [
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
];

function judgeStatefulSet(field = ''): Judgement {
  if (field === 'template') {
    return NEW_BUILDERS;
  }
  if (field === 'replicas') {
    return { effect: 'nothing', reason: 'builders are added, or drained from the highest ordinal' };
  }
  return STATEFUL_SET_MUTABLE.includes(field)
    ? IN_PLACE
    : {
        effect: 'immutable',
        reason:
          'Kubernetes refuses it: delete the StatefulSet with --cascade=orphan, apply, then replace its builders one by one',
      };
}

function judgeDeployment(field: string | undefined, component: string | undefined): Judgement {
  if (field === 'selector') {
    return {
      effect: 'immutable',
      reason: 'Kubernetes refuses it: delete the Deployment with --cascade=orphan, then apply',
    };
  }
  if (field !== 'template') {
    return IN_PLACE;
  }
  return component === 'haproxy' ? NEW_BALANCER : NEW_DOCUMENT;
}

const NEW_ENTRANCE: Judgement = {
  effect: 'balancer',
  reason: "the cloud's own load balancer is changed or made anew: builds that run through it may be cut",
};

/** Most of it is for people; some of it is read by controllers. */
function judgeMetadata(object: KubernetesObject, [, field, key = '']: readonly string[]): Judgement {
  switch (object.kind) {
    case 'Service':
      return field === 'annotations' && isEntrance(object) ? NEW_ENTRANCE : IN_PLACE;
    case 'Namespace':
      // Admission looks at pods when they are made, not at those that run.
      return field === 'labels' && (key === '' || key.startsWith('pod-security.kubernetes.io/'))
        ? { effect: 'builders', reason: 'pods that start from now on are held to it; those that run stay' }
        : IN_PLACE;
    case 'ServiceAccount':
      return field === 'annotations' ? NEW_BUILDERS : IN_PLACE;
    default:
      return IN_PLACE;
  }
}

/** Whether a controller of the cloud makes a load balancer from it. */
function isEntrance(object: KubernetesObject & { readonly spec?: { readonly type?: unknown } }): boolean {
  return object.spec?.type === 'LoadBalancer';
}

/**
 * A Service cannot get or lose its address: ValidateServiceClusterIPsRelatedFields and the update checks beside it. What
 * clients dial is another matter: a port that goes takes with it all who must dial again.
 */
function judgeService(
  [, field = '', , detail]: readonly string[],
  component: string | undefined,
  from: unknown,
  to: unknown,
): Judgement {
  if (field === 'clusterIP' && (from === 'None' || to === 'None')) {
    return {
      effect: 'immutable',
      reason: 'Kubernetes refuses it: delete the Service, then apply; names are gone for a moment',
    };
  }
  if (component !== 'haproxy' || from === undefined) return IN_PLACE;
  if (field === 'type') return NEW_ENTRANCE;
  return field === 'ports' && (detail === undefined || detail === 'port')
    ? { effect: 'balancer', reason: 'whoever still dials the old port, and dials again, finds nobody there' }
    : IN_PLACE;
}

function judgeNodePool(path: readonly string[]): Judgement {
  const text = path.join('.');
  if (/^spec\.template\.spec\.nodeClassRef\.(group|kind)$/.test(text)) {
    return { effect: 'immutable', reason: 'Karpenter refuses it: give the NodePool another name' };
  }
  return text.startsWith('spec.template') ? NEW_NODES : IN_PLACE;
}

/** cert-manager writes a new Secret, which each reader has in its own time. */
function judgeCertificate({ metadata, ...rest }: KubernetesObject, field: string | undefined): Judgement {
  const pool = metadata?.labels?.['app.kubernetes.io/instance'];
  const isAuthority = 'spec' in rest && (rest.spec as { readonly isCA?: boolean }).isCA === true;
  if (field === 'renewBefore' || isAuthority) {
    return IN_PLACE;
  }
  switch (metadata?.name) {
    case `${pool}-builders-tls`:
      return { ...NEW_BUILDERS, reason: 'issued anew; buildkitd reads it when its pod starts' };
    case `${pool}-haproxy-tls`:
    case `${pool}-haproxy-client-tls`:
      return { ...IN_PLACE, reason: 'issued anew; the load balancer takes it up by itself' };
    default:
      return { ...IN_PLACE, reason: 'issued anew; hand it on to runners' };
  }
}

function describeWhole(id: string, object: KubernetesObject, what: 'added' | 'removed'): Change {
  const component = object.metadata?.labels?.['app.kubernetes.io/component'];
  return {
    object: id,
    path: '',
    before: what === 'removed' ? 'there' : null,
    after: what === 'added' ? 'there' : null,
    ...(what === 'added' ? { effect: 'nothing', reason: 'new' } : judgeRemoval(object.kind, component)),
  };
}

function judgeRemoval(kind: string, component: string | undefined): Judgement {
  switch (kind) {
    case 'Namespace':
      return {
        effect: 'balancer',
        reason: 'whoever prunes deletes everything in it, running builds included',
      };
    case 'StatefulSet':
      return {
        effect: 'builders',
        reason: 'whoever prunes deletes its builders, each after its drain; otherwise it stays',
      };
    case 'Deployment':
    case 'Service':
      return component === 'haproxy'
        ? { effect: 'balancer', reason: 'whoever prunes deletes it: builds that wait have nowhere to go' }
        : { effect: 'nothing', reason: 'whoever prunes deletes it' };
    default:
      return { effect: 'nothing', reason: 'whoever prunes deletes it' };
  }
}

const SHOWN_CHARACTERS = 60;

function shorten(value: unknown): string {
  const text =
    typeof value === 'string' && value.includes('\n') ? describeText(value) : JSON.stringify(value);
  return text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, SHOWN_CHARACTERS - 1)}…`;
}

function describeText(text: string): string {
  return `(${text.split('\n').length - 1} lines)`;
}
