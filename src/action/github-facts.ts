/** What the runner tells of the job, as far as docker's own Actions go by it too. */
import { readFileSync } from 'node:fs';

export interface GitHubFacts {
  /** Without a closing slash. */
  readonly serverUrl: string;
  /** `owner/name`; undefined outside GitHub Actions. */
  readonly repository: string | undefined;
  /** Such as `refs/heads/main`; empty when unknown. */
  readonly ref: string;
  readonly sha: string;
  /** The run's page; undefined outside GitHub Actions. */
  readonly runUrl: string | undefined;
  /** An event file that can't be read counts as private: the less is told about a build, the better. */
  readonly privateRepository: boolean;
  /** Head of the pull request that the event is about. */
  readonly pullRequestHeadSha: string | undefined;
}

/** Source: @actions/github's Context, and the variables that GitHub documents for every step. Never throws. */
export function readGitHubFacts(env: NodeJS.ProcessEnv): GitHubFacts {
  const event = readEvent(env['GITHUB_EVENT_PATH']);
  const serverUrl = (env['GITHUB_SERVER_URL'] || 'https://github.com').replace(/\/+$/, '');
  const repository = env['GITHUB_REPOSITORY'] || undefined;
  const run = env['GITHUB_RUN_ID'] || undefined;
  return {
    serverUrl,
    repository,
    ref: env['GITHUB_REF'] ?? '',
    sha: env['GITHUB_SHA'] ?? '',
    runUrl:
      repository === undefined || run === undefined
        ? undefined
        : `${serverUrl}/${repository}/actions/runs/${run}/attempts/${env['GITHUB_RUN_ATTEMPT'] || '1'}`,
    privateRepository: event === undefined || at(event, 'repository', 'private') === true,
    pullRequestHeadSha: text(at(event, 'pull_request', 'head', 'sha')),
  };
}

/** The payload of the event; an empty one where there is none, undefined where it can't be read. */
function readEvent(path: string | undefined): unknown {
  if (!path) return {};
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as unknown;
  } catch {
    return undefined;
  }
}

function at(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce<unknown>(
    (inner, key) =>
      typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[key] : undefined,
    value,
  );
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
