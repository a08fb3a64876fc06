/** Performs what line-order.ts decides: places, builders and gateways of one set-up step. */
import type { PlannedNode } from '../build/plan.ts';
import { type Attachment, type Gateway, openGateway } from '../gateway/gateway.ts';
import type { PoolEnd } from '../gateway/pool-end.ts';
import { GrpcStatus, PoolStandIn } from '../gateway/stand-in.ts';
import { type Backoff, DIAL_BACKOFF, delayMs } from '../queue/backoff.ts';
import { LineFailure } from '../queue/failure.ts';
import { type Grant, type LineOptions, waitInLine } from '../queue/line.ts';
import { type Hold, type LineAction, type LineState, nextAction } from './line-order.ts';
import { addBuilds, type BuildTotals, type LineReport, NO_BUILDS, type WaitReport } from './setup-report.ts';

/** One line, and what its builder is for. */
export type LineNode = Pick<PlannedNode, 'arch' | 'endpoint' | 'platforms' | 'builds' | 'tls'>;

export interface LinesOptions {
  readonly nodes: readonly LineNode[];
  /** Private, ours alone, short enough for sockets. */
  readonly folder: string;
  readonly hold: Hold;
  /** How long a builder, or a place, is kept after the last client has left, ms. */
  readonly lingerMs: number;
  /** How long a client waits, ms. */
  readonly queueTimeoutMs: number;
  /** How long one attempt to connect may last, ms, and how to dial again; left out: as is usual. */
  readonly connectTimeoutMs?: number | undefined;
  readonly backoff?: Backoff | undefined;
  /** BuildKit's version as it is shown until a builder has told its own. */
  readonly assumedVersion: string;
  /** What a person may want to read afterwards. */
  readonly log: (line: string) => void;
  /** Something has changed that the report tells. */
  readonly onChange: () => void;
}

/**
 * buildx asks all builders of a build within a millisecond or two. A line other than the first waits so long for the
 * ones before it, before it takes a place that it might have to put back.
 */
const SETTLE_MS = 50;
/** A builder that was ours for so long was no builder that keeps crashing. */
const LASTING_MS = 10_000;
/** How often a builder that is going away is looked at for its last call. */
const FAREWELL_LOOK_MS = 200;
const MAX_WAITS = 100;

/** The lines of one set-up step, each with its own gateway. */
export class Lines {
  readonly #lines: readonly Line[];
  readonly #hold: Hold;
  #advancing = false;
  #again = false;
  #closed = false;

  private constructor(hold: Hold, lines: readonly Line[]) {
    this.#hold = hold;
    this.#lines = lines;
  }

