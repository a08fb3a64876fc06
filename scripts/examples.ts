// Renders the committed examples again, each from its own pool.yaml.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatProblem, readPool } from '../src/pool/read.ts';
import { writeFolder } from '../src/pool/render/folder.ts';
import { renderPool } from '../src/pool/render/render.ts';

for (const { name } of readdirSync('manifests', { withFileTypes: true }).filter((entry) =>
  entry.isDirectory(),
)) {
  const folder = join('manifests', name);
  const reading = readPool(readFileSync(join(folder, 'pool.yaml'), 'utf8'));
  if (reading.kind === 'refused') {
    for (const problem of reading.problems) console.error(formatProblem(join(folder, 'pool.yaml'), problem));
    process.exitCode = 1;
    continue;
  }
  const written = await writeFolder(folder, renderPool(reading.sizing));
  console.log(`${folder}: ${written.length} changed`);
}
