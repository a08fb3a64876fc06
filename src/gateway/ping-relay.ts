/**
 * Which PING goes to the builder, and whom its answer is for.
 *
 * Clients measure the round trip with PING to size their windows (grpc-go's BDP estimation), so their PINGs must
 * go all the way. But grpc-go's server counts a PING as a strike when it has sent no HEADERS or DATA since the PING
 * before, and hangs up at the third (http2_server.go, handlePing): several clients that ping after the data of one
 * would add up. So one PING is on its way at a time, it carries those of all clients that asked meanwhile, and the
 * next waits for a frame of the builder that was received after the answer.
 */

export interface ClientPing<Client> {
  readonly client: Client;
  /** 8 bytes. */
  readonly payload: Buffer;
}

/** PINGs kept for the builder; what comes beyond is answered by us. */
const MAX_PINGS = 256;

export class PingRelay<Client> {
  #waiting: Array<ClientPing<Client>> = [];
  #underWay: Array<ClientPing<Client>> | undefined;
  #builderSpoke = true;

  get waiting(): number {
    return this.#waiting.length;
  }

  /** A client pings. Returns whether the relay takes it on; if not, it is to be answered at once. */
  ask(ping: ClientPing<Client>): boolean {
    if (this.#waiting.length >= MAX_PINGS) return false;
    this.#waiting.push(ping);
    return true;
  }

  /** The builder sent HEADERS or DATA: it forgives the next PING. */
  builderSpoke(): void {
    this.#builderSpoke = true;
  }

  /** Whether a PING is to be sent to the builder now; if so, it is under way from now on. */
  start(): boolean {
    if (this.#underWay !== undefined || !this.#builderSpoke || this.#waiting.length === 0) return false;
    this.#underWay = this.#waiting;
    this.#waiting = [];
    return true;
  }

  /** The builder answered: these PINGs are answered too. */
  answered(): ReadonlyArray<ClientPing<Client>> {
    const pings = this.#underWay ?? [];
    this.#underWay = undefined;
    this.#builderSpoke = false;
    return pings;
  }

  /** Gives up the PINGs that have not been sent: they are to be answered by us. */
  giveUpWaiting(): ReadonlyArray<ClientPing<Client>> {
    return this.#waiting.splice(0);
  }

  /** There is no builder any more: everything is to be answered by us. */
  giveUpAll(): ReadonlyArray<ClientPing<Client>> {
    const pings = [...this.answered(), ...this.giveUpWaiting()];
    this.#builderSpoke = true;
    return pings;
  }
}
