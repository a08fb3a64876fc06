/** The committed examples, as their pool.yaml gives them. */
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { KubernetesObject } from '../../src/pool/components/object.ts';
import { readPool } from '../../src/pool/read.ts';
import { composePool } from '../../src/pool/render/render.ts';
import type { Sizing } from '../../src/pool/sizing/model.ts';

const FOLDER = resolve('manifests');

export interface Example {
  readonly name: string;
  readonly folder: string;
  readonly poolYaml: string;
}

export const EXAMPLES: readonly Example[] = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort()
  .map((name) => ({
    name,
    folder: resolve(FOLDER, name),
    poolYaml: readFileSync(resolve(FOLDER, name, 'pool.yaml'), 'utf8'),
  }));

export function exampleNamed(name: string): Example {
  const example = EXAMPLES.find((one) => one.name === name);
  if (example === undefined) {
    throw new Error(`there is no example ${name}`);
  }
  return example;
}

/** Throws when the text is refused. */
export function sizeText(poolYaml: string): Sizing {
  const reading = readPool(poolYaml);
  if (reading.kind === 'refused') {
    throw new Error(
      reading.problems.map(({ line, key, message }) => `${line}: ${key}: ${message}`).join('\n'),
    );
  }
  return reading.sizing;
}

export function composeText(poolYaml: string): readonly KubernetesObject[] {
  return composePool(sizeText(poolYaml));
}

/** The one object of a kind and name, as untyped as YAML gives it. */
export function pick(objects: readonly KubernetesObject[], kind: string, name: string): Tree {
  const found = objects.find((object) => object.kind === kind && object.metadata?.name === name);
  if (found === undefined) {
    throw new Error(`there is no ${kind} ${name}`);
  }
  return JSON.parse(JSON.stringify(found)) as Tree;
}

// biome-ignore lint/suspicious/noExplicitAny: a manifest has every shape; tests look at the parts that they name.
export type Tree = any;
