import { type Stats, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Arch, Plan, Work } from '../build/plan.ts';
import { parseEndpoint } from '../queue/endpoint.ts';
import { parseDurationMs } from './duration.ts';

/** Every input of the Action; action.yml and the README's table say the same (a test compares them). */
export const INPUTS = [
  'endpoint',
  'queue-timeout',
  'lost-builder-retries',
  'context',
  'file',
  'tags',
  'build-args',
  'target',
  'outputs',
  'push',
  'load',
  'platforms',
  'no-cache',
  'run',
] as const;
export type InputName = (typeof INPUTS)[number];

/** The inputs that only a build has; any of them chooses build mode. */
const BUILD_INPUTS = [
  'context',
  'file',
  'tags',
  'build-args',
  'target',
  'outputs',
  'push',
  'load',
  'platforms',
  'no-cache',
] as const satisfies readonly InputName[];

/** Two hours: longer than any healthy line, shorter than a job's six. */
export const DEFAULT_QUEUE_TIMEOUT = '2h';
/** Node's timers hold 31 bits of ms: 24.8 days. A week is more than any job lasts. */
const MAX_QUEUE_TIMEOUT_MS = 7 * 24 * 3_600_000;
const MAX_LOST_BUILDER_RETRIES = 10;

/** Everything that is wrong with the inputs, in one message. */
export class InputProblems extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const heading =
      problems.length === 1 ? 'One input needs a change' : `${problems.length} inputs need a change`;
    super(`${heading}:\n${problems.map((problem) => `- ${problem}`).join('\n')}`);
    this.name = 'InputProblems';
    this.problems = problems;
  }
}

export interface InputSource {
  /** The trimmed text of an input; empty when it was not given. */
  readonly read: (name: InputName) => string;
  /** RUNNER_ARCH, or the process's own architecture. */
  readonly runnerArch: string;
  /** The folder that relative paths start from. */
  readonly workspace: string;
}

/** The plan that the inputs stand for. Opens nothing; throws `InputProblems` with all of them at once. */
export function readPlan(source: InputSource): Plan {
  const problems = new Problems();
  for (const name of INPUTS) {
    // Neither an argument nor a path can hold one.
    if (source.read(name).includes('\0')) problems.add(name, source.read(name), 'remove the NUL character');
  }
  const arch = readArch(source, problems);
  const endpoint = readEndpoint(source, arch, problems);
  const queueTimeoutMs = readQueueTimeout(source, problems);
  const work = readWork(source, problems);
  const lostBuilderRetries = readRetries(source, work?.kind === 'run' ? 0 : 1, problems);
  if (
    problems.found.length > 0 ||
    arch === undefined ||
    endpoint === undefined ||
    queueTimeoutMs === undefined ||
    lostBuilderRetries === undefined ||
    work === undefined
  ) {
    throw new InputProblems(problems.found);
  }
  return { arch, endpoint, queueTimeoutMs, lostBuilderRetries, work };
}

class Problems {
  readonly found: string[] = [];

  add(input: InputName, value: string, what: string): undefined {
    this.found.push(
      `\`${input}\` is ${value === '' ? 'not given' : JSON.stringify(shorten(value))}: ${what}`,
    );
    return undefined;
  }

  addPlain(text: string): undefined {
    this.found.push(text);
    return undefined;
  }
}

function shorten(value: string): string {
  return value.length <= 120 ? value : `${value.slice(0, 117)}...`;
}

function readArch(source: InputSource, problems: Problems): Arch | undefined {
  switch (source.runnerArch.toUpperCase()) {
    case 'X64':
      return 'amd64';
    case 'ARM64':
      return 'arm64';
    default:
      return problems.addPlain(
        `the runner's architecture is ${JSON.stringify(source.runnerArch)}: pools serve X64 and ARM64; use such a runner`,
      );
  }
}

function readEndpoint(source: InputSource, arch: Arch | undefined, problems: Problems) {
  const text = source.read('endpoint');
  if (text === '') {
    return problems.add(
      'endpoint',
      text,
      'give the address of the pool, for instance tcp://buildkitd-{arch}.buildkit.svc:1234',
    );
  }
  // With an unknown architecture the rest of the endpoint is still worth checking.
  const result = parseEndpoint(text, arch ?? 'amd64');
  return result.kind === 'endpoint' ? result.endpoint : problems.add('endpoint', text, result.problem);
}

