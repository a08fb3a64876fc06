import type { SocketAddress } from './model.ts';

/** A section of a HAProxy configuration: its head, and its lines, indented. */
export function section(head: string, lines: readonly string[]): string {
  return [head, ...lines.map((line) => `  ${line}`)].join('\n');
}

/** As HAProxy writes addresses: `127.0.0.1:1234`, `:::1234`. */
export function at({ address, port }: SocketAddress): string {
  return `${address}:${port}`;
}
