/** The repository itself as a build's context, as docker/build-push-action and docker/bake-action have it by default. */
import type { GitHubFacts } from '../github-facts.ts';

export interface GitContextSettings {
  /** The head of a pull request instead of its merge with the base: DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF. */
  readonly pullRequestHead: boolean;
  /** `?ref=` instead of `#`: BUILDX_SEND_GIT_QUERY_AS_INPUT; buildx understands it since 0.29. */
  readonly query: boolean;
}

/**
 * `https://github.com/owner/name.git#<commit>`; undefined where the repository, or what to build of it, is unknown.
 * Rules: actions-toolkit 0.92, Build.gitContext.
 */
export function gitContext(facts: GitHubFacts, settings: GitContextSettings): string | undefined {
  if (facts.repository === undefined) return undefined;
  const revision = chooseRevision(facts, settings);
  if (revision === '') return undefined;
  return `${facts.serverUrl}/${facts.repository}.git${settings.query ? '?ref=' : '#'}${revision}`;
}

/** The commit of the event, where there is one. */
function chooseRevision(facts: GitHubFacts, settings: GitContextSettings): string {
  const ref = facts.ref === '' || facts.ref.startsWith('refs/') ? facts.ref : `refs/heads/${facts.ref}`;
  const wantsHead = settings.pullRequestHead && ref.startsWith('refs/pull/');
  const chosen = wantsHead ? ref.replace(/\/merge$/, '/head') : ref;
  // The event's commit is the merge; the head's is told by the event itself.
  if (chosen.startsWith('refs/pull/') && chosen.endsWith('/head')) return facts.pullRequestHeadSha ?? chosen;
  return facts.sha || chosen;
}

/** `{{defaultContext}}`, or undefined for what else stands in double braces. */
const TEMPLATE = /\{\{\s*([^{}]*?)\s*\}\}/g;

/**
 * `value` with every `{{defaultContext}}` replaced.
 * @throws TemplateProblem on other templates, and where there is no default context.
 */
export function expandTemplate(value: string, defaultContext: string | undefined): string {
  return value.replaceAll(TEMPLATE, (whole, name: string) => {
    if (name !== 'defaultContext') {
      throw new TemplateProblem(`${whole} is unknown: only {{defaultContext}} can stand in double braces`);
    }
    if (defaultContext === undefined) {
      throw new TemplateProblem(
        'there is no default context here (GITHUB_REPOSITORY and GITHUB_SHA tell it): write the Git URL itself',
      );
    }
    return defaultContext;
  });
}

/** `message` is what is wrong with the value, and the remedy. */
export class TemplateProblem extends Error {}
