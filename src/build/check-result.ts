import type { BakeWork, BuildWork } from './work.ts';

/**
 * What a failed check (`call: check`) has found, from what buildx wrote to stdout; undefined for other works, and where
 * it wrote nothing. A bake checks several targets, whose warnings are added up.
 */
export function describeCheck(work: BuildWork | BakeWork, stdout: string): string | undefined {
  if (work.call !== 'check') return undefined;
  const found = [...stdout.matchAll(/^Check complete, (\d+) warnings? (?:has|have) been found!/gm)];
  const warnings = found.reduce((sum, [, count]) => sum + Number(count), 0);
  if (warnings === 1) return 'Check complete, 1 warning has been found!';
  if (warnings > 1) return `Check complete, ${warnings} warnings have been found!`;
  return stdout.split('\n')[0]?.trim() || undefined;
}
