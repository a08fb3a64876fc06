/**
 * The arithmetic of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2, one external metric of type AverageValue, as KEDA
 * creates it) and of KEDA's activation from and to zero. Pure: the clock and the past are handed in.
 *
 * Sources: kubernetes/kubernetes pkg/controller/podautoscaler/{horizontal,replica_calculator}.go (1.35),
 * kedacore/keda pkg/scaling/executor/scale_scaledobjects.go and pkg/fallback/fallback.go (2.20).
 */

export interface HpaSpec {
  /** 0 needs activation: see `stepAutoscaler`. */
  readonly minReplicas: number;
  readonly maxReplicas: number;
  /** The metric's wanted value for one replica: builds for one builder. */
  readonly targetAverage: number;
  readonly scaleUp: ScalingRules;
  readonly scaleDown: ScalingRules;
}

/** One direction of `behavior`. */
export interface ScalingRules {
  /** 0 to 3600 s, as the API demands. */
  readonly stabilizationWindowSeconds: number;
  readonly selectPolicy: 'Max' | 'Min' | 'Disabled';
  readonly policies: readonly ScalingPolicy[];
  /** Nothing happens while usage differs from target by at most this part of it. Kubernetes' own default is 0.1. */
  readonly tolerance: number;
}

export interface ScalingPolicy {
  readonly type: 'Pods' | 'Percent';
  readonly value: number;
  /** 1 to 1800 s, as the API demands. */
  readonly periodSeconds: number;
}

/** What the controller remembers between two looks. */
export interface HpaState {
  /** What each look would have wanted by itself, oldest first. */
  readonly recommendations: readonly Recommendation[];
  /** Changes made, oldest first; up is positive. */
  readonly changes: readonly ScaleChange[];
}

export interface Recommendation {
  readonly atMs: number;
  readonly replicas: number;
}

export interface ScaleChange {
  readonly atMs: number;
  readonly delta: number;
}

export interface HpaDecision {
  readonly replicas: number;
  readonly state: HpaState;
}

export const HPA_START: HpaState = { recommendations: [], changes: [] };

/** How often Kubernetes' controller looks (`--horizontal-pod-autoscaler-sync-period`). */
export const HPA_SYNC_MS = 15_000;

/** Kubernetes' own tolerance, where the HPA does not say (`--horizontal-pod-autoscaler-tolerance`). */
export const HPA_DEFAULT_TOLERANCE = 0.1;

/**
 * This project's rules: up at once to the demand; down only by builders that were not needed at any moment of the last
 * `idleSeconds`, and at most 10 builders or 20 % of them, whichever is more, in `idleSeconds` (at most 1800 s).
 */
export function defaultHpaSpec(minReplicas: number, maxReplicas: number, idleSeconds = 1200): HpaSpec {
  const periodSeconds = Math.min(Math.max(Math.round(idleSeconds), 1), 1800);
  return {
    minReplicas,
    maxReplicas,
    targetAverage: 1,
    scaleUp: {
      stabilizationWindowSeconds: 0,
      selectPolicy: 'Max',
      policies: [
        { type: 'Pods', value: Math.max(maxReplicas, 1), periodSeconds: 1 },
        { type: 'Percent', value: 100, periodSeconds: 1 },
      ],
      tolerance: 0,
    },
    scaleDown: {
      stabilizationWindowSeconds: idleSeconds,
      selectPolicy: 'Max',
      policies: [
        { type: 'Pods', value: 10, periodSeconds },
        { type: 'Percent', value: 20, periodSeconds },
      ],
      tolerance: 0,
    },
  };
}

/**
 * One look of the controller at a workload of `current` replicas, at least 1 (an HPA does nothing at 0).
 * `usage` is the metric's value for the whole workload; null while it cannot be read: the HPA freezes.
 */
