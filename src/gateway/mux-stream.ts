import type { MuxClient } from './mux-client.ts';
import { Lane } from './outlet.ts';

/** One request of one client, on its way to the builder and back. */
export class MuxStream {
  readonly client: MuxClient;
  /** Id on the client's connection. */
  readonly clientId: number;
  readonly path: string;
  /** To the builder. Its id is 0 until the builder has been sent the request. */
  readonly up: Lane<MuxStream>;
  /** To the client. */
  readonly down: Lane<MuxStream>;
  /** Bytes the client has taken back from its window, after they had been granted to the builder. */
  debt = 0;
  /** The builder has sent anything at all. */
  answered = false;
  /** The client has been given response headers. */
  responded = false;
  /** The builder has sent END_STREAM or RST_STREAM. */
  builderClosed = false;
  /** What the builder has answered, of a call whose answer is listened to; undefined when it is not, or too long. */
  heard: Buffer[] | undefined;

  constructor(client: MuxClient, clientId: number, path: string, window: number) {
    this.client = client;
    this.clientId = clientId;
    this.path = path;
    this.up = new Lane<MuxStream>(this, 0, 0);
    this.down = new Lane<MuxStream>(this, clientId, window);
  }
}