  /** Opens the gateways; takes no place. Rejects when a socket can't be made. */
  static async open(options: LinesOptions): Promise<Lines> {
    const lines = options.nodes.map((node, index) => new Line(node, index, options));
    const all = new Lines(options.hold, lines);
    try {
      for (const line of lines) await line.open(() => all.#advance());
    } catch (error) {
      await all.close();
      throw error;
    }
    return all;
  }

  /** `unix:///…`, one a line, in the order of the lines. */
  get addresses(): readonly string[] {
    return this.#lines.map((line) => line.address);
  }

  get report(): readonly LineReport[] {
    return this.#lines.map((line) => line.report);
  }

  /** Gives everything back, builders first. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#lines.map((line) => line.close()));
  }

  #advance(): void {
    // What an action does may call for the next one while it is still being done.
    this.#again = true;
    if (this.#advancing || this.#closed) return;
    this.#advancing = true;
    try {
      while (this.#again) {
        this.#again = false;
        const next = nextAction(
          this.#lines.map((line) => line.state),
          this.#hold,
        );
        if (next === undefined) continue;
        this.#lines[next.index]?.perform(next.action);
        this.#again = true;
      }
    } finally {
      this.#advancing = false;
    }
  }
}

class Line {
  readonly #node: LineNode;
  readonly #options: LinesOptions;
  readonly #settleMs: number;
  #advance: () => void = () => {};
  #gateway: Gateway | undefined;
  #phase: LineState['phase'] = 'idle';
  /** Whether a request has waited for longer than the settling time. */
  #wanted = false;
  #wantedSinceMs: number | undefined;
  #owed = false;
  #served = false;
  #lingerUntilMs = 0;
  #lostInARow = 0;
  #notBeforeMs = 0;
  /** The place, if it is to be come back to: ms since the epoch. */
  #joinedAtMs: number | undefined;
  #deadlineAtMs: number | undefined;
  #waiting: AbortController | undefined;
  #grant: Grant | undefined;
  #attachment: Attachment | undefined;
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #waits: Wait[] = [];
  /** What came of the waits that are no longer listed. */
  #earlier: { readonly queueMs: number; readonly builds: BuildTotals } = { queueMs: 0, builds: NO_BUILDS };
  #saidFailure = '';

  constructor(node: LineNode, index: number, options: LinesOptions) {
    this.#node = node;
    this.#options = options;
    this.#settleMs = index === 0 ? 0 : SETTLE_MS;
  }

  async open(advance: () => void): Promise<void> {
    this.#advance = advance;
    const { arch, builds } = this.#node;
    this.#gateway = await openGateway({
      folder: this.#options.folder,
      carry: 'multiplex',
      onClients: (clients) => this.#clients(clients),
      onWanted: (wanted) => this.#want(wanted),
      onWarning: (message) => this.#log(message),
      standIn: new PoolStandIn({
        id: `pool-${arch}`,
        labels: { 'buildkit-pool.builder': 'none yet' },
        platforms: builds,
        buildkitVersion: this.#options.assumedVersion,
      }),
    });
    this.#gateway.view.onChange((view) => {
      if (view.goaway) this.#farewell();
    });
  }

  get address(): string {
    return this.#gateway?.address ?? '';
  }

  get state(): LineState {
    const clients = this.#gateway?.clients ?? 0;
    const now = Date.now();
    return {
      // A builder that was lost at once is not asked for again at once.
      wanted: this.#wanted && now >= this.#notBeforeMs,
      inUse: clients > 0 || now < this.#lingerUntilMs,
      phase: this.#phase,
      busy: this.#busy,
      owed: this.#owed,
      served: this.#served,
    };
  }

  get report(): LineReport {
    const waits = this.#waits.map((wait) => wait.report(this.#builds()));
    return {
      arch: this.#node.arch,
      endpoint: this.#node.endpoint.url,
      queue_ms: waits.reduce((ms, wait) => ms + wait.queue_ms, this.#earlier.queueMs),
      builds: addBuilds([this.#earlier.builds, ...waits.map((wait) => wait.builds)]),
      waits,
    };
  }

  perform(action: LineAction): void {
    switch (action) {
      case 'join':
        this.#join();
        break;
      case 'attach':
        this.#attach();
        break;
      case 'leave':
        this.#putBack('given-up', 'its clients have left');
        this.#forgetPlace();
        break;
      case 'release':
        this.#putBack('released', '');
        this.#forgetPlace();
        break;
      case 'step-aside':
        // A builder that was had ends a search; coming back to its line is another one.
        if (this.#phase === 'attached') this.#deadlineAtMs = undefined;
        this.#owed = this.#phase === 'attached' && (this.#gateway?.clients ?? 0) > 0;
        this.#putBack('set-aside', 'a builder of another architecture comes first');
        break;
    }
    this.#options.onChange();
  }

  async close(): Promise<void> {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#putBack(this.#phase === 'joining' ? 'given-up' : 'released', '');
    await this.#gateway?.close();
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  get #busy(): boolean {
    const view = this.#gateway?.view;
    return (
      this.#phase === 'attached' && view !== undefined && (view.openStreams > 0 || view.solve === 'sent')
    );
  }

  #builds(): BuildTotals {
    // The view of a builder that has been put back is that of another wait.
    const builds = this.#phase === 'attached' ? this.#gateway?.view.builds : undefined;
    return builds === undefined
      ? NO_BUILDS
      : { succeeded: builds.succeeded, failed: builds.failed, lost: builds.open };
  }

  #clients(clients: number): void {
    if (clients > 0) {
      this.#lingerUntilMs = 0;
    } else {
      this.#owed = false;
      if (this.#phase !== 'idle') this.#lingerUntilMs = Date.now() + this.#options.lingerMs;
      this.#after('linger', this.#options.lingerMs + 1);
      this.#options.onChange();
    }
    this.#advance();
  }

  #want(wanted: boolean): void {
    if (!wanted) {
      this.#wanted = false;
      this.#cancel('settle');
      this.#wantedSinceMs = undefined;
      this.#advance();
      return;
    }
    this.#wantedSinceMs = Date.now();
    const settled = () => {
      this.#wanted = true;
      this.#advance();
    };
    if (this.#settleMs === 0) settled();
    else this.#after('settle', this.#settleMs, settled);
  }

  #join(): void {
    const { endpoint, tls } = this.#node;
    const { queueTimeoutMs, connectTimeoutMs, backoff } = this.#options;
    const waiting = new AbortController();
    this.#waiting = waiting;
    this.#phase = 'joining';
    this.#deadlineAtMs ??= (this.#wantedSinceMs ?? Date.now()) + queueTimeoutMs;
    // A build that had to take another place first is not made to wait for it twice.
    if (this.#settleMs > 0) this.#joinedAtMs ??= this.#wantedSinceMs;
    const wait = this.#begin();
    const options: LineOptions = {
      endpoint,
      joinedAtMs: this.#joinedAtMs,
      queueTimeoutMs,
      deadlineAtMs: this.#deadlineAtMs,
      signal: waiting.signal,
      onStep: (step) => {
        if (step.kind === 'queued') {
          this.#joinedAtMs ??= step.atMs;
          this.#log(wait.queued() ? `in line at ${endpoint.url}` : 'back in line, at the same place');
        } else if (step.kind === 'failed') {
          this.#joinedAtMs ??= step.atMs;
          // The same refusal every few seconds for two hours says nothing new.
          if (step.failure.message === this.#saidFailure) return;
          this.#saidFailure = step.failure.message;
          this.#log(`${step.failure.message}; dialling again, the place in line is kept`);
        }
      },
      ...(tls === undefined ? {} : { tls }),
      ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
      ...(backoff === undefined ? {} : { backoff }),
    };
    waitInLine(options).then(
      (grant) => {
        if (this.#waiting !== waiting) grant.connection.socket.destroy();
        else this.#granted(grant, wait);
      },
      (error: unknown) => {
        if (this.#waiting === waiting) this.#failed(error, wait);
      },
    );
  }

  #granted(grant: Grant, wait: Wait): void {
    this.#waiting = undefined;
    this.#grant = grant;
    this.#joinedAtMs = grant.joinedAtMs;
    this.#phase = 'granted';
    this.#owed = false;
    this.#served = true;
    wait.granted(grant.grantedAtMs);
    this.#log(`a builder is ours after ${wait.report(NO_BUILDS).queue_ms} ms`);
    this.#options.onChange();
    this.#advance();
  }

  #failed(error: unknown, wait: Wait): void {
    this.#waiting = undefined;
    this.#phase = 'idle';
    this.#owed = false;
    const message = error instanceof Error ? error.message : String(error);
    const timedOut = error instanceof LineFailure && error.code === 'queue-timeout';
    wait.end(timedOut ? 'queue-timeout' : 'unreachable', message, NO_BUILDS);
    this.#log(message);
    this.#forgetPlace();
    // Not UNAVAILABLE: buildx would ask again for 20 s and then say nothing but "deadline exceeded". Nor one of those
    // for which it has an exit code other than 1 (INTERNAL, RESOURCE_EXHAUSTED, CANCELLED).
    this.#gateway?.refuse({
      status: GrpcStatus.failedPrecondition,
      message: timedOut
        ? `${message}; a longer queue-timeout waits longer, a larger pool is faster`
        : message,
    });
    this.#options.onChange();
    this.#advance();
  }

  #attach(): void {
    const grant = this.#grant;
    if (grant === undefined || this.#gateway === undefined) return;
    this.#phase = 'attached';
    // Clients that left while the builder was on its way may come again.
    if (this.#gateway.clients === 0) this.#clients(0);
    const attachment = this.#gateway.attach(grant.connection);
    this.#attachment = attachment;
    void attachment.ended.then((end) => {
      if (this.#attachment === attachment && end.cause !== 'closed') this.#lost(end);
    });
  }

  #lost(end: PoolEnd): void {
    const wait = this.#waits.at(-1);
    const builds = this.#builds();
    const heldMs = this.#grant === undefined ? 0 : Date.now() - this.#grant.grantedAtMs;
    const reason =
      end.error?.message ?? (end.cause === 'goaway' ? 'it was told to stop' : 'it closed the connection');
    this.#attachment = undefined;
    this.#grant = undefined;
    this.#phase = 'idle';
    wait?.end('lost', `the builder was lost (${reason})`, builds);
    this.#log(`the builder was lost (${reason})`);
    if (heldMs > LASTING_MS || end.solve !== 'none') {
      this.#lostInARow = 0;
      this.#deadlineAtMs = undefined;
    } else {
      this.#lostInARow += 1;
      const delay = delayMs(this.#options.backoff ?? DIAL_BACKOFF, this.#lostInARow, Math.random());
      this.#notBeforeMs = Date.now() + delay;
      this.#after('backoff', delay + 1);
    }
    this.#options.onChange();
    this.#advance();
  }

  /** The builder has been told to stop: it is left as soon as nothing is under way there. */
  #farewell(): void {
    if (this.#phase !== 'attached' || this.#gateway?.view.goaway !== true) return;
    const attachment = this.#attachment;
    if (this.#busy) {
      this.#after('farewell', FAREWELL_LOOK_MS, () => this.#farewell());
      return;
    }
    // Not from within the gateway's own event.
    setImmediate(() => {
      if (attachment === undefined || this.#attachment !== attachment || this.#busy) return;
      this.#lost({ cause: 'goaway', solve: this.#gateway?.view.solve ?? 'none', buildOpen: false });
      this.#gateway?.detach();
    });
  }

  /** Gives place or builder back, whichever there is. */
  #putBack(outcome: WaitReport['outcome'], reason: string): void {
    if (this.#phase === 'idle') return;
    const builds = this.#builds();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#attachment = undefined;
    this.#phase = 'idle';
    waiting?.abort();
    this.#gateway?.detach();
    this.#grant?.connection.socket.destroy();
    this.#grant = undefined;
    this.#waits.at(-1)?.end(outcome, reason, builds);
    this.#log(outcome === 'released' ? 'the builder was given back' : `the place was given back: ${reason}`);
  }

  #forgetPlace(): void {
    this.#joinedAtMs = undefined;
    this.#deadlineAtMs = undefined;
    this.#lingerUntilMs = 0;
  }

  #begin(): Wait {
    const wait = new Wait(Date.now());
    this.#waits.push(wait);
    if (this.#waits.length > MAX_WAITS) {
      const { queue_ms: queueMs = 0, builds = NO_BUILDS } = this.#waits.shift()?.report(NO_BUILDS) ?? {};
      this.#earlier = {
        queueMs: this.#earlier.queueMs + queueMs,
        builds: addBuilds([this.#earlier.builds, builds]),
      };
    }
    return wait;
  }

  #after(name: string, ms: number, then: () => void = () => this.#advance()): void {
    this.#cancel(name);
    const timer = setTimeout(() => {
      this.#timers.delete(name);
      then();
    }, ms);
    this.#timers.set(name, timer);
  }

  #cancel(name: string): void {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  #log(message: string): void {
    this.#options.log(`${this.#node.arch}: ${message}`);
  }
}

/** One time in line, written down as it happens. */
class Wait {
  readonly #joinedAtMs: number;
  #queued = false;
  #grantedAtMs: number | undefined;
  #endedAtMs: number | undefined;
  #outcome: WaitReport['outcome'] = 'waiting';
  #reason = '';
  #builds: BuildTotals | undefined;

  constructor(joinedAtMs: number) {
    this.#joinedAtMs = joinedAtMs;
  }

  /** Whether this is the first time that the load balancer has the place. */
  queued(): boolean {
    const first = !this.#queued;
    this.#queued = true;
    return first;
  }

  granted(atMs: number): void {
    this.#grantedAtMs = atMs;
    this.#outcome = 'held';
  }

  end(outcome: WaitReport['outcome'], reason: string, builds: BuildTotals): void {
    this.#endedAtMs ??= Date.now();
    this.#outcome = outcome;
    this.#reason = reason;
    this.#builds = builds;
  }

  /** `current`: the builds of the present builder. */
  report(current: BuildTotals): WaitReport {
    const queuedUntilMs = this.#grantedAtMs ?? this.#endedAtMs ?? Date.now();
    return {
      joined_at: iso(this.#joinedAtMs),
      granted_at: this.#grantedAtMs === undefined ? null : iso(this.#grantedAtMs),
      released_at:
        this.#grantedAtMs === undefined || this.#endedAtMs === undefined ? null : iso(this.#endedAtMs),
      queue_ms: Math.max(0, queuedUntilMs - this.#joinedAtMs),
      outcome: this.#outcome,
      reason: this.#reason,
      builds: this.#builds ?? (this.#outcome === 'held' ? { ...current, lost: 0 } : NO_BUILDS),
    };
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
