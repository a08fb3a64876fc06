import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { processesMentioning } from './local-pool.ts';

/** A RUN step that lasts until a test lets it end, however slow the machine is. */
export class HeldStep {
  readonly #mark = `held-${randomUUID()}`;

  /** For busybox's shell; its log shows `in-the-42-step` once it can be let go. */
  get script(): string {
    return `trap 'exit 0' TERM; echo in-the-$((40+2))-step; while :; do sleep 0.1; done; : ${this.#mark}`;
  }

  /** Lets every run of it end well, from now until `ended` settles. */
  async letGoUntil(ended: Promise<unknown>): Promise<void> {
    let over = false;
    void ended.then(
      () => {
        over = true;
      },
      () => {
        over = true;
      },
    );
    while (!over) {
      // The first process of a namespace gets no signal that it has not asked for.
      for (const pid of processesMentioning(this.#mark)) signal(pid);
      await sleep(50);
    }
  }
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    // It ended between the look and the signal.
  }
}
