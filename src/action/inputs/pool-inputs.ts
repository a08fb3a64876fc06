/** The inputs that say which pool, and how long and how often to ask it. */
import { type Platform, parsePlatform } from '../../build/architecture.ts';
import type { EndpointTemplate, PoolChoice } from '../../build/draft-plan.ts';
import { parseDurationMs } from '../duration.ts';
import { ALIAS_INPUTS } from './alias-inputs.ts';
import type { InputSource, InputTable, Problems } from './source.ts';
import { TLS_INPUTS } from './tls-inputs.ts';

/** Node's timers hold 31 bits of ms: 24.8 days. A week is more than any job lasts. */
const MAX_QUEUE_TIMEOUT_MS = 7 * 24 * 3_600_000;
const MAX_CONNECT_TIMEOUT_MS = 10 * 60_000;
const MAX_LOST_BUILDER_RETRIES = 10;

export const POOL_INPUTS = {
  pool: {
    description:
      'URL of the pool document, for instance http://buildkitd-document.buildkit.svc:8080/pool.json: addresses, deadlines and TLS name come from there',
  },
  endpoint: {
    description:
      "Address of the pool's load balancer, `tcp://host:port`; `{arch}` is replaced by the architecture of the builder (amd64 or arm64). Beside `pool`, used when the document can't be had. Else BUILDKIT_HOST",
  },
  'queue-timeout': {
    description:
      'How long to wait for a builder, such as 45m or 2h; by default what the pool document says, or 2h',
  },
  'connect-timeout': {
    description:
      'How long one attempt to connect may last, such as 15s; by default what the pool document says, or 15s',
  },
  'lost-builder-retries': {
    description:
      'How often the work is run again when its builder was lost after the build had begun; by default once for a build, never for `run`',
  },
  ...TLS_INPUTS,
  ...ALIAS_INPUTS,
} as const satisfies InputTable;

export function readPool(source: InputSource, problems: Problems): PoolChoice | undefined {
  const text = source.read('pool');
  const endpoint = readEndpoint(source, text === '');
  if (text !== '') {
    const url = readUrl(text, problems);
    return url === undefined ? undefined : { kind: 'document', url, endpoint };
  }
  if (endpoint === undefined) {
    return problems.add(
      'endpoint',
      '',
      'give the address of the pool, for instance tcp://buildkitd-{arch}.buildkit.svc:1234, or in `pool` the URL of its document',
    );
  }
  return { kind: 'endpoint', endpoint };
}

function readEndpoint(source: InputSource, alone: boolean): EndpointTemplate | undefined {
  const given = source.read('endpoint');
  if (given !== '') return { text: given, from: 'endpoint' };
  const host = source.env['BUILDKIT_HOST']?.trim() ?? '';
  return alone && host !== '' ? { text: host, from: 'BUILDKIT_HOST' } : undefined;
}

function readUrl(text: string, problems: Problems): string | undefined {
  const example =
    'write the URL of the pool document, for instance http://buildkitd-document.buildkit.svc:8080/pool.json';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    return problems.add('pool', text, example);
  }
  if (url.username !== '' || url.password !== '') {
    return problems.addPlain(
      `\`pool\` carries a user name or password, which would end up in logs; ${example}`,
    );
  }
  if (url.pathname === '/') url.pathname = '/pool.json';
  return url.href;
}

/** The platforms that decide which builders are needed; `local` is the runner's own. */
export function readPlatforms(source: InputSource, problems: Problems): readonly Platform[] {
  const texts = source
    .read('platforms')
    .split(/[\r\n,]+/)
    .map((text) => text.trim())
    .filter((text) => text !== '');
  return texts.flatMap((text) => {
    const platform = parsePlatform(text === 'local' ? localPlatform(source) : text);
    if (platform === undefined) {
      problems.addPlain(
        `\`platforms\` holds ${JSON.stringify(text.slice(0, 60))}: write platforms as os/architecture, such as linux/arm64`,
      );
    }
    return platform === undefined ? [] : [platform];
  });
}

function localPlatform(source: InputSource): string {
  return source.runnerArch.toUpperCase() === 'ARM64' ? 'linux/arm64' : 'linux/amd64';
}

export function readQueueTimeout(source: InputSource, problems: Problems): number | undefined {
  return readDuration(source, 'queue-timeout', MAX_QUEUE_TIMEOUT_MS, '2h', problems);
}

export function readConnectTimeout(source: InputSource, problems: Problems): number | undefined {
  return readDuration(source, 'connect-timeout', MAX_CONNECT_TIMEOUT_MS, '15s', problems);
}

/** Undefined when it is not given, or wrong, which is a problem then. */
function readDuration(
  source: InputSource,
  name: 'queue-timeout' | 'connect-timeout',
  mostMs: number,
  example: string,
  problems: Problems,
): number | undefined {
  const text = source.read(name);
  if (text === '') return undefined;
  const ms = parseDurationMs(text);
  if (ms === undefined) {
    return problems.add(name, text, `write a duration with its unit, such as 90s, 45m or ${example}`);
  }
  if (ms < 1_000 || ms > mostMs) {
    const most = mostMs >= 3_600_000 ? `${mostMs / 3_600_000}h` : `${mostMs / 60_000}m`;
    return problems.add(name, text, `choose between 1s and ${most}`);
  }
  return ms;
}

/** Undefined only where it is wrong. */
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
