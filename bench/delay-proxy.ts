import { connect, createServer, type Server, type Socket } from 'node:net';

/** Bytes on the way in one direction: more than any window of gRPC, so that the proxy itself is no limit. */
const MAX_UNDER_WAY_BYTES = 64 * 1024 * 1024;

/** A TCP proxy on loopback that delivers everything `delayMs` later, each way. Resolves with its server. */
export function startDelayProxy(target: { readonly port: number }, delayMs: number): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port: target.port, allowHalfOpen: true, noDelay: true });
    delay(near, far, delayMs);
    delay(far, near, delayMs);
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

function delay(from: Socket, to: Socket, delayMs: number): void {
  const underWay: Array<{ readonly dueMs: number; readonly chunk: Buffer | undefined }> = [];
  let bytes = 0;
  let scheduled = false;
  const deliver = () => {
    scheduled = false;
    to.cork();
    for (;;) {
      const next = underWay[0];
      if (next === undefined || next.dueMs > performance.now()) break;
      underWay.shift();
      if (next.chunk === undefined) to.end();
      else {
        bytes -= next.chunk.length;
        to.write(next.chunk);
      }
    }
    to.uncork();
    if (bytes < MAX_UNDER_WAY_BYTES && to.writableLength < MAX_UNDER_WAY_BYTES) from.resume();
    schedule();
  };
  const schedule = () => {
    const next = underWay[0];
    if (next === undefined || scheduled) return;
    scheduled = true;
    setTimeout(deliver, Math.max(0, next.dueMs - performance.now()));
  };
  const take = (chunk: Buffer | undefined) => {
    underWay.push({ dueMs: performance.now() + delayMs, chunk });
    bytes += chunk?.length ?? 0;
    if (bytes >= MAX_UNDER_WAY_BYTES) from.pause();
    schedule();
  };
  from.on('data', (chunk: Buffer) => take(chunk));
  from.on('end', () => take(undefined));
  from.on('error', () => to.destroy());
  from.on('close', () => setTimeout(() => to.destroy(), delayMs * 2));
  to.on('drain', () => from.resume());
}
