import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CLASS_TICKS,
  KEY_MARGIN_MS,
  KEY_STEP_MS,
  LOWEST_CLASS,
  OLDER_CLASSES,
  PRIORITY_CLASSES,
  priorityRules,
} from '../../../src/pool/priority.ts';
import { PLACE_TICK_MS, placeToken } from '../../../src/queue/token.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const CLASS_MS = CLASS_TICKS * PLACE_TICK_MS;
/** A full turn of HAProxy's keys, in ms. */
const TURN_MS = 2 ** 20;
/** How long the point where HAProxy starts to read takes to pass all keys of one class. */
const PASSAGE_MS = (CLASS_TICKS - 1) * KEY_STEP_MS + 2;
/** The wait up to which a class cannot have been passed, whenever in its class the build joined. */
const ALWAYS_EXACT_MS = TURN_MS - KEY_MARGIN_MS - CLASS_MS - SECOND;

/** Head starts of the line that the tests run: none on socket 1. */
const HEAD_STARTS = [
  { socketId: 101, headStartMs: HOUR },
  { socketId: 102, headStartMs: 10 * MINUTE },
];

/* HAProxy's side: a reader of the rules themselves, and the queue's arithmetic from its src/queue.c. */

type Variables = Map<string, bigint>;

interface Waiting {
  /** The build's name in a test: its place in the order of joining. */
  readonly id: number;
  readonly key: number;
  readonly sequence: number;
}

/** One HAProxy process with one line. Times are exact dates in ms; HAProxy sees whole ones. */
class QueueModel {
  /** Difference of `now_ms` and the date: constant, with any fraction of a millisecond (src/clock.c). */
  clockDifferenceMs: number;
  readonly #process: Variables = new Map();
  readonly #isOld: boolean;
  #waiting: Waiting[] = [];
  #sequence = 0;

