// Writes what action.yml and the README say about inputs and outputs, from the tables in src/action.
import { readFileSync, writeFileSync } from 'node:fs';
import { renderAction, renderMatrixAction, renderReadme } from './contract-text.ts';

writeFileSync('action.yml', renderAction());
writeFileSync('bake-matrix/action.yml', renderMatrixAction());
writeFileSync('README.md', renderReadme(readFileSync('README.md', 'utf8')));
