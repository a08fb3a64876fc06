import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a socket's path in a run folder adds to it, at most; paths of unix sockets are limited to 107 bytes. */
const SOCKET_ROOM_BYTES = 40;
const MAX_SOCKET_PATH_BYTES = 107;

/** A private folder (0700) for one run: RUNNER_TEMP, or the system's where that is too deep for a socket. */
export async function makeRunFolder(env: NodeJS.ProcessEnv): Promise<string> {
  const runnerTemp = env['RUNNER_TEMP'];
  const fits = (folder: string) => Buffer.byteLength(folder) + SOCKET_ROOM_BYTES <= MAX_SOCKET_PATH_BYTES;
  const parent = runnerTemp !== undefined && runnerTemp !== '' && fits(runnerTemp) ? runnerTemp : tmpdir();
  return await mkdtemp(join(parent, 'bkpool-'));
}

export async function removeRunFolder(folder: string): Promise<void> {
  // What was killed a moment ago may still be writing.
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}