  /** An old HAProxy is one before 3.1. */
  constructor(clockDifferenceMs = 0, isOld = false) {
    this.clockDifferenceMs = clockDifferenceMs;
    this.#isOld = isOld;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** A client with the given token arrives and waits. */
  join(id: number, token: number | null, at: number, queuedAt = at, socketId = 1): void {
    const { priorityClass, offset } = this.#applyRules(token, at, socketId);
    const key = queueKey(priorityClass, offset, this.#nowMs(queuedAt));
    this.#waiting = this.#waiting.filter((other) => other.id !== id);
    this.#waiting.push({ id, key, sequence: this.#sequence++ });
  }

  /** Who is served if a builder becomes free now (pendconn_first). */
  first(at: number): number | undefined {
    const boundary = (this.#nowMs(at) - 2 ** 19) & 0xfffff;
    const rank = ({ key, sequence }: Waiting): readonly number[] => [
      Math.floor(key / TURN_MS),
      key % TURN_MS < boundary ? 1 : 0,
      key,
      sequence,
    ];
    return this.#waiting.toSorted((one, other) => compare(rank(one), rank(other)))[0]?.id;
  }

  serve(at: number): number | undefined {
    const id = this.first(at);
    this.#waiting = this.#waiting.filter((other) => other.id !== id);
    return id;
  }

  #nowMs(at: number): number {
    return Math.floor(at + this.clockDifferenceMs) % 2 ** 32;
  }

  #applyRules(token: number | null, at: number, socketId: number): { priorityClass: number; offset: number } {
    const session: Variables = new Map(token === null ? [] : [['sess.place', BigInt(token)]]);
    const variables = {
      get: (name: string) => (name.startsWith('proc.') ? this.#process : session).get(name),
      set: (name: string, value: bigint) =>
        (name.startsWith('proc.') ? this.#process : session).set(name, value),
    };
    let priorityClass = 0;
    let offset = 0;
    let skips = false;
    for (const rule of priorityRules('builders', { places: 'token', headStarts: HEAD_STARTS })) {
      if (rule === '.if version_atleast(3.1)') skips = this.#isOld;
      else if (rule === '.else') skips = !skips;
      else if (rule === '.endif') skips = false;
      if (skips) continue;
      const parts = /^tcp-request (?:connection|content) (\S+) (\S+)(?: (if|unless) (.*))?$/.exec(rule);
      if (parts === null || rule.includes('req.payload')) continue;
      const [, action = '', expression = '', sense, conditions = ''] = parts;
      const holds = [...conditions.matchAll(/\{ (.*?) \}/g)].every(([, one = '']) =>
        this.#holds(one, variables.get, socketId),
      );
      if (sense !== undefined && holds !== (sense === 'if')) continue;
      const value = evaluate(expression, at, variables.get);
      const variable = /^set-var\((.*)\)$/.exec(action)?.[1];
      if (variable !== undefined) variables.set(variable, value);
      else if (action === 'set-priority-class') priorityClass = clamp(Number(value), 0x7ff);
      else if (action === 'set-priority-offset') offset = clamp(Number(value), 0x7ffff);
      else throw new Error(`This test does not know ${action}`);
    }
    return { priorityClass, offset };
  }

  #holds(condition: string, get: (name: string) => bigint | undefined, socketId: number): boolean {
    if (condition.startsWith('so_id ')) return condition === `so_id ${socketId}`;
    if (condition === 'queue(builders) eq 0') return this.#waiting.length === 0;
    const [, name = '', operator, operand = ''] =
      /^var\((.*)\) -m (found|int ge|int lt) ?(\d*)$/.exec(condition) ?? [];
    const value = get(name);
    if (operator === 'found') return value !== undefined;
    if (operator === 'int ge') return value !== undefined && value >= BigInt(operand);
    if (operator === 'int lt') return value !== undefined && value < BigInt(operand);
    throw new Error(`This test does not know ${condition}`);
  }
}

/** HAProxy's sample expressions: 64-bit integers, division towards zero. */
function evaluate(expression: string, at: number, get: (name: string) => bigint | undefined): bigint {
  const variable = (name: string): bigint => {
    const value = get(name);
    if (value === undefined) throw new Error(`${name} is not set`);
    return value;
  };
  const [fetch = '', ...converters] = expression.match(/[a-z0-9-]+(?:\([^)]*\))?/g) ?? [];
  let value: bigint;
  if (fetch === 'date(0,ms)') value = BigInt(Math.floor(at));
  else if (fetch.startsWith('int(')) value = BigInt(fetch.slice(4, -1));
  else value = variable(fetch.slice(4, -1));
  for (const converter of converters) {
    const [, name = '', text = ''] = /^(\w+)(?:\((.*)\))?$/.exec(converter) ?? [];
    if (name === 'hex2i') continue;
    const operand = /^-?\d+$/.test(text) ? BigInt(text) : variable(text);
    if (name === 'add') value += operand;
    else if (name === 'sub') value -= operand;
    else if (name === 'mul') value *= operand;
    else if (name === 'div') value /= operand;
    else if (name === 'and') value = BigInt.asIntN(64, value & operand);
    else throw new Error(`This test does not know ${converter}`);
  }
  return value;
}

/** MAKE_KEY: 12 bits of class, 20 bits of time in ms. */
function queueKey(priorityClass: number, offset: number, nowMs: number): number {
  return (priorityClass + 0x7ff) * TURN_MS + ((nowMs + offset) & 0xfffff);
}

function clamp(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, value));
}

function compare(one: readonly number[], other: readonly number[]): number {
  const index = one.findIndex((value, position) => value !== other[position]);
  return index < 0 ? 0 : (one[index] ?? 0) - (other[index] ?? 0);
}

/* The scenes. */

const start = fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2060, 0, 1) });
/** In ms, with fractions (fc.double prefers the smallest numbers). */
function fraction(max: number) {
  return fc.integer({ min: 0, max: max * 1000 }).map((thousandths) => thousandths / 1000);
}
const clockDifference = fraction(2 ** 33);

