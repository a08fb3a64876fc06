/** The inputs of set-up mode: a builder for the later steps of the job. */
import type { Hold } from '../../setup/line-order.ts';
import type { SetupWork } from '../../setup/setup-work.ts';
import { DEFAULT_LINGER_MS } from '../../setup/setup-work.ts';
import { parseDurationMs } from '../duration.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

/** Longer than any job of GitHub's hosted runners. */
const MAX_LINGER_MS = 24 * 3_600_000;

// No defaults in the table: an input that is given chooses the mode, and a default can't be told from a given one.
export const SETUP_INPUTS = {
  name: {
    description: 'Set-up: name of the builder; by default one of its own for each job',
  },
  use: {
    description: 'Set-up: make the builder the default of the later steps (true or false; by default true)',
  },
  hold: {
    description:
      'Set-up: `step` (by default) gives the builder back when the last client has left and `linger` is over, `job` keeps it until the end of the job',
  },
  linger: {
    description: `Set-up: how long a builder is kept after its last client has left; by default what the pool document says, or ${DEFAULT_LINGER_MS / 1000}s`,
  },
  cleanup: {
    description:
      'Set-up: remove the builder from buildx at the end of the job (true or false; by default true)',
  },
} as const satisfies InputTable;

type InputName = keyof typeof SETUP_INPUTS;

/** Those that were given; they have a meaning in set-up mode only. */
export function givenSetupInputs(source: InputSource): readonly string[] {
  return Object.keys(SETUP_INPUTS).filter((name) => source.read(name) !== '');
}

export function readSetup(source: InputSource, problems: Problems): SetupWork {
  return {
    kind: 'setup',
    name: readName(source, problems),
    use: readFlag(source, 'use', problems),
    hold: readHold(source, problems),
    lingerMs: readLinger(source, problems),
    cleanup: readFlag(source, 'cleanup', problems),
  };
}

function readName(source: InputSource, problems: Problems): string | undefined {
  const name = source.read('name');
  if (name === '') return undefined;
  // The names that buildx takes (store.ValidateName), and one that it keeps for itself.
  if (!/^[a-zA-Z][a-zA-Z0-9._-]{0,99}$/.test(name) || name === 'default') {
    return problems.add(
      'name',
      name,
      'begin with a letter, go on with at most 99 letters, digits, dots, dashes or underscores, and do not use `default`',
    );
  }
  return name;
}

function readHold(source: InputSource, problems: Problems): Hold {
  const text = source.read('hold');
  switch (text) {
    case '':
    case 'step':
      return 'step';
    case 'job':
      return 'job';
    default:
      problems.add('hold', text, 'write step or job');
      return 'step';
  }
}

function readLinger(source: InputSource, problems: Problems): number | undefined {
  const text = source.read('linger');
  if (text === '') return undefined;
  const ms = parseDurationMs(text);
  if (ms === undefined) problems.add('linger', text, 'write a duration with its unit, such as 30s or 5m');
  else if (ms > MAX_LINGER_MS)
    problems.add('linger', text, 'choose 24h or less; `hold: job` keeps it longer');
  return ms;
}

/** True when not given. YAML 1.2's core schema, which is what @actions/core reads too. */
function readFlag(source: InputSource, name: InputName, problems: Problems): boolean {
  const text = source.read(name);
  if (text === '' || /^(true|True|TRUE)$/.test(text)) return true;
  if (!/^(false|False|FALSE)$/.test(text)) problems.add(name, text, 'write true or false');
  return false;
}
