/**
 * The builders of one build, one an architecture, taken in the plan's order and held until all are there. Nobody waits
 * for an earlier one while holding a later one: hence no two builds ever wait for each other.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attachment, Gateway } from '../gateway/gateway.ts';
import type { PoolEnd } from '../gateway/pool-end.ts';
import { delayMs } from '../queue/backoff.ts';
import { type Grant, type LineStep, waitInLine } from '../queue/line.ts';
import type { Arch } from './architecture.ts';
import { describeLoss, isLoss } from './loss.ts';
import type { PlannedNode, SessionPlan } from './plan.ts';
import type { Story } from './story.ts';

/** What happens on the way to the builders. `last`: now all of them are ours. */
export type PlaceStep =
  | (LineStep & { readonly arch: Arch })
  | {
      readonly kind: 'granted';
      readonly arch: Arch;
      readonly atMs: number;
      readonly waitedMs: number;
      readonly last: boolean;
    }
  | {
      readonly kind: 'lost';
      readonly atMs: number;
      readonly verdict: 'dial-again';
      readonly reason: string;
    };

export interface PlacesWorld {
  /** One for each of the plan's nodes, in their order. */
  readonly gateways: Promise<readonly Gateway[]>;
  readonly story: Story;
  readonly onStep: (step: PlaceStep) => void;
}

/** A builder that is ours and what it is attached to. */
export interface Held {
  readonly node: PlannedNode;
  readonly gateway: Gateway;
  readonly attachment: Attachment;
  readonly connection: Grant['connection'];
}

/** Which of the builders was lost, and how. */
export interface PlaceLoss {
  readonly index: number;
  readonly end: PoolEnd;
}

export class Places {
  readonly #plan: SessionPlan;
  readonly #world: PlacesWorld;
  /** From the first node on: what is missing is missing at the end. */
  #held: readonly Held[] = [];

  constructor(plan: SessionPlan, world: PlacesWorld) {
    this.#plan = plan;
    this.#world = world;
  }

  get held(): readonly Held[] {
    return this.#held;
  }

  /**
   * Takes all that are missing. When one that is held goes away meanwhile, those after it are given back and all are
   * taken again, each at its own place in line. Rejects with a `LineFailure`; what is held by then stays held.
   */
  async takeAll(signal: AbortSignal): Promise<void> {
    const { nodes } = this.#plan;
    let lostInARow = 0;
    while (this.#held.length < nodes.length) {
      const loss = await this.#takeNext(signal);
      if (loss === undefined) continue;
      lostInARow += 1;
      const reason = `the ${nodes[loss.index]?.arch} builder was lost while another one was waited for (${describeLoss(loss.end)})`;
      await this.giveBackFrom(loss.index);
      this.#world.onStep({ kind: 'lost', atMs: Date.now(), verdict: 'dial-again', reason });
      if (lostInARow > 1) {
        await sleep(delayMs(this.#plan.backoff, lostInARow, Math.random()), undefined, { signal }).catch(
          () => {},
        );
      }
    }
  }

  /** Resolves when one of those held is lost; never, when their gateways are closed before. */
  firstLoss(): Promise<PlaceLoss> {
    return new Promise((resolve) => {
      for (const [index, { attachment }] of this.#held.entries()) {
        void attachment.ended.then((end) => {
          if (isLoss(end)) resolve({ index, end });
        });
      }
    });
  }

  /** Gives back the builders from this one on, and tells how far each had come. */
  async giveBackFrom(index: number): Promise<readonly PoolEnd[]> {
    const given = this.#held.slice(index);
    this.#held = this.#held.slice(0, index);
    for (const { connection } of given) connection.socket.destroy();
    return await Promise.all(given.map(({ attachment }) => attachment.ended));
  }

  /** Takes the next one; resolves with the loss of an earlier one that came first. */
  async #takeNext(signal: AbortSignal): Promise<PlaceLoss | undefined> {
    const node = this.#plan.nodes[this.#held.length];
    if (node === undefined) return undefined;
    const enough = new AbortController();
    const waiting = this.#wait(node, AbortSignal.any([signal, enough.signal]));
    const loss = await Promise.race([waiting.then(() => undefined), this.firstLoss()]);
    // Cancelling lets go of those held, which is no loss.
    if (loss === undefined || signal.aborted) {
      await this.#hold(node, await waiting);
      return undefined;
    }
    enough.abort();
    await waiting.then(
      ({ connection }) => connection.socket.destroy(),
      () => {},
    );
    this.#world.story.stopsWaiting(Date.now());
    return loss;
  }

  async #hold(node: PlannedNode, { connection }: Grant): Promise<void> {
    const gateway = (await this.#world.gateways)[this.#held.length];
    if (gateway === undefined) throw new Error(`no gateway was opened for ${node.arch}`);
    this.#held = [...this.#held, { node, gateway, connection, attachment: gateway.attach(connection) }];
  }

  async #wait(node: PlannedNode, signal: AbortSignal): Promise<Grant> {
    const { story, onStep } = this.#world;
    const { queueTimeoutMs, connectTimeoutMs, backoff, nodes } = this.#plan;
    const startedAtMs = Date.now();
    story.waits(node, startedAtMs, queueTimeoutMs);
    const grant = await waitInLine({
      endpoint: node.endpoint,
      tls: node.tls,
      connectTimeoutMs,
      backoff,
      // One place for the whole build, so that it is served in the order of joining by every line.
      joinedAtMs: story.joinedAtMs,
      rejoins: story.hasJoined(node),
      queueTimeoutMs,
      deadlineAtMs: story.deadlineAtMs,
      signal,
      onStep: (step) => {
        story.step(node, step);
        onStep({ ...step, arch: node.arch });
      },
    });
    // From here on giving up must free the builder whatever else is going on.
    const free = () => grant.connection.socket.destroy();
    signal.addEventListener('abort', free, { once: true });
    if (signal.aborted) free();
    const waitedMs = grant.grantedAtMs - Math.max(startedAtMs, grant.joinedAtMs);
    story.granted(node, grant, waitedMs);
    const last = node === nodes.at(-1);
    onStep({ kind: 'granted', arch: node.arch, atMs: grant.grantedAtMs, waitedMs, last });
    return grant;
  }
}
