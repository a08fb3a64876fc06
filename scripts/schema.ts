// Writes schemas/pool.schema.json and the table of keys in docs/pool-yaml.md. A test compares both with the source.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { formatSchema, jsonSchema } from '../src/pool/config/schema.ts';
import { replaceReference } from './pool-reference.ts';

const DOCUMENT = 'docs/pool-yaml.md';

mkdirSync('schemas', { recursive: true });
writeFileSync('schemas/pool.schema.json', formatSchema());
writeFileSync(DOCUMENT, replaceReference(readFileSync(DOCUMENT, 'utf8'), jsonSchema()));
