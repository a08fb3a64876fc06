/** Post's part of set-up mode. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unregister } from './builder-registration.ts';
import { LOG_NAME } from './gateway-configuration.ts';
import { endGateway } from './gateway-process.ts';
import type { SetupReport } from './setup-report.ts';
import type { SetupState } from './setup-state.ts';

export interface GivenBack {
  /** Undefined when there is none: the step never came so far. */
  readonly report: SetupReport | undefined;
  /** What the gateway process wrote, its last lines. */
  readonly log: readonly string[];
}

const MAX_LOG_LINES = 200;

/** Ends the gateway, and with it every place and builder; then removes the builder from buildx. */
export async function giveBack(
  state: SetupState,
  folder: string,
  env: NodeJS.ProcessEnv,
): Promise<GivenBack> {
  // Builders first: the rest may fail.
  if (state.gateway !== undefined) await endGateway(state.gateway);
  if (state.cleanup) await unregister(state.registration, env).catch(() => {});
  const [report, log] = await Promise.all([
    readFile(state.reportPath, 'utf8').then(
      (text) => JSON.parse(text) as SetupReport,
      () => undefined,
    ),
    readFile(join(folder, LOG_NAME), 'utf8').catch(() => ''),
  ]);
  return {
    report,
    log: log
      .split('\n')
      .filter((line) => line !== '')
      .slice(-MAX_LOG_LINES),
  };
}
