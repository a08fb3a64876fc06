/** KEDA's part: activation from and to zero, and what holds while the metric cannot be read. Pure. */
import { HPA_START, type HpaSpec, type HpaState, stepHpa } from './hpa.ts';

export interface KedaSpec {
  /** How often activation is looked at; the HPA asks at its own pace. */
  readonly pollingIntervalMs: number;
  /** How long the metric must have been at or below the threshold before the last replica goes. Only for scaling to zero. */
  readonly cooldownMs: number;
  /** The workload is active while the metric is above this. */
  readonly activationThreshold: number;
  readonly fallback: Fallback | null;
}

/** `fallback` with behaviour `currentReplicasIfHigher`: it may only ever add replicas. */
export interface Fallback {
  /** Fires when this many reads in a row have failed, plus one. */
  readonly failureThreshold: number;
  readonly replicas: number;
}

export interface AutoscalerState {
  readonly hpa: HpaState;
  readonly lastActiveMs: number | null;
  readonly lastPollMs: number | null;
  readonly failures: number;
}

export interface AutoscalerDecision {
  readonly replicas: number;
  readonly state: AutoscalerState;
}

export const AUTOSCALER_START: AutoscalerState = {
  hpa: HPA_START,
  lastActiveMs: null,
  lastPollMs: null,
  failures: 0,
};

/** One look at both: activation when its polling interval is over, then the HPA. `usage` is null when it cannot be read. */
export function stepAutoscaler(
  hpa: HpaSpec,
  keda: KedaSpec,
  state: AutoscalerState,
  current: number,
  usage: number | null,
  nowMs: number,
): AutoscalerDecision {
  const failures = usage === null ? state.failures + 1 : 0;
  const polled = pollActivation(hpa, keda, { ...state, failures }, current, usage, nowMs);
  if (polled.replicas !== current || current === 0) {
    return polled;
  }
  const seen = readableUsage(hpa, keda, failures, current, usage);
  const step = stepHpa(hpa, state.hpa, current, seen, nowMs);
  return { replicas: step.replicas, state: { ...polled.state, hpa: step.state } };
}

function pollActivation(
  hpa: HpaSpec,
  keda: KedaSpec,
  state: AutoscalerState,
  current: number,
  usage: number | null,
  nowMs: number,
): AutoscalerDecision {
  if (state.lastPollMs !== null && nowMs - state.lastPollMs < keda.pollingIntervalMs) {
    return { replicas: current, state };
  }
  const polled = { ...state, lastPollMs: nowMs };
  if (usage === null) {
    return { replicas: raiseToFallback(keda, state.failures, current), state: polled };
  }
  if (usage > keda.activationThreshold) {
    // From zero the HPA begins anew: what it remembered belongs to replicas that are gone.
    return current === 0
      ? { replicas: Math.max(hpa.minReplicas, 1), state: { ...polled, hpa: HPA_START, lastActiveMs: nowMs } }
      : { replicas: current, state: { ...polled, lastActiveMs: nowMs } };
  }
  const cooled = state.lastActiveMs === null || nowMs - state.lastActiveMs > keda.cooldownMs;
  const idle = hpa.minReplicas === 0 && current > 0 && cooled;
  return { replicas: idle ? 0 : Math.max(current, hpa.minReplicas), state: polled };
}

function raiseToFallback(keda: KedaSpec, failures: number, current: number): number {
  const { fallback } = keda;
  return fallback !== null && failures > fallback.failureThreshold
    ? Math.max(current, fallback.replicas)
    : current;
}

/** What KEDA tells the HPA: while the fallback holds, exactly so much that it stays at or rises to the wanted number. */
function readableUsage(
  hpa: HpaSpec,
  keda: KedaSpec,
  failures: number,
  current: number,
  usage: number | null,
): number | null {
  const { fallback } = keda;
  if (usage !== null || fallback === null || failures <= fallback.failureThreshold) {
    return usage;
  }
  return Math.max(current, fallback.replicas) * hpa.targetAverage;
}
