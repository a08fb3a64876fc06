/** The inputs that say what to do with a builder, and which mode they choose. */
import type { Work } from '../../build/work.ts';
import { readGitHubFacts } from '../github-facts.ts';
import { BAKE_INPUTS, readBake } from './bake-inputs.ts';
import { BUILD_INPUTS, readBuild } from './build-inputs.ts';
import { InputReader } from './reader.ts';
import { givenSetupInputs, readSetup } from './setup-inputs.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

/** Inputs that a build and a bake have in common. */
const SHARED_INPUTS = {
  allow: {
    description: 'Entitlements that the build may use, such as network.host, separated by commas or lines',
  },
  call: {
    description: 'What to do instead of building: check, outline or targets; a check with warnings fails',
  },
  load: {
    description: 'Load the image into the local engine (true or false)',
  },
  'no-cache': {
    description: 'Build every step anew (true or false)',
  },
  provenance: {
    description:
      'Provenance of the image: true, false, or attributes such as mode=max; by default mode=max, in a private repository mode=min,inline-only=true',
  },
  pull: {
    description: 'Ask registries for newer base images (true or false)',
  },
  push: {
    description: 'Push the image to its registry (true or false)',
  },
  sbom: {
    description: 'List the software in the image: true, false, or attributes such as generator=image',
  },
} as const satisfies InputTable;

/** Inputs that go with any mode and choose none. */
const ACCOMPANYING_INPUTS = {
  builder: {
    description: 'Has no effect, as the builder is one of the pool; accepted from docker/build-push-action',
  },
  'github-token': {
    description: "Token that reads the job's own repository where it is the context, or the bake definition",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the runner fills it in.
    default: '${{ github.token }}',
  },
  platforms: {
    description:
      'Platforms to build for, separated by commas or lines; for a bake or a script, those whose builders it needs',
  },
} as const satisfies InputTable;

const RUN_INPUTS = {
  run: {
    description:
      'Script to run by bash instead of building, with BUILDX_BUILDER set and a builder already ours',
  },
} as const satisfies InputTable;

export const WORK_INPUTS = {
  ...BUILD_INPUTS,
  ...BAKE_INPUTS,
  ...SHARED_INPUTS,
  ...ACCOMPANYING_INPUTS,
  ...RUN_INPUTS,
} as const satisfies InputTable;

/** The mode is the one whose inputs are given; inputs of two modes contradict each other. */
export function readWork(source: InputSource, problems: Problems): Work | undefined {
  const given = (table: InputTable) => Object.keys(table).filter((name) => source.read(name) !== '');
  const run = given(RUN_INPUTS);
  const build = given(BUILD_INPUTS);
  const bake = given(BAKE_INPUTS);
  const shared = given(SHARED_INPUTS);
  const setup = givenSetupInputs(source);
  const others = [...run, ...build, ...bake, ...shared];
  if (setup.length > 0 && others.length > 0) {
    problems.addPlain(
      `${quote(setup)} set up a builder for later steps, but ${quote(others)} make this step use one itself: use two steps`,
    );
  }
  if (run.length > 0) {
    const builds = [...build, ...bake, ...shared];
    if (builds.length === 0) return readRun(source, problems);
    return problems.addPlain(
      `\`run\` is given together with ${quote(builds)}: a step either runs a script or builds; use two steps`,
    );
  }
  if (build.length > 0 && bake.length > 0) {
    return problems.addPlain(
      `${quote(build)} say how to build one image, and ${quote(bake)} which targets of a bake file to build: a step does one of the two; leave one group out, or use two steps`,
    );
  }
  if (source.read('builder') !== '') {
    problems.warn(
      `\`builder\` is ${JSON.stringify(source.read('builder'))} and has no effect: the work is done on a builder of the pool`,
    );
  }
  const facts = readGitHubFacts(source.env);
  if (!/^https?:/.test(facts.serverUrl) || !URL.canParse(facts.serverUrl)) {
    return problems.add(
      'GITHUB_SERVER_URL',
      source.env['GITHUB_SERVER_URL'] ?? facts.serverUrl,
      'write the URL of the Git server in this variable',
    );
  }
  if (bake.length > 0) return readBake(source, facts, problems);
  if (build.length > 0 || shared.length > 0) return readBuild(source, facts, problems);
  return readSetup(source, problems);
}

function readRun(source: InputSource, problems: Problems): Work {
  const platforms = new InputReader(source, problems).list('platforms');
  return { kind: 'run', script: source.read('run'), platforms };
}

function quote(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ');
}
