/** A process of its own between buildx and the builder, started by data.ts: a gateway, a bare pipe, or a delay. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { openGateway } from '../src/gateway/gateway.ts';
import { dialBuilder } from '../test/support/buildkitd.ts';
import { startDelayProxy } from './delay-proxy.ts';

interface Carrier {
  readonly address: string;
  close(): Promise<void>;
}

async function openCarrier(carry: string, address: string, folder: string): Promise<Carrier> {
  if (carry === 'pipe') return await openPipe(address, folder);
  const gateway = await openGateway({ carry: carry === 'splice' ? 'splice' : 'multiplex', folder });
  gateway.attach(await dialBuilder(address));
  return gateway;
}

async function openPipe(address: string, base: string): Promise<Carrier> {
  const { hostname, port } = new URL(address);
  const folder = await mkdtemp(join(base, 'pipe-'));
  const server = createServer((client) => {
    const pool = connect({ host: hostname, port: Number(port), noDelay: true });
    for (const socket of [client, pool]) socket.on('error', () => socket.destroy());
    client.pipe(pool).pipe(client);
  });
  server.listen(join(folder, 'buildkitd.sock'));
  await once(server, 'listening');
  return {
    address: `unix://${join(folder, 'buildkitd.sock')}`,
    close: async () => {
      server.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function serveGateway(carry: string, address: string, folder: string): Promise<void> {
  const gateway = await openCarrier(carry, address, folder);
  const before = process.cpuUsage();
  process.once('message', async () => {
    const { user, system } = process.cpuUsage(before);
    const peakMib = process.resourceUsage().maxRSS / 1024;
    await gateway.close();
    process.send?.(JSON.stringify({ cpuSeconds: (user + system) / 1e6, peakMib }), () => process.exit(0));
  });
  process.send?.(gateway.address);
}

async function serveDelay(port: string, delayMs: string): Promise<void> {
  const server = await startDelayProxy({ port: Number(port) }, Number(delayMs));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The delay proxy has no port');
  process.once('disconnect', () => process.exit(0));
  process.send?.(`tcp://127.0.0.1:${address.port}`);
}

const [mode, first = '', second = '', third = ''] = process.argv.slice(2);
if (mode === 'gateway') await serveGateway(first, second, third);
else await serveDelay(first, second);