export function stepHpa(
  spec: HpaSpec,
  state: HpaState,
  current: number,
  usage: number | null,
  nowMs: number,
): HpaDecision {
  if (current < 1) {
    return { replicas: current, state };
  }
  const minReplicas = Math.max(spec.minReplicas, 1);
  if (current > spec.maxReplicas) {
    return decide(state, current, spec.maxReplicas, spec, nowMs);
  }
  if (current < minReplicas) {
    return decide(state, current, minReplicas, spec, nowMs);
  }
  if (usage === null) {
    return { replicas: current, state };
  }
  // The first look remembers the workload as it is, so that a restarted controller does not shrink it at once.
  const known =
    state.recommendations.length === 0 ? [{ atMs: nowMs, replicas: current }] : state.recommendations;
  const wanted = wantedReplicas(spec, current, usage);
  const stable = stabilize(spec, known, current, wanted, nowMs);
  const limited = limitRate(spec, state.changes, current, stable, minReplicas, nowMs);
  return decide(
    { ...state, recommendations: [...known, { atMs: nowMs, replicas: wanted }] },
    current,
    limited,
    spec,
    nowMs,
  );
}

/** Replicas by the metric alone: unchanged within the tolerance, otherwise usage / target rounded up. */
export function wantedReplicas(spec: HpaSpec, current: number, usage: number): number {
  const ratio = usage / (spec.targetAverage * current);
  const within = 1 - spec.scaleDown.tolerance <= ratio && ratio <= 1 + spec.scaleUp.tolerance;
  return within ? current : Math.ceil(usage / spec.targetAverage);
}

function stabilize(
  spec: HpaSpec,
  known: readonly Recommendation[],
  current: number,
  wanted: number,
  nowMs: number,
): number {
  const since = (windowSeconds: number) =>
    known.filter(({ atMs }) => atMs > nowMs - windowSeconds * 1000).map(({ replicas }) => replicas);
  const floor = Math.min(wanted, ...since(spec.scaleUp.stabilizationWindowSeconds));
  const ceiling = Math.max(wanted, ...since(spec.scaleDown.stabilizationWindowSeconds));
  return Math.min(Math.max(current, floor), ceiling);
}

function limitRate(
  spec: HpaSpec,
  changes: readonly ScaleChange[],
  current: number,
  wanted: number,
  minReplicas: number,
  nowMs: number,
): number {
  if (wanted > current) {
    const limit = Math.max(policyLimit(spec.scaleUp, changes, current, nowMs, 'up'), current);
    return Math.min(wanted, spec.maxReplicas, limit);
  }
  if (wanted < current) {
    const limit = Math.min(policyLimit(spec.scaleDown, changes, current, nowMs, 'down'), current);
    return Math.max(wanted, minReplicas, limit);
  }
  return current;
}

/** How far the policies let the workload go: counted from where it stood when the policy's period began. */
function policyLimit(
  rules: ScalingRules,
  changes: readonly ScaleChange[],
  current: number,
  nowMs: number,
  direction: 'up' | 'down',
): number {
  if (rules.selectPolicy === 'Disabled' || rules.policies.length === 0) {
    return current;
  }
  const limits = rules.policies.map(({ type, value, periodSeconds }) => {
    const start = changes
      .filter(({ atMs }) => atMs > nowMs - periodSeconds * 1000)
      .reduce((replicas, { delta }) => replicas - delta, current);
    if (direction === 'up') {
      return type === 'Pods' ? start + value : Math.ceil(start * (1 + value / 100));
    }
    return type === 'Pods' ? start - value : Math.trunc(start * (1 - value / 100));
  });
  // "Max" means the policy that changes most: downwards that is the smallest number.
  const largest = (rules.selectPolicy === 'Max') === (direction === 'up');
  return largest ? Math.max(...limits) : Math.min(...limits);
}

function decide(
  state: HpaState,
  current: number,
  replicas: number,
  spec: HpaSpec,
  nowMs: number,
): HpaDecision {
  const changes =
    replicas === current ? state.changes : [...state.changes, { atMs: nowMs, delta: replicas - current }];
  const windowMs =
    1000 * Math.max(spec.scaleUp.stabilizationWindowSeconds, spec.scaleDown.stabilizationWindowSeconds);
  const periodMs =
    1000 *
    Math.max(
      0,
      ...[...spec.scaleUp.policies, ...spec.scaleDown.policies].map(({ periodSeconds }) => periodSeconds),
    );
  const last = state.recommendations.at(-1);
  const recent = state.recommendations.filter(({ atMs }) => atMs > nowMs - windowMs);
  return {
    replicas,
    state: {
      // Never empty once it has begun: an empty list means a controller that has just started.
      recommendations: recent.length === 0 && last !== undefined ? [last] : recent,
      changes: changes.filter(({ atMs }) => atMs > nowMs - periodMs),
    },
  };
}
