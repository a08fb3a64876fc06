/**
 * Whether a version of buildx is older than `least`, major and minor. One that is unknown, or that comes from a build
 * without a version (0.0.0+unknown), counts as new.
 */
export function isOlder(
  version: string | undefined,
  least: readonly [major: number, minor: number],
): boolean {
  if (version === undefined || version.startsWith('0.0.0')) return false;
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return major < least[0] || (major === least[0] && minor < least[1]);
}
