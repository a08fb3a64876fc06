// Bundles each entry into dist/: one file an entry, the same bytes from the same sources.
import { readFile, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const entries = ['main', 'post', 'cli'];

await build({
  entryPoints: entries.map((name) => `src/${name}.ts`),
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'linked',
  banner: {
    // Some dependencies are CommonJS and call require() for Node's own modules.
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});

const manifest = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
await writeFile('dist/package.json', `${JSON.stringify({ type: 'module', version: manifest.version })}\n`);
