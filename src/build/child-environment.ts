/** What the children get of this process's environment. */

/**
 * The Action's own inputs and the pool's keys are nobody's business further down; nor is an address that would lead
 * around the line.
 */
export function buildxEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return without(env, /^(INPUT_|STATE_|BUILDER_NODE_|BUILDKIT_HOST$)/);
}

/** buildx needs the cache's token (`type=gha`); a script does not get it unasked, as in any `run:` step. */
export function scriptEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return without(buildxEnvironment(env), /^ACTIONS_/);
}

function without(env: NodeJS.ProcessEnv, names: RegExp): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.test(name)));
}
