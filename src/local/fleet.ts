/**
 * The builders of one pool, as a StatefulSet with podManagementPolicy Parallel keeps them: ordinals 0 to n-1, all started
 * at once, the highest removed first; an ordinal that is being drained comes back only when its drain is over.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Builder, type BuilderPrograms, startBuilder } from './builders.ts';
import type { PoolFolder } from './folder.ts';

export interface FleetOptions {
  readonly programs: BuilderPrograms;
  readonly folder: PoolFolder;
  readonly port: number;
  /** Tells this fleet's folders from another one's. */
  readonly prefix: string;
  /** What the builders say that they build; empty: what the machine does. */
  readonly platforms: readonly string[];
  /** Where the builder with this ordinal listens. */
  addressOf(ordinal: number): string;
  /** How long the load balancer may still send builds to a builder whose name is gone. */
  readonly forgetMs: number;
  onReady(builder: FleetBuilder): void;
  /** The builder no longer takes builds: it is drained, or it died. */
  onLeaving(builder: FleetBuilder): void;
  onGone(builder: FleetBuilder, reason: GoneReason): void;
  /** A builder that cannot be started; it is tried again. */
  onTrouble(error: Error): void;
}

export interface FleetBuilder {
  readonly ordinal: number;
  readonly address: string;
}

export type GoneReason = 'drained' | 'died' | 'stopped';

export interface Fleet {
  /** Returns at once; builders come and go after it. */
  scale(replicas: number): void;
  /** Builders that exist, drained ones among them: what a StatefulSet reports as status.replicas. */
  count(): number;
  readyCount(): number;
  /** Sends `signal` to the buildkitd with this ordinal; false when there is none. */
  kill(ordinal: number, signal: NodeJS.Signals): boolean;
  /** Ends all without waiting for their builds. */
  stop(): Promise<void>;
}

type Phase = 'starting' | 'ready' | 'draining';

interface Slot {
  phase: Phase;
  builder: Builder | null;
  readonly ended: Promise<void>;
}

const DRAIN_LOOK_MS = 500;
const IDLE_LOOKS = 2;
const FIRST_RESTART_MS = 500;
const LAST_RESTART_MS = 30_000;

export function createFleet(options: FleetOptions): Fleet {
  const slots = new Map<number, Slot>();
  const failures = new Map<number, number>();
  const stopping = new AbortController();
  let wanted = 0;
  let incarnations = 0;

  const fill = () => {
    for (let ordinal = 0; ordinal < wanted && !stopping.signal.aborted; ordinal += 1) {
      if (!slots.has(ordinal)) {
        startSlot(ordinal);
      }
    }
  };

  const startSlot = (ordinal: number) => {
    incarnations += 1;
    const folder = join(options.folder.path, `${options.prefix}-${ordinal}-${incarnations}`);
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const slot: Slot = { phase: 'starting', builder: null, ended };
    slots.set(ordinal, slot);
    const identity: FleetBuilder = { ordinal, address: options.addressOf(ordinal) };
    void live(identity, slot, folder)
      .catch((error: unknown) => {
        options.onTrouble(error instanceof Error ? error : new Error(String(error)));
        return 'died' as const;
      })
      .then(async (reason) => {
        await slot.builder?.end();
        if (slot.builder?.child.identity) {
          await options.folder.forget(slot.builder.child.identity);
        }
        options.onGone(identity, reason);
        if (reason === 'died') {
          await pauseBeforeRestart(ordinal);
        }
      })
      .finally(() => {
        slots.delete(ordinal);
        resolve();
        fill();
      });
  };

  const pauseBeforeRestart = async (ordinal: number) => {
    const failed = failures.get(ordinal) ?? 0;
    failures.set(ordinal, failed + 1);
    const pauseMs = Math.min(FIRST_RESTART_MS * 2 ** failed, LAST_RESTART_MS);
    await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined);
  };

  const live = async (identity: FleetBuilder, slot: Slot, folder: string): Promise<GoneReason> => {
    const builder = await startBuilder({
      programs: options.programs,
      address: identity.address,
      port: options.port,
      cgroup: options.folder.cgroup,
      platforms: options.platforms,
      folder,
    });
    slot.builder = builder;
    if (builder.child.identity) {
      await options.folder.record(builder.child.identity);
    }
    if (stopping.signal.aborted) {
      return 'stopped';
    }
    await builder.ready.catch((error: unknown) => {
      if (!stopping.signal.aborted) {
        throw error;
      }
    });
    if (stopping.signal.aborted) {
      return 'stopped';
    }
    failures.delete(identity.ordinal);
    if (identity.ordinal >= wanted) {
      return 'drained';
    }
    slot.phase = 'ready';
    options.onReady(identity);
    while (!builder.child.hasExited() && !stopping.signal.aborted && identity.ordinal < wanted) {
      await Promise.race([builder.exited, nextChange()]);
    }
    slot.phase = 'draining';
    options.onLeaving(identity);
    if (!builder.child.hasExited() && !stopping.signal.aborted) {
      await drain(builder);
    }
    if (stopping.signal.aborted) {
      return 'stopped';
    }
    if (!builder.child.hasExited()) {
      return 'drained';
    }
    const log = await builder.readLog();
    options.onTrouble(
      new Error(`The builder with ordinal ${identity.ordinal} died and is started again:\n${log}`),
    );
    return 'died';
  };

  // Stop new builds first, wait until the builder is idle, and only then end it: buildkitd has no drain of its own.
  const drain = async (builder: Builder) => {
    const gone = AbortSignal.any([stopping.signal, abortWhen(builder.exited)]);
    const pause = (ms: number) => sleep(ms, undefined, { signal: gone }).catch(() => undefined);
    await pause(options.forgetMs);
    let idleLooks = 0;
    while (idleLooks < IDLE_LOOKS && !gone.aborted) {
      const busy = await builder.isBusy().catch(() => true);
      idleLooks = busy ? 0 : idleLooks + 1;
      await pause(DRAIN_LOOK_MS);
    }
  };

  let change = Promise.withResolvers<void>();
  const nextChange = () => change.promise;
  const announceChange = () => {
    change.resolve();
    change = Promise.withResolvers<void>();
  };

  return {
    scale: (replicas) => {
      wanted = replicas;
      announceChange();
      fill();
    },
    count: () => slots.size,
    readyCount: () => [...slots.values()].filter(({ phase }) => phase === 'ready').length,
    kill: (ordinal, signal) => {
      const builder = slots.get(ordinal)?.builder;
      if (!builder || builder.child.hasExited()) {
        return false;
      }
      builder.signal(signal);
      return true;
    },
    stop: async () => {
      stopping.abort();
      announceChange();
      for (const { builder } of slots.values()) {
        // Nobody waits for the builds any more: ends a starting builder's wait, too.
        builder?.signal('SIGKILL');
      }
      await Promise.all([...slots.values()].map(({ ended }) => ended));
    },
  };
}

function abortWhen(settled: Promise<unknown>): AbortSignal {
  const controller = new AbortController();
  void settled.then(() => controller.abort());
  return controller.signal;
}
