/** The input that says which buildx builds. */
import { isTooOld } from '../../build/buildx.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

export const BUILDX_INPUTS = {
  'buildx-version': {
    description:
      "Version of buildx to install (such as v0.36.1, or latest), verified by its release's checksums; by default the one that is there",
  },
} as const satisfies InputTable;

/** `v0.36.1`, `latest`, or undefined: whatever is there. */
export function readBuildxVersion(source: InputSource, problems: Problems): string | undefined {
  const text = source.read('buildx-version');
  if (text === '' || text === 'latest') return text || undefined;
  const version = /^v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)$/.exec(text)?.[1];
  if (version === undefined) {
    return problems.add('buildx-version', text, 'write a version such as v0.36.1, or latest');
  }
  if (isTooOld(version)) {
    return problems.add(
      'buildx-version',
      text,
      'choose 0.16.0 or newer: older ones deadlock on builders that take one build at a time',
    );
  }
  return `v${version}`;
}
