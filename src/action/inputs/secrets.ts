import { resolve } from 'node:path';
import type { Secret } from '../../build/work.ts';
import { isFile } from './paths.ts';
import type { InputReader } from './reader.ts';

/**
 * The secrets of a build. One that names no value, as `id=${{ secrets.x }}` where x is not set, is left out with a
 * warning, as docker/build-push-action does; unlike there, the warning never holds what was given.
 */
export function readSecrets(reader: InputReader, workspace: string): readonly Secret[] {
  return [
    ...readPairs(reader, 'secret-envs', reader.list('secret-envs')).map(
      ({ id, value }): Secret => ({ kind: 'variable', id, name: value }),
    ),
    ...readPairs(reader, 'secrets', reader.list('secrets', { commas: 'belong', whiteSpace: 'keep' })).map(
      ({ id, value }): Secret => ({ kind: 'value', id, value }),
    ),
    ...readPairs(reader, 'secret-files', reader.list('secret-files', { commas: 'belong' })).flatMap(
      ({ id, value }): readonly Secret[] => {
        if (isFile(resolve(workspace, value))) return [{ kind: 'file', id, path: value }];
        reader.problems.warn(
          `\`secret-files\`: the file of the secret ${JSON.stringify(id)} does not exist; left out`,
        );
        return [];
      },
    ),
  ];
}

/**
 * The token for the host of the default context, under the id that BuildKit's Git source asks for first
 * (`GIT_AUTH_TOKEN.<host>`); undefined where the workflow gives one itself.
 */
export function gitTokenSecret(
  secrets: readonly Secret[],
  serverUrl: string,
  token: string,
): Secret | undefined {
  const id = `GIT_AUTH_TOKEN.${new URL(serverUrl).host}`;
  const given = secrets.some(
    (secret) => secret.kind === 'value' && [id, 'GIT_AUTH_TOKEN'].includes(secret.id),
  );
  return given ? undefined : { kind: 'value', id, value: token };
}

function readPairs(
  reader: InputReader,
  input: string,
  items: readonly string[],
): readonly { readonly id: string; readonly value: string }[] {
  return items.flatMap((item) => {
    const at = item.indexOf('=');
    // As written: an id may have white space before it where a list keeps it.
    const id = item.slice(0, Math.max(at, 0)).trim();
    const value = item.slice(at + 1);
    if (id !== '' && value !== '') return [{ id, value }];
    const which =
      id === '' ? 'one item has no id before a =' : `the secret ${JSON.stringify(id)} has no value`;
    reader.problems.warn(`\`${input}\`: ${which}; left out`);
    return [];
  });
}