function readQueueTimeout(source: InputSource, problems: Problems): number | undefined {
  const text = source.read('queue-timeout') || DEFAULT_QUEUE_TIMEOUT;
  const ms = parseDurationMs(text);
  if (ms === undefined) {
    return problems.add('queue-timeout', text, 'write a duration with its unit, such as 90s, 45m or 2h');
  }
  if (ms < 1_000 || ms > MAX_QUEUE_TIMEOUT_MS) {
    return problems.add('queue-timeout', text, 'choose between 1s and 168h');
  }
  return ms;
}

function readRetries(source: InputSource, byDefault: number, problems: Problems): number | undefined {
  const text = source.read('lost-builder-retries');
  if (text === '') return byDefault;
  const retries = Number(text);
  if (!/^\d+$/.test(text) || retries > MAX_LOST_BUILDER_RETRIES) {
    return problems.add(
      'lost-builder-retries',
      text,
      `write a whole number from 0 to ${MAX_LOST_BUILDER_RETRIES}`,
    );
  }
  return retries;
}

function readWork(source: InputSource, problems: Problems): Work | undefined {
  const script = source.read('run');
  const given = BUILD_INPUTS.filter((name) => source.read(name) !== '');
  if (script !== '') {
    if (given.length > 0) {
      const names = given.map((name) => `\`${name}\``).join(', ');
      return problems.addPlain(
        `\`run\` is given together with ${names}: a step either runs a script or builds; use two steps`,
      );
    }
    return { kind: 'run', script };
  }
  if (given.length === 0) {
    return problems.addPlain(
      'neither `context` nor `run` is given: give `context` (a folder or Git URL) to build an image, or `run` to run a script with a builder',
    );
  }
  return readBuild(source, problems);
}

function readBuild(source: InputSource, problems: Problems): Work {
  const optional = (name: InputName) => source.read(name) || undefined;
  const context = source.read('context');
  const tags = readList(source.read('tags'));
  const outputs = readLines(source.read('outputs'));
  const platforms = readList(source.read('platforms'));
  const push = readFlag(source, 'push', problems);
  const load = readFlag(source, 'load', problems);
  const noCache = readFlag(source, 'no-cache', problems);

  if (context === '') {
    problems.add('context', context, 'give the folder (or Git URL) to build, for instance .');
  } else if (!isRemote(context) && !isFolder(resolve(source.workspace, context))) {
    problems.add('context', context, `no such folder in ${source.workspace}; is a checkout step missing?`);
  }
  const file = optional('file');
  if (file !== undefined && !isRemote(context) && !isFile(resolve(source.workspace, file))) {
    problems.add(
      'file',
      file,
      `no such file in ${source.workspace}; the path starts from there, not from the context`,
    );
  }
  if (push && load)
    problems.add('load', 'true', '`push` is true as well; choose one, or name both with `outputs`');
  if (push && tags.length === 0 && !outputs.some((output) => output.includes('name='))) {
    problems.add('push', 'true', 'there is nothing to call the image; give `tags`');
  }
  if (load && platforms.length > 1) {
    problems.add('load', 'true', 'an engine loads one platform; give one in `platforms`, or use `push`');
  }
  const exports = outputs.filter(
    (output) => !output.includes('type=image') && !output.includes('type=registry'),
  );
  if (load && outputs.length > 0)
    problems.add('load', 'true', '`outputs` says where the result goes; leave one of them out');
  if (push && exports.length > 0)
    problems.add('push', 'true', '`outputs` sends the result elsewhere; leave one of them out');

  return {
    kind: 'build',
    context,
    file,
    tags,
    buildArgs: readLines(source.read('build-args')),
    target: optional('target'),
    outputs,
    push,
    load,
    platforms,
    noCache,
  };
}

/** Lines and commas both separate. */
function readList(text: string): string[] {
  return readLines(text).flatMap((line) =>
    line
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  );
}

/** Only lines separate: commas belong to the value. */
function readLines(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** YAML 1.2's core schema, which is what @actions/core reads too. */
function readFlag(source: InputSource, name: InputName, problems: Problems): boolean {
  const text = source.read(name);
  if (text === '') return false;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (!/^(false|False|FALSE)$/.test(text)) problems.add(name, text, 'write true or false');
  return false;
}

function isRemote(context: string): boolean {
  return /^(https?:\/\/|git:\/\/|ssh:\/\/|git@|github\.com\/)/.test(context);
}

function isFolder(path: string): boolean {
  return lookAt(path)?.isDirectory() ?? false;
}

function isFile(path: string): boolean {
  return lookAt(path)?.isFile() ?? false;
}

function lookAt(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    // Missing, behind a file, too long, not ours to see: no path to build from.
    return undefined;
  }
}
