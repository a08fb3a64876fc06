/** The pool's name server: one A record for each builder that is ready, NXDOMAIN for every other name. UDP and TCP. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import dnsPacket, { type Answer, type DecodedPacket, type Packet } from 'dns-packet';

/** All names end in this; `internal` is reserved for private use by ICANN. */
export const ZONE = 'pool.internal';

const TIME_TO_LIVE_SECONDS = 1;
/**
 * Connections without a question for so long are closed, as RFC 7766 asks: a HAProxy that stops softly keeps its last one
 * open and does not end before it is closed (measured with 2.6.12).
 */
const IDLE_TIMEOUT_MS = 3000;

const NO_ERROR = 0;
const NAME_ERROR = 3;

export interface NameServerHandle {
  /** Makes `name` resolve to `address`, until `remove`. */
  add(name: string, address: string): void;
  remove(name: string): void;
  close(): Promise<void>;
}

/** Rejects with EADDRINUSE when someone else serves at this address. */
export async function startNameServer(address: string, port: number): Promise<NameServerHandle> {
  const records = new Map<string, string>();
  // TCP first: binding it is what makes the address ours.
  const tcp = await listenTcp(address, port, (query) => answerQuery(records, query));
  const udp = await listenUdp(address, port, (query) => answerQuery(records, query));
  return {
    add: (name, ip) => {
      records.set(name, ip);
    },
    remove: (name) => {
      records.delete(name);
    },
    close: async () => {
      await Promise.all([tcp.close(), new Promise<void>((resolve) => udp.close(() => resolve()))]);
    },
  };
}

/** The answer to one query, by the records as they are now. */
export function answerQuery(records: ReadonlyMap<string, string>, query: DecodedPacket): Packet {
  const question = query.questions?.[0];
  const name = question?.name.toLowerCase() ?? '';
  const address = records.get(name);
  const answers: Answer[] =
    address === undefined || question?.type !== 'A'
      ? []
      : [{ name: question.name, type: 'A', class: 'IN', ttl: TIME_TO_LIVE_SECONDS, data: address }];
  return {
    type: 'response',
    id: query.id ?? 0,
    flags: dnsPacket.AUTHORITATIVE_ANSWER | (address === undefined ? NAME_ERROR : NO_ERROR),
    questions: query.questions ?? [],
    answers,
    authorities: answers.length === 0 ? [startOfAuthority()] : [],
  };
}

function startOfAuthority(): Answer {
  return {
    name: ZONE,
    type: 'SOA',
    class: 'IN',
    ttl: TIME_TO_LIVE_SECONDS,
    data: {
      mname: `names.${ZONE}`,
      rname: `nobody.${ZONE}`,
      serial: 1,
      refresh: 1,
      retry: 1,
      expire: 1,
      minimum: TIME_TO_LIVE_SECONDS,
    },
  };
}

type Responder = (query: DecodedPacket) => Packet;

async function listenUdp(address: string, port: number, respond: Responder): Promise<UdpSocket> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, address, () => {
      socket.off('error', reject);
      resolve();
    });
  });
  // What can go wrong later concerns one answer only; the asker asks again.
  socket.on('error', () => undefined);
  socket.on('message', (message, peer) => {
    const reply = replyTo(message, respond);
    if (reply !== null) {
      socket.send(reply, peer.port, peer.address);
    }
  });
  return socket;
}

async function listenTcp(
  address: string,
  port: number,
  respond: Responder,
): Promise<{ close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(IDLE_TIMEOUT_MS, () => socket.destroy());
    let pending = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      // Each message is preceded by its length in two bytes (RFC 1035, section 4.2.2).
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0);
        const reply = replyTo(pending.subarray(2, end), respond);
        pending = pending.subarray(end);
        if (reply === null) {
          socket.destroy();
          return;
        }
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        socket.write(Buffer.concat([length, reply]));
      }
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host: address, exclusive: true }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    close: () => {
      for (const socket of sockets) {
        socket.destroy();
      }
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function replyTo(message: Buffer, respond: Responder): Buffer | null {
  try {
    return dnsPacket.encode(respond(dnsPacket.decode(message)));
  } catch {
    return null;
  }
}
