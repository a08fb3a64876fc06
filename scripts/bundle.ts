import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';

/** The entries of src/ that are shipped, one file each. */
export const ENTRIES = ['main', 'post', 'bake-matrix', 'cli'] as const;

/** Bundles every entry into `folder`: the same bytes from the same sources. */
export async function bundle(folder: string): Promise<void> {
  // Nothing of an earlier bundle stays behind.
  await rm(folder, { recursive: true, force: true });
  await build({
    entryPoints: ENTRIES.map((name) => `src/${name}.ts`),
    outdir: folder,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'linked',
    // @actions/core carries a whole HTTP client for OIDC tokens, which are never asked for here: 400 kB and 40 ms a start.
    alias: {
      '@actions/http-client/lib/auth': './scripts/no-http-client.ts',
      '@actions/http-client': './scripts/no-http-client.ts',
    },
    // Some dependencies are CommonJS and call require() for Node's own modules.
    banner: {
      js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  await mkdir(folder, { recursive: true });
  // The bundles are ES modules wherever the folder is copied to.
  await writeFile(join(folder, 'package.json'), `${JSON.stringify({ type: 'module', version })}\n`);
}
