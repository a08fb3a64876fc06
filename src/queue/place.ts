/** The place in line: fixed by the first answer of the pool, for better or worse, and kept from then on. */
export class Place {
  /** Whether the load balancer holds the place at this moment. */
  held = false;
  /** Whether this line has ever held it. */
  everHeld: boolean;
  #joinedAtMs: number | undefined;

  constructor(joinedAtMs: number | undefined, everHeld: boolean) {
    this.#joinedAtMs = joinedAtMs;
    this.everHeld = everHeld;
  }

  /** ms since the epoch. Taken when first asked for: right before the first bytes go out, or when the first dial fails. */
  joinedAtMs(): number {
    this.#joinedAtMs ??= Date.now();
    return this.#joinedAtMs;
  }
}
