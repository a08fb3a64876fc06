/** What the load balancer tells of one connection when it has ended (LOG_FORMAT in src/pool/haproxy.ts). */

export interface ConnectionRecord {
  readonly frontend: string;
  /** Null when the client left before it had a builder. */
  readonly server: string | null;
  /** The place token, or null from a client that sent none. */
  readonly place: number | null;
  /** Ms since the epoch, by the load balancer's clock, like the following. */
  readonly acceptedAtMs: number;
  /** When it left the line for a builder; null when it never did. */
  readonly assignedAtMs: number | null;
  /** When the builder's connection stood; null when it never did. */
  readonly grantedAtMs: number | null;
  readonly releasedAtMs: number;
  /** HAProxy's two letters: who ended it, and in which phase. */
  readonly termination: string;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** Null for any line that is no record. */
export function parseConnectionRecord(line: string): ConnectionRecord | null {
  if (!line.startsWith('{"frontend":')) {
    return null;
  }
  const fields = parseFields(line);
  if (fields === null) {
    return null;
  }
  const { acceptedMs, queueMs, connectMs, totalMs, receivedBytes, sentBytes } = fields;
  const granted = queueMs >= 0 && connectMs >= 0;
  return {
    frontend: fields.frontend,
    server: fields.server === NO_SERVER ? null : fields.server,
    // HAProxy writes what it does not know as a dash, or as nothing.
    place: /^[0-9a-f]+$/i.test(fields.place) ? Number.parseInt(fields.place, 16) : null,
    acceptedAtMs: acceptedMs,
    assignedAtMs: granted ? acceptedMs + queueMs : null,
    grantedAtMs: granted ? acceptedMs + queueMs + connectMs : null,
    releasedAtMs: acceptedMs + totalMs,
    termination: fields.termination,
    receivedBytes,
    sentBytes,
  };
}

const NO_SERVER = '<NOSRV>';

interface Fields {
  readonly frontend: string;
  readonly server: string;
  readonly place: string;
  readonly termination: string;
  readonly acceptedMs: number;
  readonly queueMs: number;
  readonly connectMs: number;
  readonly totalMs: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

function parseFields(line: string): Fields | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) {
    return null;
  }
  const entries = new Map<string, unknown>(Object.entries(value));
  const text = (key: string) => {
    const field = entries.get(key);
    return typeof field === 'string' ? field : '';
  };
  const number = (key: string) => {
    const field = entries.get(key);
    return typeof field === 'number' ? field : Number.NaN;
  };
  const fields: Fields = {
    frontend: text('frontend'),
    server: text('server'),
    place: text('place'),
    termination: text('termination'),
    acceptedMs: number('accepted_ms'),
    queueMs: number('queue_ms'),
    connectMs: number('connect_ms'),
    totalMs: number('total_ms'),
    receivedBytes: number('received_bytes'),
    sentBytes: number('sent_bytes'),
  };
  return Object.values(fields).some((field) => Number.isNaN(field)) ? null : fields;
}
