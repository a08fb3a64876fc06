// Writes schemas/pool.schema.json. A test compares the two.
import { mkdirSync, writeFileSync } from 'node:fs';
import { formatSchema } from '../src/pool/config/schema.ts';

mkdirSync('schemas', { recursive: true });
writeFileSync('schemas/pool.schema.json', formatSchema());