/** Builds that join within `spanMs` and (re)dial at any moment until `waitMs` after the first joined. */
function builds(spanMs: number, waitMs: number) {
  return fc
    .array(
      fc.record({
        joined: fc.integer({ min: 0, max: spanMs }),
        dials: fc.array(fraction(1), { minLength: 1, maxLength: 3 }),
      }),
      { minLength: 2, maxLength: 25 },
    )
    .map((all) =>
      all
        .sort((one, other) => one.joined - other.joined)
        .map(({ joined, dials }, id) => ({
          id,
          joined,
          dials: dials.map((part) => joined + part * (waitMs - joined)),
        })),
    );
}

/** The line as it stands at `waitMs` after `origin`, all (re)dials done in the order of time. */
function lineAfter(
  model: QueueModel,
  origin: number,
  line: ReadonlyArray<{ id: number; joined: number; dials: readonly number[] }>,
): void {
  const dials = line.flatMap(({ id, joined, dials: times }) => times.map((time) => ({ id, joined, time })));
  for (const { id, joined, time } of dials.sort((one, other) => one.time - other.time)) {
    model.join(id, placeToken(origin + joined), origin + time);
  }
}

function tokenOf(origin: number, joined: number): number {
  return Math.floor((origin + joined) / PLACE_TICK_MS);
}

/** Serves everybody at one moment, and returns the ticks of joining in the order of serving. */
function serveAll(
  model: QueueModel,
  at: number,
  origin: number,
  line: ReadonlyArray<{ id: number; joined: number }>,
): number[] {
  const ticks: number[] = [];
  while (model.length > 0) {
    const id = model.serve(at);
    ticks.push(tokenOf(origin, line.find((build) => build.id === id)?.joined ?? Number.NaN));
  }
  return ticks;
}

/** True while some class of the line is being passed. All classes are passed at the same dates modulo their length. */
function isPassage(at: number): boolean {
  const phase = (((at + KEY_MARGIN_MS) % CLASS_MS) + CLASS_MS) % CLASS_MS;
  return phase < PASSAGE_MS || phase > CLASS_MS - 2;
}

function ascending(values: readonly number[]): number[] {
  return values.toSorted((one, other) => one - other);
}

