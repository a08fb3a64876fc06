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

/** Tells a person where their build stands, in the log, while it waits. */
export class Announcer {
  readonly #print: (line: string) => void;
  readonly #url: string;
  #timer: NodeJS.Timeout | undefined;
  #queuedAtMs: number | undefined;
  #saidFailure = '';

  constructor(url: string, print: (line: string) => void) {
    this.#url = url;
    this.#print = print;
  }

  tell(step: SessionStep): void {
    switch (step.kind) {
      case 'queued':
        this.#queuedAtMs ??= step.atMs;
        if (step.again) {
          // A load balancer without builders accepts and closes at once: that is no place to report.
          this.#timer = setTimeout(() => this.#settle('back in line, at the same place'), SETTLED_MS);
        } else {
          this.#settle(`in line at ${this.#url}`);
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
        this.#print(`a builder is ours after ${formatDuration(step.waitedMs)}`);
        return;
      case 'lost':
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
  }

  #settle(line: string): void {
    this.#print(line);
    this.#saidFailure = '';
    this.#schedule();
  }

  #schedule(): void {
    this.stop();
    const since = this.#queuedAtMs ?? Date.now();
    this.#timer = setTimeout(
      () => {
        this.#print(`queued ${formatDuration(Date.now() - since)}`);
        this.#schedule();
      },
      nextLineInMs(Date.now() - since),
    );
  }
}
