import type { Arch } from '../build/architecture.ts';
import type { SessionStep } from '../build/session.ts';
import { formatDuration } from './duration.ts';

/** After how much more waiting the next sign of life is due, given the time waited so far: rarer the longer it takes. */
export function nextLineInMs(waitedMs: number): number {
  if (waitedMs < 60_000) return 15_000;
  if (waitedMs < 600_000) return 60_000;
  return 300_000;
}

/** How long a place must have been held to be worth a line. */
const SETTLED_MS = 1_000;

export interface AnnouncerOptions {
  /** Where each architecture's line is, in the order in which they are joined. */
  readonly urls: ReadonlyMap<Arch, string>;
  readonly print: (line: string) => void;
  /**
   * Looks at a line, when it is joined and before each sign of life, and resolves with what is to be said of it. Never
   * rejects, and takes seconds at most; undefined: there is nothing to say.
   */
  readonly look?: (arch: Arch) => Promise<string | undefined>;
}

/** Tells a person where their build stands, in the log, while it waits. */
export class Announcer {
  readonly #options: AnnouncerOptions;
  readonly #print: (line: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #queuedAtMs: number | undefined;
  #saidFailure = '';
  /** Goes up with every change, so that a late look says nothing about what is over. */
  #chapter = 0;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
    this.#print = options.print;
  }

  tell(step: SessionStep): void {
    switch (step.kind) {
      case 'queued':
        this.#queuedAtMs ??= step.atMs;
        if (step.again) {
          // A load balancer without builders accepts and closes at once: that is no place to report.
          this.#after(SETTLED_MS, () => this.#settle('back in line, at the same place', step.arch));
        } else {
          this.#settle(`in line at ${this.#options.urls.get(step.arch)}`, step.arch);
          // The first look is the one that later ones are measured by.
          void this.#options.look?.(step.arch);
        }
        return;
      case 'failed':
        this.stop();
        // The same refusal every few seconds for two hours says nothing new.
        if (this.#saidFailure !== step.failure.message) {
          this.#print(`${step.failure.message}; dialling again, the place in line is kept`);
        }
        this.#saidFailure = step.failure.message;
        return;
      case 'granted':
        this.stop();
        this.#queuedAtMs = undefined;
        if (this.#options.urls.size === 1)
          this.#print(`a builder is ours after ${formatDuration(step.waitedMs)}`);
        else {
          const rest = step.last ? '' : '; holding it while the next one is waited for';
          this.#print(`${step.arch}: a builder is ours after ${formatDuration(step.waitedMs)}${rest}`);
        }
        return;
      case 'lost':
        this.stop();
        this.#queuedAtMs = undefined;
        this.#print(
          step.verdict === 'builder-lost'
            ? `${step.reason}; running the build again on another builder`
            : `${step.reason}; waiting for another one, at the same place`,
        );
        return;
      case 'dialling':
      case 'started':
        return;
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#chapter += 1;
  }

  #settle(line: string, arch: Arch): void {
    this.#print(line);
    this.#saidFailure = '';
    this.#schedule(arch);
  }

  #schedule(arch: Arch): void {
    const since = this.#queuedAtMs ?? Date.now();
    this.#after(nextLineInMs(Date.now() - since), () => {
      const { look } = this.#options;
      if (look === undefined) {
        this.#sign(since, arch, undefined);
        return;
      }
      const chapter = this.#chapter;
      void look(arch).then((what) => {
        if (chapter === this.#chapter) this.#sign(since, arch, what);
      });
    });
  }

  /** A sign of life, and the time for the next one. */
  #sign(since: number, arch: Arch, what: string | undefined): void {
    const line = `queued ${formatDuration(Date.now() - since)}`;
    this.#print(what === undefined ? line : `${line} · ${what}`);
    this.#schedule(arch);
  }

  #after(ms: number, action: () => void): void {
    this.stop();
    this.#timer = setTimeout(action, ms);
  }
}
