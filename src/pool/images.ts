/**
 * The images that pods run: pool.yaml's own, or the ones this version was tested with, from versions.json. A digest there
 * pins the very bytes; null says that nobody has looked it up yet, and then the tag alone counts.
 */
import type { Pool } from './config/model.ts';
import versions from './versions.json' with { type: 'json' };

export interface PoolImages {
  readonly haproxy: string;
  readonly document: string;
  readonly buildkit: string;
}

export function imagesOf({ images, profile }: Pool): PoolImages {
  const haproxy = images.haproxy ?? reference('haproxy');
  return {
    haproxy,
    // Serves one file over HTTP, which HAProxy does as well: no further image to trust.
    document: images.document ?? haproxy,
    buildkit: images.buildkit ?? reference(profile === 'rootless' ? 'buildkit-rootless' : 'buildkit'),
  };
}

/** `0.32.2` of `docker.io/moby/buildkit:v0.32.2-rootless@sha256:…`; null when the tag tells no version. */
export function versionOf(image: string): string | null {
  const [withoutDigest = ''] = image.split('@');
  const tag = /:([^/:]+)$/.exec(withoutDigest)?.[1] ?? '';
  return /^v?(\d+(?:\.\d+)+)/.exec(tag)?.[1] ?? null;
}

function reference(name: keyof typeof versions): string {
  const { image, tag, digest }: { image: string; tag: string; digest: string | null } = versions[name];
  return `${image}:${tag}${digest === null ? '' : `@${digest}`}`;
}
