/** Serves the pool document, as the small server beside a pool in a cluster does. */
import { createServer } from 'node:http';
import type { PoolDocument } from '../pool-document/document.ts';

export interface DocumentServer {
  readonly url: string;
  close(): Promise<void>;
}

const PATH = '/pool.json';

/** Rejects when the address is taken. */
export async function startDocumentServer(
  address: string,
  port: number,
  read: () => PoolDocument,
): Promise<DocumentServer> {
  const server = createServer((request, response) => {
    const found = request.url === PATH;
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/json', connection: 'close' });
    response.end(found ? `${JSON.stringify(read(), undefined, 2)}\n` : '{}\n');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host: address, exclusive: true }, resolve);
  });
  return {
    url: `http://${address}:${port}${PATH}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
