/** Names that the users of other actions have in their workflows already, and what each stands for here. */
import { parseDurationMs } from '../duration.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

export const ALIAS_INPUTS = {
  'buildkit-address': {
    description: 'Another name of `endpoint`; `tcp://` may be left out',
  },
  'connect-attempts': {
    description:
      'Together with `connect-delay` another way to say `queue-timeout`: attempts times delay; 480 by default',
  },
  'connect-delay': {
    description: 'See `connect-attempts`: seconds, or a duration such as 15s; 15 by default',
  },
  command: {
    description: 'Another name of `run`',
  },
  image: {
    description: 'Another name of `tags`; without effect beside `run` or `command`',
  },
} as const satisfies InputTable;

const DEFAULT_ATTEMPTS = 480;
const DEFAULT_DELAY_MS = 15_000;
const MAX_ATTEMPTS = 1_000_000;

/** The same inputs with the aliases read under the names that they stand for. */
export function withAliases(source: InputSource, problems: Problems): InputSource {
  const values = new Map<string, string>();
  const stand = (alias: string, name: string, value: string) => {
    const given = source.read(name);
    if (value === '') return;
    if (given !== '' && given !== value) {
      problems.addPlain(
        `\`${name}\` and \`${alias}\` are both given, and differ: \`${alias}\` is another name of \`${name}\`; leave one of them out`,
      );
    } else values.set(name, value);
  };
  const address = source.read('buildkit-address');
  stand(
    'buildkit-address',
    'endpoint',
    address === '' || address.includes('://') ? address : `tcp://${address}`,
  );
  stand('command', 'run', source.read('command'));
  if ((values.get('run') ?? source.read('run')) === '') stand('image', 'tags', source.read('image'));
  const wait = readAttempts(source, problems);
  if (wait !== undefined) {
    if (source.read('queue-timeout') === '') values.set('queue-timeout', `${wait}ms`);
    else {
      problems.addPlain(
        '`queue-timeout` is given together with `connect-attempts` or `connect-delay`: both say how long to wait for a builder; leave one out',
      );
    }
  }
  return {
    ...source,
    read: (name) => values.get(name) ?? source.read(name),
    readWhole: (name) => values.get(name) ?? source.readWhole(name),
  };
}

/** Milliseconds to wait in all; undefined when neither is given. */
function readAttempts(source: InputSource, problems: Problems): number | undefined {
  const attempts = source.read('connect-attempts');
  const delay = source.read('connect-delay');
  if (attempts === '' && delay === '') return undefined;
  const count = attempts === '' ? DEFAULT_ATTEMPTS : Number(attempts);
  const delayMs =
    delay === ''
      ? DEFAULT_DELAY_MS
      : /^\d{1,9}(\.\d{1,3})?$/.test(delay)
        ? Number(delay) * 1000
        : parseDurationMs(delay);
  if (attempts !== '' && (!/^\d{1,7}$/.test(attempts) || count < 1 || count > MAX_ATTEMPTS)) {
    return problems.add('connect-attempts', attempts, `write a whole number from 1 to ${MAX_ATTEMPTS}`);
  }
  if (delayMs === undefined || delayMs <= 0) {
    return problems.add('connect-delay', delay, 'write seconds such as 15, or a duration such as 15s');
  }
  return Math.round(count * delayMs);
}
