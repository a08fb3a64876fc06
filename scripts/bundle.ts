import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';

/** What is shipped, one file each, and the entry of src/ that it is made of. */
const ENTRIES = {
  main: 'src/main.ts',
  post: 'src/post.ts',
  cli: 'src/cli.ts',
  gateway: 'src/gateway-main.ts',
  'bake-matrix': 'src/bake-matrix.ts',
};

/** What few runs need and would cost all of them: imported dynamically in src/, a file of its own in dist/. */
const LATE_ENTRIES = {
  'set-up': 'src/action/run-setup.ts',
  'local-session': 'src/build/local-session.ts',
  'pool-client': 'src/pool-document/client.ts',
  'pool-commands': 'src/pool/run-command.ts',
};

/** The same, for what needs the HTTP client that the others do without. */
const HTTP_ENTRIES = { 'buildx-install': 'src/build/buildx-install.ts' };

const lateEntries: Plugin = {
  name: 'late-entries',
  setup({ onResolve }) {
    onResolve({ filter: /^\.{1,2}\/.*\.ts$/ }, ({ kind, path, resolveDir }) => {
      if (kind !== 'dynamic-import') return undefined;
      const source = relative('.', join(resolveDir, path));
      const all = Object.entries({ ...LATE_ENTRIES, ...HTTP_ENTRIES });
      const [name] = all.find(([, entry]) => entry === source) ?? [];
      if (name === undefined)
        return { errors: [{ text: `${source} is imported late, but is no late entry` }] };
      return { path: `./${name}.js`, external: true };
    });
  },
};

/** Bundles every entry into `folder`: the same bytes from the same sources. */
export async function bundle(folder: string): Promise<void> {
  // Nothing of an earlier bundle stays behind.
  await rm(folder, { recursive: true, force: true });
  const options = {
    outdir: folder,
    entryNames: '[name]',
    plugins: [lateEntries],
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minifyWhitespace: true,
    minifySyntax: true,
    minifyIdentifiers: true,
    legalComments: 'linked',
    // Some dependencies are CommonJS and call require() for Node's own modules.
    banner: {
      js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  } satisfies BuildOptions;
  await build({
    ...options,
    entryPoints: { ...ENTRIES, ...LATE_ENTRIES },
    // @actions/core carries a whole HTTP client for OIDC tokens, which are never asked for here: 400 kB and 40 ms a start.
    // What else takes long to load is loaded when it is needed.
    alias: {
      '@actions/http-client/lib/auth': './scripts/no-http-client.ts',
      '@actions/http-client': './scripts/no-http-client.ts',
      crypto: './scripts/late-crypto.ts',
    },
  });
  await build({ ...options, entryPoints: HTTP_ENTRIES });
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  await mkdir(folder, { recursive: true });
  // The bundles are ES modules wherever the folder is copied to.
  await writeFile(join(folder, 'package.json'), `${JSON.stringify({ type: 'module', version })}\n`);
}
