/** What the kernel tells about processes and connections. Linux only. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

/** The one child of a process that runs another in new namespaces, or null. */
export function readOnlyChild(pid: number): number | null {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    return children.length === 1 && children[0] ? Number(children[0]) : null;
  } catch {
    return null;
  }
}

const ESTABLISHED = '01';

/**
 * Connections established to `address`:`port` (IPv4, seen from the accepting side), the surest sign that a builder works.
 * Throws when the kernel's table cannot be read: who cannot see must not say "idle".
 */
export async function countConnections(address: string, port: number): Promise<number> {
  const local = `${hexAddress(address)}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const table = await readFile('/proc/net/tcp', 'utf8');
  return table.split('\n').filter((line) => {
    const [, localAddress, , state] = line.trim().split(/ +/);
    return localAddress === local && state === ESTABLISHED;
  }).length;
}

/** proc_net_tcp prints the address as the machine's own 32-bit number: bytes reversed on little-endian machines. */
function hexAddress(address: string): string {
  return Buffer.from(address.split('.').map(Number).reverse()).toString('hex').toUpperCase();
}
