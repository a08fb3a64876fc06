/**
 * Why a place in line came to nothing, told by the connection's state.
 * - `refused`, `unreachable`: the pool was not reached; dialled again until the deadline.
 * - `unknown-host`, `not-buildkit`: no later attempt can differ; final at once.
 * - `tls-untrusted`: the pool's certificate is not the one expected; `tls-refused`: the pool did not take ours, or there
 *   is no TLS. Final at once.
 * - `no-builder`: the load balancer closed the connection as soon as it was open.
 * - `lost`: the connection ended while waiting in line.
 * - `queue-timeout`: the deadline passed.
 * - `cancelled`: the caller's signal.
 */
export type LineFailureCode =
  | 'refused'
  | 'unreachable'
  | 'unknown-host'
  | 'not-buildkit'
  | 'tls-untrusted'
  | 'tls-refused'
  | 'no-builder'
  | 'lost'
  | 'queue-timeout'
  | 'cancelled';

/** A failure in the line; `message` is a whole sentence for a person, `cause` the system's own error where there is one. */
export class LineFailure extends Error {
  readonly code: LineFailureCode;

  constructor(code: LineFailureCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'LineFailure';
    this.code = code;
  }

  /** Whether dialling again can help. */
  get temporary(): boolean {
    return TEMPORARY[this.code];
  }
}

const TEMPORARY: Record<LineFailureCode, boolean> = {
  refused: true,
  unreachable: true,
  'no-builder': true,
  lost: true,
  'unknown-host': false,
  'not-buildkit': false,
  'tls-untrusted': false,
  'tls-refused': false,
  'queue-timeout': false,
  cancelled: false,
};

/** The failure that a system error of a connection attempt stands for. */
export function dialFailure(url: string, error: NodeJS.ErrnoException): LineFailure {
  const reason = error.code ?? error.message;
  switch (error.code) {
    case 'ECONNREFUSED':
      return new LineFailure('refused', `${url} refuses connections (${reason})`, { cause: error });
    case 'ENOTFOUND':
      return new LineFailure(
        'unknown-host',
        `${url} names an unknown host (${reason}): check the endpoint and the runner's name server`,
        { cause: error },
      );
    default:
      // EAI_AGAIN (name server busy), EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, ECONNRESET and the like pass.
      return new LineFailure('unreachable', `${url} can't be reached (${reason})`, { cause: error });
  }
}
