/** What a set-up step leaves for its `post`, in the runner's state: names and numbers, no secret. */
import { isIdentity, type ProcessIdentity } from '../process-identity.ts';
import type { Registration } from './builder-registration.ts';

export interface SetupState {
  /** Undefined: it was not started. */
  readonly gateway: ProcessIdentity | undefined;
  readonly registration: Registration;
  /** Whether the builder goes from buildx's store. */
  readonly cleanup: boolean;
  /** What BUILDX_BUILDER was before; undefined: it was left alone. */
  readonly previousBuilder: string | undefined;
  readonly reportPath: string;
}

/** The state as main saved it; undefined when there is none, or it can't be read. */
export function parseSetupState(text: string): SetupState | undefined {
  if (text === '') return undefined;
  try {
    const { gateway, registration, ...rest } = JSON.parse(text) as Partial<SetupState>;
    if (typeof registration?.name !== 'string' || typeof registration.command !== 'string') return undefined;
    return {
      gateway: isIdentity(gateway) ? gateway : undefined,
      registration,
      cleanup: rest.cleanup !== false,
      previousBuilder: rest.previousBuilder,
      reportPath: String(rest.reportPath ?? ''),
    };
  } catch {
    return undefined;
  }
}
