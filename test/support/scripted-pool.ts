/** An address between the Action and a real pool at which a test decides what becomes of each connection. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import {
  CLIENT_PREFACE,
  SETTINGS_ACK,
  serialiseGoaway,
  serialiseSettings,
} from '../../src/gateway/frames.ts';
import { MethodTracker, type SolveState } from '../../src/gateway/methods.ts';
import { ConnectionSniffer } from '../../src/gateway/sniffer.ts';

/** What becomes of a connection, the next one of the list for each that comes; `pass` once the list is used up. */
export type Fate =
  | { readonly kind: 'pass' }
  /** Carried to the pool until the builder has said this of the build's own Solve; then cut, to the byte. */
  | { readonly kind: 'cut-when'; readonly solve: SolveState }
  /** Never carried: a builder that takes the client in and says GOAWAY to its first request, and stays. */
  | { readonly kind: 'goes-away' };

export interface ScriptedPool extends Disposable {
  readonly endpoint: string;
  /** What has become of each connection so far. */
  readonly done: readonly Fate['kind'][];
}

export async function startScriptedPool(poolEndpoint: string, fates: readonly Fate[]): Promise<ScriptedPool> {
  const { hostname, port } = new URL(poolEndpoint);
  const sockets = new Set<Socket>();
  const done: Fate['kind'][] = [];
  const left = [...fates];
  const track = (socket: Socket) => {
    sockets.add(socket.on('error', () => {}));
    return socket;
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    track(client);
    const fate = left.shift() ?? { kind: 'pass' };
    if (fate.kind === 'goes-away') {
      goAway(client, () => done.push(fate.kind));
      return;
    }
    const pool = track(connect({ host: hostname, port: Number(port), allowHalfOpen: true }));
    const end = () => {
      client.destroy();
      pool.destroy();
    };
    for (const socket of [client, pool]) socket.on('close', end);
    client.on('end', () => pool.end());
    pool.on('end', () => client.end());
    if (fate.kind === 'pass') {
      done.push(fate.kind);
      client.on('data', (chunk) => pool.write(chunk));
      pool.on('data', (chunk) => client.write(chunk));
      return;
    }
    carryUntil(client, pool, fate.solve, () => {
      done.push(fate.kind);
      end();
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    endpoint: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    done,
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function carryUntil(client: Socket, pool: Socket, solve: SolveState, cut: () => void): void {
  const tracker = new MethodTracker();
  const sniffer = new ConnectionSniffer(tracker, 1);
  let prefaceLeft = CLIENT_PREFACE.length;
  client.on('data', (chunk: Buffer) => {
    pool.write(chunk);
    const preface = Math.min(prefaceLeft, chunk.length);
    prefaceLeft -= preface;
    sniffer.read('client', chunk.subarray(preface));
  });
  pool.on('data', (chunk: Buffer) => {
    // Byte by byte: what comes behind the answer must not arrive.
    for (let at = 0; at < chunk.length; at += 1) {
      sniffer.read('builder', chunk.subarray(at, at + 1));
      if (tracker.solve !== solve) continue;
      pool.removeAllListeners('data');
      client.write(chunk.subarray(0, at + 1), () => cut());
      return;
    }
    client.write(chunk);
  });
}

/** Acknowledges the client's SETTINGS, as a builder does, and tells it to go when it asks for something. */
function goAway(client: Socket, told: () => void): void {
  client.write(Buffer.concat([serialiseSettings([]), SETTINGS_ACK]));
  let received: Buffer = Buffer.alloc(0);
  client.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    // Preface and SETTINGS are the gateway's own; a header block is the first request.
    for (let at = CLIENT_PREFACE.length; at + 9 <= received.length; at += 9 + received.readUIntBE(at, 3)) {
      if (received.readUInt8(at + 3) !== 1) continue;
      client.removeAllListeners('data').resume();
      client.write(serialiseGoaway(0, 0, 'graceful_stop'));
      told();
      return;
    }
  });
  client.on('end', () => client.destroy());
}
