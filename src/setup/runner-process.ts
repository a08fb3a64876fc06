/** Whose end is the job's end. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { identify, type ProcessIdentity } from '../process-identity.ts';

/** A process above this one. */
export interface Ancestor {
  readonly pid: number;
  /** Of its program, without a path. */
  readonly name: string;
}

/** GitHub's runner starts one of these for each job. */
const WORKER = 'Runner.Worker';
/** What some other runners put between themselves and a step: it ends with the step. */
const WRAPPERS: ReadonlySet<string> = new Set(['sh', 'bash', 'dash', 'ash', 'zsh', 'busybox', 'env', 'sudo']);
const MAX_ANCESTORS = 32;

/**
 * The process to watch, given those above this one, the nearest first: the runner's worker, or else the nearest that
 * outlives the step. Undefined when there is none: a step that is started from outside of its container has no
 * parent inside, and ends with the container.
 */
export function chooseRunner(ancestors: readonly Ancestor[]): Ancestor | undefined {
  const real = ancestors.filter(({ pid }) => pid > 1);
  return real.find(({ name }) => name === WORKER) ?? real.find(({ name }) => !WRAPPERS.has(name));
}

export function findRunner(parentPid: number): ProcessIdentity | undefined {
  const ancestors: Ancestor[] = [];
  for (let pid = parentPid; pid > 1 && ancestors.length < MAX_ANCESTORS; ) {
    const seen = look(pid);
    if (seen === undefined) break;
    ancestors.push({ pid, name: seen.name });
    pid = seen.parentPid;
  }
  const runner = chooseRunner(ancestors);
  return runner === undefined ? undefined : identify(runner.pid);
}

interface Seen {
  readonly parentPid: number;
  readonly name: string;
}

function look(pid: number): Seen | undefined {
  try {
    return process.platform === 'linux' ? lookInProc(pid) : lookWithPs(pid);
  } catch {
    return undefined;
  }
}

/** proc(5): pid, the name in parentheses, state, parent. Slim containers have no ps. */
function lookInProc(pid: number): Seen | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const end = stat.lastIndexOf(')');
  const parentPid = Number(stat.slice(end + 2).split(' ')[1]);
  return Number.isInteger(parentPid)
    ? { parentPid, name: stat.slice(stat.indexOf('(') + 1, end) }
    : undefined;
}

function lookWithPs(pid: number): Seen | undefined {
  const text = execFileSync('ps', ['-o', 'ppid=', '-o', 'comm=', '-p', String(pid)], { encoding: 'utf8' });
  const [, parentPid, command] = /^\s*(\d+)\s+(.*\S)\s*$/.exec(text) ?? [];
  return parentPid === undefined || command === undefined
    ? undefined
    : { parentPid: Number(parentPid), name: basename(command) };
}
