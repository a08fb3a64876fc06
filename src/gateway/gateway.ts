/**
 * The local BuildKit endpoint: a unix socket in a private folder. `docker buildx` talks to it and to nothing else;
 * behind it is one pool connection, or none yet.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MethodView } from './methods.ts';
import { MethodTracker } from './methods.ts';
import { Multiplexer } from './multiplexer.ts';
import type { PoolConnection } from './pool-connection.ts';
import type { PoolEnd } from './pool-end.ts';
import { Splice, SplicedClient } from './splice.ts';
import type { Refusal, StandIn } from './stand-in.ts';

/** Bytes a unix socket's path may have on Linux: sun_path without its closing zero. */
export const MAX_SOCKET_PATH_BYTES = 107;

const SOCKET_NAME = 'buildkitd.sock';

export interface GatewayOptions {
  /** Where to make the private folder; RUNNER_TEMP or the system's temporary folder when left out. */
  readonly folder?: string;
  /** `splice`: exactly one client, byte for byte. `multiplex`: any number of clients, also one after the other. */
  readonly carry: 'splice' | 'multiplex';
  /** Called when a client came or left, with the number of clients now connected. */
  readonly onClients?: (clients: number) => void;
  /** Called for what a person should know: a client that was refused, or cut. */
  readonly onWarning?: (message: string) => void;
  /** Multiplexed only. Called when a request has begun to wait for a builder, and when none waits any more. */
  readonly onWanted?: (wanted: boolean) => void;
  /** Multiplexed only. Answers what it can while no builder is ours; without it, everything waits. */
  readonly standIn?: StandIn;
}

/** One pool connection's time in the gateway. */
export interface Attachment {
  /** Resolves once, when the pool connection is of no more use; never rejects. */
  readonly ended: Promise<PoolEnd>;
}

export interface Gateway {
  /** `unix:///…`, as buildx takes it. */
  readonly address: string;
  /** The private folder (mode 0700); it goes with the gateway. */
  readonly folder: string;
  /** Says what the present builder, or the last one, has been asked and has answered. */
  readonly view: MethodView;
  readonly clients: number;
  /**
   * The builder is ours: clients that wait go through. In a splice, clients that come after the builder is gone
   * are turned away until the next one is attached.
   * @throws Error when the gateway is closed or the builder before it is still attached.
   */
  attach(connection: PoolConnection): Attachment;
  /** Gives the builder back at once, if there is one; its attachment ends as `closed`. Multiplexed clients stay. */
  detach(): void;
  /** Answers what waits for a builder with an error, and whatever else those clients ask for until there is one. */
  refuse(refusal: Refusal): void;
  /** Gives the builder back first, then lets the clients go and removes socket and folder. May be called again. */
  close(): Promise<void>;
}

/** @throws Error when the folder can't be made or the socket's path would be too long. */
export async function openGateway(options: GatewayOptions): Promise<Gateway> {
  const base = options.folder ?? process.env['RUNNER_TEMP'] ?? tmpdir();
  const length = Buffer.byteLength(join(base, 'bkp-XXXXXX', SOCKET_NAME));
  if (length > MAX_SOCKET_PATH_BYTES) {
    throw new Error(
      `The gateway's socket would have a path of ${length} bytes, and Linux allows ${MAX_SOCKET_PATH_BYTES}: ` +
        `choose a shorter folder than ${base} (RUNNER_TEMP or TMPDIR)`,
    );
  }
  const folder = await mkdtemp(join(base, 'bkp-'));
  const path = join(folder, SOCKET_NAME);
  const carrier = options.carry === 'splice' ? new SpliceCarrier(options) : new MultiplexCarrier(options);
  const server = createServer({ allowHalfOpen: options.carry === 'splice' }, (socket) =>
    carrier.accept(socket),
  );
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  server.on('error', (error) => options.onWarning?.(`The gateway's socket failed: ${error.message}`));

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    carrier.close();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await rm(folder, { recursive: true, force: true });
  };
  return {
    address: `unix://${path}`,
    folder,
    view: carrier.view,
    get clients() {
      return carrier.clients;
    },
    attach(connection) {
      if (closing !== undefined) {
        connection.socket.destroy();
        throw new Error('The gateway is closed');
      }
      return carrier.attach(connection);
    },
    detach: () => carrier.detach(),
    refuse: (refusal) => carrier.refuse(refusal),
    close() {
      closing ??= close();
      return closing;
    },
  };
}

interface Carrier {
  readonly view: MethodView;
  readonly clients: number;
  accept(socket: Socket): void;
  attach(connection: PoolConnection): Attachment;
  detach(): void;
  refuse(refusal: Refusal): void;
  close(): void;
}

class SpliceCarrier implements Carrier {
  readonly view = new MethodTracker();
  readonly #options: GatewayOptions;
  #client: SplicedClient | undefined;
  #splice: Splice | undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
  }

  get clients(): number {
    return this.#client === undefined ? 0 : 1;
  }

  accept(socket: Socket): void {
    if (this.#client !== undefined) {
      socket.on('error', () => {});
      socket.destroy();
      this.#options.onWarning?.('A second client at the same time was refused: this gateway carries one');
      return;
    }
    if (this.#splice?.over === true) {
      // buildx dials again when its builder is lost, and would wait here although its build can't go on.
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    const splice = this.#splice;
    const client = new SplicedClient(socket, { waits: splice === undefined });
    this.#client = client;
    socket.once('close', () => {
      this.#client = undefined;
      this.#options.onClients?.(0);
    });
    this.#options.onClients?.(1);
    splice?.join(client);
  }

  attach(connection: PoolConnection): Attachment {
    if (this.#splice?.over === false) throw new Error('The gateway already has a builder');
    this.view.restart();
    const splice = new Splice(connection, this.view);
    this.#splice = splice;
    // A client of an earlier builder is on its way out and can't be joined to another.
    if (this.#client?.waits === true) splice.join(this.#client);
    return splice;
  }

  detach(): void {
    this.#splice?.close();
  }

  /** A spliced client is nobody's but the builder's: all that can be said to it is to go. */
  refuse(): void {
    if (this.#client?.waits === true) this.#client.socket.destroy();
  }

  close(): void {
    this.#splice?.close();
    this.#client?.socket.destroy();
  }
}

class MultiplexCarrier implements Carrier {
  readonly view = new MethodTracker();
  readonly #multiplexer: Multiplexer;

  constructor(options: GatewayOptions) {
    this.#multiplexer = new Multiplexer(this.view, options);
  }

  get clients(): number {
    return this.#multiplexer.clients;
  }

  accept(socket: Socket): void {
    this.#multiplexer.accept(socket);
  }

  attach(connection: PoolConnection): Attachment {
    return this.#multiplexer.attach(connection);
  }

  detach(): void {
    this.#multiplexer.detach();
  }

  refuse(refusal: Refusal): void {
    this.#multiplexer.refuse(refusal);
  }

  close(): void {
    this.#multiplexer.close();
  }
}
