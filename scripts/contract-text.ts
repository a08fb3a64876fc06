import type { InputEntry } from '../src/action/inputs/source.ts';
import { INPUTS } from '../src/action/inputs.ts';
import { OUTPUTS } from '../src/action/outputs.ts';
import { MATRIX_INPUTS, MATRIX_OUTPUTS } from '../src/bake-matrix/contract.ts';

const inputs: Inputs = Object.entries(INPUTS);
const outputs = Object.entries(OUTPUTS);

type Inputs = readonly (readonly [string, InputEntry])[];

/** action.yml, whole. */
export function renderAction(): string {
  return [
    'name: buildkit-pool',
    'description: Build container images on a shared pool of BuildKit builders, waiting your turn in one fair line',
    'author: The buildkit-pool authors',
    'branding:',
    '  icon: layers',
    '  color: blue',
    '# Inputs and outputs are generated from src/action: npm run contract.',
    ...renderContract(inputs, outputs),
    'runs:',
    '  using: node24',
    '  main: dist/main.js',
    '  post: dist/post.js',
    '',
  ].join('\n');
}

/** bake-matrix/action.yml, whole. */
export function renderMatrixAction(): string {
  return [
    'name: buildkit-pool bake matrix',
    'description: List the targets of a bake file as a matrix, to build each in a job of its own',
    'author: The buildkit-pool authors',
    'branding:',
    '  icon: layers',
    '  color: blue',
    '# Inputs and outputs are generated from src/bake-matrix: npm run contract.',
    ...renderContract(Object.entries(MATRIX_INPUTS), Object.entries(MATRIX_OUTPUTS)),
    'runs:',
    '  using: node24',
    '  main: ../dist/bake-matrix.js',
    '',
  ].join('\n');
}

function renderContract(entries: Inputs, results: readonly (readonly [string, string])[]): readonly string[] {
  return [
    'inputs:',
    ...entries.flatMap(([name, entry]) => [
      `  ${name}:`,
      `    description: ${scalar(entry.description)}`,
      ...(entry.default === undefined ? [] : [`    default: ${scalar(entry.default)}`]),
    ]),
    'outputs:',
    ...results.flatMap(([name, description]) => [`  ${name}:`, `    description: ${scalar(description)}`]),
  ];
}

/** The README with its two tables as they should be. */
export function renderReadme(readme: string): string {
  const withInputs = replace(readme, 'inputs', [
    '| input | default | |',
    '| --- | --- | --- |',
    ...inputs.map(
      ([name, entry]) =>
        `| \`${name}\` | ${entry.default === undefined ? '' : `\`${entry.default}\` `}| ${cell(entry.description)} |`,
    ),
  ]);
  return replace(withInputs, 'outputs', [
    '| output | |',
    '| --- | --- |',
    ...outputs.map(([name, description]) => `| \`${name}\` | ${cell(description)} |`),
  ]);
}

function replace(text: string, marker: string, rows: readonly string[]): string {
  const [before, rest] = split(text, `<!-- ${marker} -->`);
  const [, after] = split(rest, '<!-- end -->');
  return `${before}<!-- ${marker} -->\n\n${rows.join('\n')}\n\n<!-- end -->${after}`;
}

function split(text: string, at: string): readonly [string, string] {
  const index = text.indexOf(at);
  if (index < 0) throw new Error(`README.md has no ${at}`);
  return [text.slice(0, index), text.slice(index + at.length)];
}

/** A YAML scalar: plain where that is safe, else quoted as JSON, which YAML reads too. */
function scalar(text: string): string {
  const plain = /^[A-Za-z0-9][^#:"]*$/.test(text) && !/^(true|false|null|yes|no|\d.*)$/i.test(text);
  return plain ? text : JSON.stringify(text);
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
