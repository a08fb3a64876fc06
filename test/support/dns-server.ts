/**
 * A name server over TCP that answers as CoreDNS does in a cluster: what it has once answered, a name's address or its
 * absence, it answers again until its cache forgets.
 */
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import dnsPacket, { type Packet } from 'dns-packet';

export interface DnsServer {
  readonly address: string;
  readonly port: number;
  set(name: string, ip: string): void;
  remove(name: string): void;
  /** When `name` was first answered with an address since it was set, by performance.now(). */
  firstAnswerAt(name: string): number | undefined;
  readonly queries: number;
  /** `refuse`: nobody listens any more. `silent`: it takes questions and does not answer. */
  die(how: 'refuse' | 'silent'): Promise<void>;
  revive(): Promise<void>;
  close(): void;
}

export interface DnsOptions {
  readonly address: string;
  /** How long an answer is repeated, in milliseconds. */
  readonly cacheMs: number;
  /** The same for the absence of a name. */
  readonly negativeCacheMs: number;
}

const NAME_ERROR = 3;

export async function startDnsServer(options: DnsOptions): Promise<DnsServer> {
  const records = new Map<string, string>();
  const cache = new Map<string, { readonly ip: string | undefined; readonly until: number }>();
  const answered = new Map<string, number>();
  const sockets = new Set<net.Socket>();
  let silent = false;
  let queries = 0;
  let server: net.Server | null = null;
  let port = 0;

  const lookUp = (name: string): string | undefined => {
    const now = performance.now();
    const cached = cache.get(name);
    if (cached !== undefined && cached.until > now) return cached.ip;
    const ip = records.get(name);
    const lifetime = ip === undefined ? options.negativeCacheMs : options.cacheMs;
    cache.set(name, { ip, until: now + lifetime });
    return ip;
  };
  const answer = ({ id, questions }: Packet): Buffer => {
    queries += 1;
    const [question] = questions ?? [];
    const name = question?.name.toLowerCase() ?? '';
    const ip = lookUp(name);
    if (ip !== undefined && question?.type === 'A' && !answered.has(name))
      answered.set(name, performance.now());
    return dnsPacket.streamEncode({
      type: 'response',
      ...(id === undefined ? {} : { id }),
      flags: dnsPacket.AUTHORITATIVE_ANSWER | (ip === undefined ? NAME_ERROR : 0),
      questions: questions ?? [],
      answers:
        question?.type === 'A' && ip !== undefined
          ? [
              {
                name: question.name,
                type: 'A',
                class: 'IN',
                ttl: Math.ceil(options.cacheMs / 1000),
                data: ip,
              },
            ]
          : [],
    });
  };
  const serve = (socket: net.Socket): void => {
    sockets.add(socket);
    let received = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        const query = received.subarray(0, end);
        received = received.subarray(end);
        if (!silent) socket.write(answer(dnsPacket.streamDecode(query)));
      }
    });
  };
  const open = async (): Promise<void> => {
    server = net.createServer(serve);
    server.listen(port, options.address);
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  };
  const shut = (): void => {
    server?.close();
    server = null;
    for (const socket of sockets) socket.destroy();
  };

  await open();
  return {
    address: options.address,
    port,
    set: (name, ip) => {
      answered.delete(name);
      records.set(name, ip);
    },
    remove: (name) => {
      records.delete(name);
    },
    firstAnswerAt: (name) => answered.get(name),
    get queries() {
      return queries;
    },
    die: async (how) => {
      if (how === 'silent') silent = true;
      else shut();
    },
    revive: async () => {
      silent = false;
      if (server === null) await open();
    },
    close: shut,
  };
}
