import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the runner tells of a job of `octo/app`; `folder` takes the event's payload. */
export function jobEnv(
  folder: string,
  job: { readonly serverUrl?: string; readonly sha?: string; readonly event?: unknown } = {},
): Readonly<Record<string, string>> {
  const event = join(folder, `event-${randomUUID()}.json`);
  writeFileSync(event, JSON.stringify(job.event ?? {}));
  return {
    GITHUB_SERVER_URL: job.serverUrl ?? 'https://github.com',
    GITHUB_REPOSITORY: 'octo/app',
    GITHUB_REF: 'refs/heads/main',
    GITHUB_SHA: job.sha ?? '0123456789abcdef0123456789abcdef01234567',
    GITHUB_RUN_ID: '42',
    GITHUB_RUN_ATTEMPT: '2',
    GITHUB_EVENT_PATH: event,
  };
}
