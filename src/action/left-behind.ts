import * as core from '@actions/core';
import type { LocalBuilderTrace } from '../build/local-builder.ts';
import { identify, type ProcessIdentity } from '../process-identity.ts';
import { STATE_FOLDER, STATE_LOCAL_BUILDER, STATE_PROCESSES } from './state.ts';

/** What `post` has to look for should this process be killed without warning. Saved before anything is opened. */
export class LeftBehind {
  readonly #processes: ProcessIdentity[] = [];

  constructor(folder: string) {
    core.saveState(STATE_FOLDER, folder);
    this.add(process.pid);
  }

  add(pid: number): void {
    const identity = identify(pid);
    if (identity === undefined) return;
    this.#processes.push(identity);
    core.saveState(STATE_PROCESSES, JSON.stringify(this.#processes));
  }

  addLocalBuilder(trace: LocalBuilderTrace): void {
    core.saveState(STATE_LOCAL_BUILDER, JSON.stringify(trace));
  }
}