describe('the order of serving', () => {
  test('is the order of joining at every moment of the first quarter of an hour, redialled or not', () => {
    const scene = fc
      .integer({ min: 1, max: ALWAYS_EXACT_MS })
      .chain((waitMs) => fc.record({ waitMs: fc.constant(waitMs), line: builds(waitMs, waitMs) }));
    fc.assert(
      fc.property(
        start,
        clockDifference,
        fc.boolean(),
        scene,
        (origin, difference, isOld, { waitMs, line }) => {
          const model = new QueueModel(difference, isOld);
          lineAfter(model, origin, line);
          const ticks = serveAll(model, origin + waitMs, origin, line);
          expect(ticks).toEqual(ascending(ticks));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('is the order of joining after up to a day, but for the second in which a class is passed', () => {
    const scene = fc
      .record({
        waitMs: fc.integer({ min: MINUTE, max: DAY - HOUR }),
        spanMs: fc.constantFrom(SECOND, MINUTE, HOUR, DAY),
      })
      .chain(({ waitMs, spanMs }) =>
        fc.record({ waitMs: fc.constant(waitMs), line: builds(Math.min(spanMs, waitMs), waitMs) }),
      );
    fc.assert(
      fc.property(start, clockDifference, scene, (origin, difference, { waitMs, line }) => {
        fc.pre(!isPassage(origin + waitMs));
        const model = new QueueModel(difference);
        lineAfter(model, origin, line);
        const ticks = serveAll(model, origin + waitMs, origin, line);
        expect(ticks).toEqual(ascending(ticks));
      }),
      { numRuns: 2_000 },
    );
  });

  test('never mixes classes, not even while one is passed', () => {
    fc.assert(
      fc.property(
        start,
        clockDifference,
        builds(HOUR, DAY - HOUR),
        fc.nat(PASSAGE_MS),
        (origin, difference, line, ms) => {
          const model = new QueueModel(difference);
          lineAfter(model, origin, line);
          const end = origin + DAY;
          const passage = end - (end % CLASS_MS) - KEY_MARGIN_MS + ms;
          const classes = serveAll(model, passage, origin, line).map((tick) =>
            Math.floor(tick / CLASS_TICKS),
          );
          expect(classes).toEqual(ascending(classes));
        },
      ),
    );
  });

  test('of neighbours a tick apart holds whatever the fractions of the two clocks', () => {
    fc.assert(
      fc.property(
        start,
        clockDifference,
        fraction(1),
        fraction(MINUTE),
        (origin, difference, part, later) => {
          const model = new QueueModel(difference);
          model.join(2, placeToken(origin + PLACE_TICK_MS), origin + MINUTE + part);
          model.join(1, placeToken(origin), origin + MINUTE + part + later);
          expect(model.first(origin + 3 * MINUTE)).toBe(1);
        },
      ),
    );
  });

  test('gives clients without a token, of the future or of nonsense the place of their arrival', () => {
    const origin = Date.UTC(2026, 10, 23, 12);
    const model = new QueueModel(0.4);
    model.join(1, placeToken(origin), origin);
    model.join(2, null, origin + SECOND);
    model.join(3, placeToken(origin + HOUR), origin + 2 * SECOND);
    model.join(4, 0, origin + 3 * SECOND);
    model.join(5, placeToken(origin + 4 * SECOND), origin + 4 * SECOND);
    const served = [1, 2, 3, 4, 5].map(() => model.serve(origin + MINUTE));
    expect(served).toEqual([1, 2, 3, 4, 5]);
  });

  test('survives the roll-over of the token itself', () => {
    const rollOver = Math.ceil(Date.now() / (2 ** 32 * PLACE_TICK_MS)) * 2 ** 32 * PLACE_TICK_MS;
    const model = new QueueModel();
    model.join(1, placeToken(rollOver - 1), rollOver + MINUTE);
    model.join(2, placeToken(rollOver), rollOver + MINUTE);
    model.join(0, placeToken(rollOver - 10 * MINUTE), rollOver + MINUTE);
    expect([0, 1, 2].map(() => model.serve(rollOver + 2 * MINUTE))).toEqual([0, 1, 2]);
  });
});

describe('head starts', () => {
  /** The line's builds with the moment from which each one counts. */
  const scene = fc
    .integer({ min: 1, max: DAY / 4 })
    .chain((waitMs) => fc.record({ waitMs: fc.constant(waitMs), line: builds(waitMs, waitMs) }))
    .chain(({ waitMs, line }) =>
      fc.record({
        waitMs: fc.constant(waitMs),
        line: fc.tuple(...line.map((build) => fc.nat(2).map((level) => ({ ...build, level })))),
      }),
    );

  test('move a build forward by their length, whenever it dials, and keep the order among equals', () => {
    fc.assert(
      fc.property(start, clockDifference, scene, (origin, difference, { waitMs, line }) => {
        fc.pre(!isPassage(origin + waitMs));
        const model = new QueueModel(difference);
        const counted = line.map(({ level, ...build }) => ({
          ...build,
          socketId: level === 0 ? 1 : 100 + level,
          tick:
            tokenOf(origin, build.joined) -
            Math.round((HEAD_STARTS[level - 1]?.headStartMs ?? 0) / PLACE_TICK_MS),
        }));
        const dials = counted.flatMap((build) => build.dials.map((time) => ({ build, time })));
        for (const { build, time } of dials.toSorted((one, other) => one.time - other.time)) {
          model.join(
            build.id,
            placeToken(origin + build.joined),
            origin + time,
            origin + time,
            build.socketId,
          );
        }
        // A head start makes a class older, so its passage may come sooner: only whole classes are sure to be in order.
        const served: number[] = [];
        while (model.length > 0) {
          const id = model.serve(origin + waitMs);
          served.push(Math.floor((counted.find((build) => build.id === id)?.tick ?? 0) / CLASS_TICKS));
        }
        expect(served).toEqual(ascending(served));
      }),
      { numRuns: 1_000 },
    );
  });

  test('are exact to the tick for builds that have just joined', () => {
    const origin = Math.ceil(Date.UTC(2026, 10, 23, 12) / CLASS_MS) * CLASS_MS + MINUTE;
    const model = new QueueModel(0.3);
    model.join(4, placeToken(origin), origin);
    model.join(3, placeToken(origin - 10 * MINUTE + PLACE_TICK_MS), origin + 1);
    model.join(2, placeToken(origin - PLACE_TICK_MS), origin + 2, origin + 2, 102);
    model.join(1, placeToken(origin), origin + 3, origin + 3, 101);
    model.join(0, placeToken(origin - 2 * HOUR), origin + 4);
    expect([0, 1, 2, 3, 4].map(() => model.serve(origin + SECOND))).toEqual([0, 1, 2, 3, 4]);
  });

  test('a line by arrival reads nothing of what its clients send', () => {
    const rules = priorityRules('builders', { places: 'arrival', headStarts: [] }).join('\n');
    expect(rules).not.toContain('payload');
    expect(rules).not.toContain('inspect-delay');
    expect(rules).toContain('set-priority-offset');
  });
});

describe('what is not exact', () => {
  test('two builds of one class change places for at most 0.1 % of the time, after a quarter of an hour', () => {
    const origin = Math.ceil(Date.now() / CLASS_MS) * CLASS_MS;
    const model = new QueueModel(0.7);
    model.join(1, placeToken(origin), origin + 1);
    model.join(2, placeToken(origin + CLASS_MS - 1), origin + CLASS_MS);
    const wrong = [];
    for (let time = origin + CLASS_MS; time < origin + CLASS_MS + TURN_MS; time += 1) {
      if (model.first(time) !== 1) wrong.push(time - origin);
    }
    expect(wrong[0]).toBeGreaterThan(ALWAYS_EXACT_MS);
    expect(wrong.length).toBe((CLASS_TICKS - 1) * KEY_STEP_MS);
    expect(wrong.length / TURN_MS).toBeLessThan(0.001);
  });

  test('a build that comes back from a builder that died loses at most its class', () => {
    const origin = Math.ceil(Date.now() / CLASS_MS) * CLASS_MS;
    const model = new QueueModel();
    // HAProxy keeps the offset of the arrival, so the time since shifts the key.
    model.join(1, placeToken(origin), origin, origin + 10 * MINUTE);
    model.join(2, placeToken(origin + SECOND), origin + SECOND);
    model.join(3, placeToken(origin + CLASS_MS), origin + CLASS_MS);
    const served = [1, 2, 3].map(() => model.serve(origin + 11 * MINUTE));
    expect(served).toEqual([2, 1, 3]);
  });

  test('before 3.1 two builds of one class change places for as long as they joined apart, in every 17 minutes', () => {
    const origin = Math.ceil(Date.now() / CLASS_MS) * CLASS_MS;
    const model = new QueueModel(0.7, true);
    model.join(1, placeToken(origin), origin + 1);
    model.join(2, placeToken(origin + MINUTE), origin + MINUTE);
    let wrong = 0;
    for (let time = origin + MINUTE; time < origin + MINUTE + TURN_MS; time += 1) {
      if (model.first(time) !== 1) wrong += 1;
    }
    expect(Math.abs(wrong - MINUTE)).toBeLessThan(PLACE_TICK_MS);
  });

  test('before 3.1 a clock that loses time exchanges only builds that joined within that time', () => {
    const origin = Math.ceil(Date.now() / CLASS_MS) * CLASS_MS;
    const model = new QueueModel(0, true);
    model.join(1, placeToken(origin + SECOND), origin + SECOND);
    model.clockDifferenceMs -= 500;
    model.join(2, placeToken(origin + SECOND + PLACE_TICK_MS), origin + 2 * SECOND);
    model.join(3, placeToken(origin + 2 * SECOND), origin + 3 * SECOND);
    expect([1, 2, 3].map(() => model.serve(origin + 5 * MINUTE))).toEqual([2, 1, 3]);
  });

  test('a jump between the two clocks mixes one class at most', () => {
    const origin = Math.ceil(Date.now() / CLASS_MS) * CLASS_MS;
    const model = new QueueModel();
    model.join(1, placeToken(origin + SECOND), origin + SECOND);
    model.join(2, placeToken(origin + 2 * SECOND), origin + 2 * SECOND);
    model.clockDifferenceMs -= 500;
    model.join(3, placeToken(origin + 3 * SECOND), origin + 3 * SECOND);
    model.join(4, placeToken(origin + CLASS_MS), origin + CLASS_MS);
    expect([1, 2, 3, 4].map(() => model.serve(origin + 5 * MINUTE))).toEqual([3, 1, 2, 4]);
  });
});

describe('the origin', () => {
  const origin = Math.ceil(Date.UTC(2026, 10, 23, 12) / CLASS_MS) * CLASS_MS;
  const spanMs = (PRIORITY_CLASSES - OLDER_CLASSES) * CLASS_MS;

  test('stands while anybody waits: the order holds for five days without an empty moment', () => {
    expect(spanMs).toBeGreaterThan(5 * DAY);
    const model = new QueueModel();
    const count = 500;
    for (let id = 0; id < count; id++) {
      const at = origin + (id * (spanMs - CLASS_MS)) / count;
      model.join(id, placeToken(at), at);
      // Twenty builds always wait.
      if (id >= 20) expect(model.serve(at - (at % CLASS_MS) + MINUTE)).toBe(id - 20);
    }
  });

  test('is moved without a trace when nobody waits', () => {
    const model = new QueueModel();
    for (let day = 0; day < 100; day++) {
      const at = origin + day * DAY + 7;
      model.join(3 * day, placeToken(at), at);
      model.join(3 * day + 2, placeToken(at + HOUR), at + HOUR);
      model.join(3 * day + 1, placeToken(at + MINUTE), at + 2 * HOUR);
      const served = [0, 1, 2].map((second) => model.serve(at + 3 * HOUR + MINUTE + second));
      expect(served).toEqual([3 * day, 3 * day + 1, 3 * day + 2]);
    }
  });

  test('is moved under a line that was never empty for longer: newcomers overtake, once', () => {
    const model = new QueueModel();
    model.join(10, null, origin);
    expect(model.serve(origin)).toBe(10);
    model.join(0, placeToken(origin + 3 * HOUR), origin + 3 * HOUR);
    model.join(1, placeToken(origin + spanMs - MINUTE), origin + spanMs - MINUTE);
    model.join(2, placeToken(origin + spanMs + MINUTE), origin + spanMs + MINUTE);
    model.join(3, placeToken(origin + spanMs + HOUR), origin + spanMs + HOUR);
    const served = [0, 1, 2, 3].map(() => model.serve(origin + spanMs + 2 * HOUR + MINUTE));
    expect(served).toEqual([2, 3, 0, 1]);
  });

  test('leaves room for builds that joined a day before the load balancer started', () => {
    const model = new QueueModel();
    model.join(2, null, origin);
    model.join(1, placeToken(origin - HOUR), origin + 1);
    model.join(0, placeToken(origin - DAY + 2 * MINUTE), origin + 2);
    expect([0, 1, 2].map(() => model.serve(origin + MINUTE))).toEqual([0, 1, 2]);
  });
});

describe('the rules', () => {
  test('leave the lowest class to the plug', () => {
    expect(LOWEST_CLASS).toBeGreaterThan(-2047);
    expect(LOWEST_CLASS + PRIORITY_CLASSES - 1).toBe(2047);
  });

  test('name one origin for each backend', () => {
    expect(priorityRules('builders-amd64').join('\n')).toContain('proc.origin_builders_amd64');
    expect(priorityRules('builders-amd64').join('\n')).toContain('queue(builders-amd64)');
  });
});
