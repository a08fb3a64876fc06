/**
 * Architectures as Docker names them, in the one fixed order in which every build takes its places. As nobody waits for
 * an earlier one while holding a later one, no two builds ever wait for each other.
 */
export const ARCHITECTURES = ['amd64', 'arm64', 'ppc64le', 'riscv64', 's390x'] as const;
export type Arch = (typeof ARCHITECTURES)[number];

/** What a builder of each architecture builds when nobody has said otherwise: what its processor runs. */
export const NATIVE_PLATFORMS: Readonly<Record<Arch, readonly string[]>> = {
  amd64: ['linux/amd64', 'linux/386'],
  arm64: ['linux/arm64', 'linux/arm/v7'],
  ppc64le: ['linux/ppc64le'],
  riscv64: ['linux/riscv64'],
  s390x: ['linux/s390x'],
};

/** A platform as buildx takes it, such as `linux/arm/v7`, in its parts. */
export interface Platform {
  /** As it was written. */
  readonly text: string;
  readonly os: string;
  readonly architecture: string;
  /** Of arm a number such as `v7`, of amd64 a level such as `v3`; empty: the usual one. */
  readonly variant: string;
}

/** Other names of architectures, as containerd's platforms package knows them. */
const ALIASES: ReadonlyMap<string, readonly [architecture: string, variant: string]> = new Map([
  ['x86_64', ['amd64', '']],
  ['x86-64', ['amd64', '']],
  ['i386', ['386', '']],
  ['aarch64', ['arm64', '']],
  ['armhf', ['arm', 'v7']],
  ['armel', ['arm', 'v6']],
]);

/** Reads `os/architecture`, `os/architecture/variant`, or an architecture alone, of Linux then; undefined when it is none. */
export function parsePlatform(text: string): Platform | undefined {
  const parts = text.toLowerCase().split('/');
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9_.-]+$/.test(part))) return undefined;
  const [os, name, given] = parts.length === 1 ? ['linux', ...parts] : parts;
  if (os === undefined || name === undefined || name === 'linux') return undefined;
  const [architecture, implied] = ALIASES.get(name) ?? [name, ''];
  return { text, os, architecture, variant: usualVariant(architecture, given ?? implied) };
}

function usualVariant(architecture: string, variant: string): string {
  if (architecture === 'arm') return variant === '' ? 'v7' : variant;
  if (architecture === 'arm64' && (variant === 'v8' || variant === '8')) return '';
  if (architecture === 'amd64' && variant === 'v1') return '';
  return variant;
}

/** Whether a builder that builds `offered` natively builds `wanted`. */
export function serves(offered: Platform, wanted: Platform): boolean {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return false;
  // Images for a later level of amd64 are built on any of it; a newer arm runs what is for an older one.
  if (wanted.architecture === 'amd64' || wanted.variant === offered.variant) return true;
  return wanted.architecture === 'arm' && wanted.variant < offered.variant;
}

/** RUNNER_ARCH, or Node's name for it; undefined when no pool has builders for it. */
export function runnerArchitecture(name: string): Arch | undefined {
  switch (name.toUpperCase()) {
    case 'X64':
      return 'amd64';
    case 'ARM64':
      return 'arm64';
    default:
      return undefined;
  }
}
