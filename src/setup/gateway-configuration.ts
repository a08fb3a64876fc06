/** What main hands to the gateway process, through a pipe: keys and all. */
import type { ProcessIdentity } from '../process-identity.ts';
import type { Registration } from './builder-registration.ts';
import type { LinesOptions } from './lines.ts';

export interface GatewayConfiguration extends Omit<LinesOptions, 'log' | 'onChange'> {
  readonly reportPath: string;
  /** Who ends the job when it goes away; undefined where nobody can be watched (a container's outside). */
  readonly runner: ProcessIdentity | undefined;
  /** To be undone when the job is gone and `post` never ran; undefined: left alone. */
  readonly registration: Registration | undefined;
  readonly builder: string;
}

/** What the gateway process says once, on its file descriptor 3. */
export type GatewayGreeting =
  | { readonly kind: 'ready'; readonly addresses: readonly string[] }
  | { readonly kind: 'failed'; readonly message: string };

/** The file descriptor of the greeting. */
export const GREETING_FD = 3;

export const LOG_NAME = 'gateway.log';
