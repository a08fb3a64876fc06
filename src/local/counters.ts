/** HAProxy's own counters of one pool, from `show stat`. */

export interface PoolCounters {
  /** Connections the line holds now, waiting and served: the demand. */
  readonly sessions: number;
  /** Connections accepted since the load balancer started. */
  readonly totalSessions: number;
  readonly queued: number;
  /** Builders by name: whether the load balancer uses them, and for how many builds now. */
  readonly servers: ReadonlyMap<string, ServerCounters>;
}

export interface ServerCounters {
  readonly up: boolean;
  readonly sessions: number;
}

/** Null when the table does not know the frontend. Columns are found by their names in the first line. */
export function parseCounters(table: string, frontend: string, backend: string): PoolCounters | null {
  const [head, ...lines] = table.replace(/^# /, '').split('\n');
  const columns = (head ?? '').split(',');
  const rows = lines
    .filter((line) => line !== '')
    .map((line) => {
      const cells = line.split(',');
      return (column: string) => cells[columns.indexOf(column)] ?? '';
    });
  const line = rows.find((cell) => cell('pxname') === frontend && cell('svname') === 'FRONTEND');
  const pool = rows.find((cell) => cell('pxname') === backend && cell('svname') === 'BACKEND');
  if (!line || !pool) {
    return null;
  }
  const servers = rows.filter((cell) => cell('pxname') === backend && cell('svname') !== 'BACKEND');
  return {
    sessions: Number(line('scur')),
    totalSessions: Number(line('stot')),
    queued: Number(pool('qcur')),
    servers: new Map(
      servers.map((cell) => [
        cell('svname'),
        {
          up: cell('status').startsWith('UP') || cell('status') === 'no check',
          sessions: Number(cell('scur')),
        },
      ]),
    ),
  };
}
