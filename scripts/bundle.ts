import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';

/** The entries of src/ that are shipped, one file each. */
export const ENTRIES = ['main', 'post', 'cli'] as const;

/** What only some runs need, loaded from a file of its own by a dynamic import: source and name in the bundle. */
const ON_DEMAND: Readonly<Record<string, { readonly source: string; readonly name: string }>> = {
  './run-command.ts': { source: 'src/pool/run-command.ts', name: 'pool-commands' },
};

/** Leaves the import of what is loaded on demand an import, of its file beside the bundle. */
const onDemand: Plugin = {
  name: 'on-demand',
  setup: ({ onResolve }) => {
    onResolve({ filter: /\.ts$/ }, ({ path, kind }) => {
      const found = kind === 'dynamic-import' ? ON_DEMAND[path] : undefined;
      return found === undefined ? null : { path: `./${found.name}.js`, external: true };
    });
  },
};

/** Bundles every entry into `folder`: the same bytes from the same sources. */
export async function bundle(folder: string): Promise<void> {
  // Nothing of an earlier bundle stays behind.
  await rm(folder, { recursive: true, force: true });
  await build({
    entryPoints: [
      ...ENTRIES.map((name) => ({ in: `src/${name}.ts`, out: name })),
      ...Object.values(ON_DEMAND).map(({ source, name }) => ({ in: source, out: name })),
    ],
    plugins: [onDemand],
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
