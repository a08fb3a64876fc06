/** Reads the demand from the load balancer and sizes the fleet by the same arithmetic as a cluster. */

import type { HpaSpec } from '../autoscaler/hpa.ts';
import { AUTOSCALER_START, type AutoscalerState, type KedaSpec, stepAutoscaler } from '../autoscaler/keda.ts';
import type { Architecture } from './architecture.ts';
import type { PoolCounters } from './counters.ts';
import type { Fleet } from './fleet.ts';

export interface ScalerOptions {
  readonly arch: Architecture;
  readonly hpa: HpaSpec;
  readonly keda: KedaSpec;
  /** How often it decides. Kubernetes' own is 15 s; a local pool's builders start in a second, so it looks each second. */
  readonly syncMs: number;
  readonly fleet: Fleet;
  readCounters(): Promise<PoolCounters | null>;
  onSample(sample: PoolSample): void;
}

/** The pool at one moment. */
export interface PoolSample {
  readonly arch: Architecture;
  readonly atMs: number;
  /** Null while the load balancer cannot be asked. */
  readonly counters: PoolCounters | null;
  readonly wantedBuilders: number;
  readonly readyBuilders: number;
}

export interface Scaler {
  stop(): void;
}

const SAMPLE_MS = 1000;

/** Starts with `minReplicas` builders. */
export function startScaler(options: ScalerOptions): Scaler {
  const { hpa, keda, fleet } = options;
  let state: AutoscalerState = AUTOSCALER_START;
  let replicas = hpa.minReplicas;
  let decidedAtMs = Number.NEGATIVE_INFINITY;
  let busy = false;
  fleet.scale(replicas);

  const look = async () => {
    const counters = await options.readCounters();
    const nowMs = Date.now();
    if (nowMs - decidedAtMs >= options.syncMs - TIMER_SLACK_MS) {
      decidedAtMs = nowMs;
      const decision = stepAutoscaler(hpa, keda, state, replicas, counters?.sessions ?? null, nowMs);
      state = decision.state;
      if (decision.replicas !== replicas) {
        replicas = decision.replicas;
        fleet.scale(replicas);
      }
    }
    options.onSample({
      arch: options.arch,
      atMs: nowMs,
      counters,
      wantedBuilders: replicas,
      readyBuilders: fleet.readyCount(),
    });
  };

  const timer = setInterval(
    () => {
      // One look at a time: a slow answer skips a look rather than piling them up.
      if (!busy) {
        busy = true;
        void look().finally(() => {
          busy = false;
        });
      }
    },
    Math.min(SAMPLE_MS, options.syncMs),
  );
  return { stop: () => clearInterval(timer) };
}

/** Timers fire up to some milliseconds early or late; a whole look must not be lost to that. */
const TIMER_SLACK_MS = 20;
