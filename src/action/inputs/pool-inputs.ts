/** The inputs that say which pool, and how long and how often to ask it. */
import type { Arch } from '../../build/plan.ts';
import { parseEndpoint } from '../../queue/endpoint.ts';
import { parseDurationMs } from '../duration.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

/** Two hours: longer than any healthy line, shorter than a job's six. */
export const DEFAULT_QUEUE_TIMEOUT = '2h';
/** Node's timers hold 31 bits of ms: 24.8 days. A week is more than any job lasts. */
const MAX_QUEUE_TIMEOUT_MS = 7 * 24 * 3_600_000;
const MAX_LOST_BUILDER_RETRIES = 10;

export const POOL_INPUTS = {
  endpoint: {
    description:
      "Address of the pool's load balancer, `tcp://host:port`; `{arch}` is replaced by the runner's architecture (amd64 or arm64)",
  },
  'queue-timeout': {
    description: 'How long to wait for a builder, such as 45m or 2h',
    default: DEFAULT_QUEUE_TIMEOUT,
  },
  'lost-builder-retries': {
    description:
      'How often the work is run again when its builder was lost after the build had begun; by default once for a build, never for `run`',
  },
} as const satisfies InputTable;

export function readArch(source: InputSource, problems: Problems): Arch | undefined {
  switch (source.runnerArch.toUpperCase()) {
    case 'X64':
      return 'amd64';
    case 'ARM64':
      return 'arm64';
    default:
      return problems.addPlain(
        `the runner's architecture is ${JSON.stringify(source.runnerArch)}: pools serve X64 and ARM64; use such a runner`,
      );
  }
}

export function readEndpoint(source: InputSource, arch: Arch | undefined, problems: Problems) {
  const text = source.read('endpoint');
  if (text === '') {
    return problems.add(
      'endpoint',
      text,
      'give the address of the pool, for instance tcp://buildkitd-{arch}.buildkit.svc:1234',
    );
  }
  // With an unknown architecture the rest of the endpoint is still worth checking.
  const result = parseEndpoint(text, arch ?? 'amd64');
  return result.kind === 'endpoint' ? result.endpoint : problems.add('endpoint', text, result.problem);
}

export function readQueueTimeout(source: InputSource, problems: Problems): number | undefined {
  const text = source.read('queue-timeout') || DEFAULT_QUEUE_TIMEOUT;
  const ms = parseDurationMs(text);
  if (ms === undefined) {
    return problems.add('queue-timeout', text, 'write a duration with its unit, such as 90s, 45m or 2h');
  }
  if (ms < 1_000 || ms > MAX_QUEUE_TIMEOUT_MS) {
    return problems.add('queue-timeout', text, 'choose between 1s and 168h');
  }
  return ms;
}

export function readRetries(source: InputSource, byDefault: number, problems: Problems): number | undefined {
  const text = source.read('lost-builder-retries');
  if (text === '') return byDefault;
  const retries = Number(text);
  if (!/^\d+$/.test(text) || retries > MAX_LOST_BUILDER_RETRIES) {
    return problems.add(
      'lost-builder-retries',
      text,
      `write a whole number from 0 to ${MAX_LOST_BUILDER_RETRIES}`,
    );
  }
  return retries;
}
