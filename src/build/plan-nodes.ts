import { parseEndpoint } from '../queue/endpoint.ts';
import type { Arch, PlannedNode } from './plan.ts';

/** The one fixed order in which places are taken. */
const ARCHITECTURES: readonly Arch[] = ['amd64', 'arm64'];

/** The lines for these platforms, in their fixed order; without any, the runner's own. */
export function planNodes(
  template: string,
  arch: Arch,
  platforms: readonly string[],
): readonly PlannedNode[] {
  const node = (of: Arch, its: readonly string[]): PlannedNode[] => {
    const result = parseEndpoint(template, of);
    return result.kind === 'endpoint'
      ? [{ arch: of, endpoint: result.endpoint, platforms: its, tls: undefined }]
      : [];
  };
  // An address without {arch} is one line, whose builders build whatever they can.
  if (!template.includes('{arch}')) return node(arch, platforms);
  if (platforms.length === 0) return node(arch, []);
  return ARCHITECTURES.flatMap((of) => {
    const its = platforms.filter((platform) => architectureOf(platform) === of);
    return its.length === 0 ? [] : node(of, its);
  });
}

function architectureOf(platform: string): Arch {
  const name = platform.split('/')[1] ?? platform;
  return name === 'arm64' || name === 'arm' || name === 'aarch64' ? 'arm64' : 'amd64';
}
