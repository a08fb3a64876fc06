import { open } from 'node:fs/promises';

const TAIL_BYTES = 4096;

/** The end of a log file, at most 4 kB; empty when there is none. */
export async function readTail(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    const length = Math.min(size, TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead).toString('utf8').trim();
  } catch {
    return '';
  }
}
