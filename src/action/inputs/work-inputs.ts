/** The inputs that say what to do with a builder. */
import { type Stats, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Work } from '../../build/work.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

export const WORK_INPUTS = {
  context: {
    description: 'Folder or Git URL to build',
  },
  file: {
    description: 'Path of the Dockerfile, from the workspace',
  },
  tags: {
    description: 'Names of the image, separated by commas or lines',
  },
  'build-args': {
    description: 'Build arguments, one `NAME=value` a line',
  },
  target: {
    description: 'Stage to build',
  },
  outputs: {
    description: 'Where the result goes, one a line, as `docker buildx build --output` takes it',
  },
  push: {
    description: 'Push the image to its registry (true or false)',
  },
  load: {
    description: 'Load the image into the local engine (true or false)',
  },
  platforms: {
    description: 'Platforms to build for, separated by commas or lines',
  },
  'no-cache': {
    description: 'Build every step anew (true or false)',
  },
  run: {
    description:
      'Script to run by bash instead of building, with BUILDX_BUILDER set and a builder already ours',
  },
} as const satisfies InputTable;

type InputName = keyof typeof WORK_INPUTS;

/** The inputs that only a build has; any of them chooses build mode. */
const BUILD_INPUTS = (Object.keys(WORK_INPUTS) as InputName[]).filter((name) => name !== 'run');

export function readWork(source: InputSource, problems: Problems): Work | undefined {
  const script = source.read('run');
  const given = BUILD_INPUTS.filter((name) => source.read(name) !== '');
  if (script !== '') {
    // Platforms say which builders a script needs, too.
    const others = given.filter((name) => name !== 'platforms');
    if (others.length > 0) {
      const names = others.map((name) => `\`${name}\``).join(', ');
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
