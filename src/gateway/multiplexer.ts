import type { Socket } from 'node:net';
import type { MethodTracker } from './methods.ts';
import type { PoolConnection } from './pool-connection.ts';
import type { PoolEnd } from './pool-end.ts';
export class Multiplexer {
  readonly clients = 0;
  constructor(_view: MethodTracker, _options: unknown) {}
  accept(_socket: Socket): void {
    throw new Error('not yet');
  }
  attach(_connection: PoolConnection): { ended: Promise<PoolEnd> } {
    throw new Error('not yet');
  }
  close(): void {}
}
