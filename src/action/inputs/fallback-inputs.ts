/** The input that says what becomes of a build for which the pool can't be had. */
import type { Work } from '../../build/work.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

export const FALLBACK_INPUTS = {
  fallback: {
    description:
      "What to do when no builder is had by the deadline or the pool is not reached: none (fail), or local (build with this machine's own Docker engine). Never because a build failed",
    default: 'none',
  },
} as const satisfies InputTable;

export type Fallback = 'none' | 'local';

export function readFallback(source: InputSource, work: Work | undefined, problems: Problems): Fallback {
  const text = source.read('fallback') || 'none';
  if (text !== 'none' && text !== 'local') {
    problems.add('fallback', text, 'write none or local');
    return 'none';
  }
  if (text === 'local' && work?.kind === 'setup') {
    problems.add(
      'fallback',
      text,
      "a builder set up for later steps can't be changed for another in the middle of them; build in this step, or leave `fallback` out",
    );
  }
  return text;
}
