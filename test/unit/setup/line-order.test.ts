import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { type Hold, type LineState, nextAction } from '../../../src/setup/line-order.ts';

const line = (state: Partial<LineState> = {}): LineState => ({
  wanted: false,
  inUse: state.wanted === true,
  phase: 'idle',
  busy: false,
  owed: false,
  served: false,
  ...state,
});

describe('one line', () => {
  it.each<[string, Partial<LineState>, Hold, string | undefined]>([
    ['nobody comes: no place is taken', {}, 'step', undefined],
    ['an inspect alone takes none', { inUse: true }, 'step', undefined],
    ['a client waits: join', { wanted: true }, 'step', 'join'],
    ['still wanted', { wanted: true, phase: 'joining' }, 'step', undefined],
    ['the client left a moment ago: the place is kept', { inUse: true, phase: 'joining' }, 'step', undefined],
    ['nobody came back', { phase: 'joining' }, 'step', 'leave'],
    ['nobody came back, though builders are held', { phase: 'joining' }, 'job', 'leave'],
    ['a builder', { wanted: true, phase: 'granted' }, 'step', 'attach'],
    ['in use', { inUse: true, phase: 'attached' }, 'step', undefined],
    ['the linger is over', { phase: 'attached', served: true }, 'step', 'release'],
    ['held until post', { phase: 'attached', served: true }, 'job', undefined],
    ['a builder that came too late', { phase: 'granted' }, 'step', 'release'],
    ['a call goes on without its client', { phase: 'attached', busy: true }, 'step', undefined],
  ])('%s', (_, state, hold, action) => {
    expect(nextAction([line(state)], hold)?.action).toBe(action);
  });
});

describe('two lines', () => {
  it('places are taken in their order, however the clients come', () => {
    const wanted = line({ wanted: true });
    expect(nextAction([wanted, wanted], 'step')).toEqual({ index: 0, action: 'join' });
    expect(nextAction([line({ wanted: true, phase: 'joining' }), wanted], 'step')).toBeUndefined();
    const first = line({ inUse: true, phase: 'attached' });
    expect(nextAction([first, wanted], 'step')).toEqual({ index: 1, action: 'join' });
  });

  it('what is held idle later in the order is put back first; what works is not', () => {
    const wanted = line({ wanted: true });
    const second = line({ inUse: true, phase: 'attached' });
    for (const phase of ['joining', 'granted', 'attached'] as const) {
      const held = line({ inUse: true, phase });
      expect(nextAction([line({ wanted: true, phase: 'joining' }), held], 'step')).toEqual({
        index: 1,
        action: 'step-aside',
      });
    }
    expect(nextAction([wanted, { ...second, busy: true }], 'step')).toEqual({ index: 0, action: 'join' });
  });

  it('a builder whose clients have seen it is taken again before any of them goes on', () => {
    const owed = line({ inUse: true, owed: true });
    const granted = line({ wanted: true, phase: 'granted' });
    expect(nextAction([granted, owed], 'step')).toEqual({ index: 1, action: 'join' });
    expect(nextAction([granted, { ...owed, phase: 'joining' }], 'step')).toBeUndefined();
    expect(nextAction([granted, { ...owed, phase: 'granted' }], 'step')).toEqual({
      index: 0,
      action: 'attach',
    });
  });

  it('held for the job, all are taken when the first is wanted, in their order, once', () => {
    const wanted = line({ wanted: true });
    expect(nextAction([line(), wanted], 'job')).toEqual({ index: 0, action: 'join' });
    const first = line({ phase: 'attached', served: true });
    expect(nextAction([first, line()], 'job')).toEqual({ index: 1, action: 'join' });
    expect(nextAction([first, line({ served: true })], 'job')).toBeUndefined();
  });
});

/**
 * Jobs with a builder of each of two architectures, on a pool with one of each: each job's builds want one or both,
 * in any order and at any time, and the pool gives a builder to whoever has waited longest.
 */
test('whatever the builds of three jobs want, and whenever, each gets it', () => {
  const build = fc.record({
    wants: fc.constantFrom([0], [1], [0, 1], [1, 0]),
    lateBy: fc.nat(3),
    lasts: fc.nat(4),
  });
  const job = fc.record({
    hold: fc.constantFrom<Hold>('step', 'job'),
    builds: fc.array(build, { minLength: 1, maxLength: 3 }),
    startsAt: fc.nat(5),
  });
  fc.assert(
    fc.property(
      fc.array(job, { minLength: 1, maxLength: 3 }),
      fc.infiniteStream(fc.nat(5)),
      (jobs, turns) => {
        const model = new Model(jobs);
        for (let step = 0; step < 600 && !model.done; step++) model.tick(turns.next().value);
        expect(model.done, JSON.stringify(model.picture)).toBe(true);
      },
    ),
    { numRuns: 2_000 },
  );
});

interface ModelBuild {
  readonly wants: readonly number[];
  /** Ticks between its first connection and its second. */
  readonly lateBy: number;
  readonly lasts: number;
}
interface ModelJob {
  readonly hold: Hold;
  readonly builds: readonly ModelBuild[];
  readonly startsAt: number;
}

class Model {
  readonly #jobs: ModelRunner[];
  /** Per line, the jobs in line, first come first. */
  readonly #queues: ModelRunner[][] = [[], []];
  readonly #owners: (ModelRunner | undefined)[] = [undefined, undefined];
  #now = 0;

  constructor(jobs: readonly ModelJob[]) {
    this.#jobs = jobs.map((job) => new ModelRunner(job, this.#queues, this.#owners));
  }

  get done(): boolean {
    return this.#jobs.every((job) => job.over);
  }

  get picture(): unknown {
    return this.#jobs.map((job) => job.picture);
  }

  tick(turn: number): void {
    this.#now += 1;
    for (const [index, queue] of this.#queues.entries()) {
      if (this.#owners[index] !== undefined) continue;
      const next = queue.shift();
      this.#owners[index] = next;
      next?.granted(index);
    }
    // The jobs act in any order.
    for (const at of this.#jobs.keys()) this.#jobs[(at + turn) % this.#jobs.length]?.tick(this.#now);
  }
}

class ModelRunner {
  readonly #job: ModelJob;
  readonly #queues: ModelRunner[][];
  readonly #owners: (ModelRunner | undefined)[];
  readonly #phases: LineState['phase'][] = ['idle', 'idle'];
  readonly #owed = [false, false];
  readonly #served = [false, false];
  #build = 0;
  #buildStartedAt: number | undefined;
  /** When each line's connection of the present build was answered. */
  readonly #answered = [false, false];
  #solvingUntil: number | undefined;

  constructor(job: ModelJob, queues: ModelRunner[][], owners: (ModelRunner | undefined)[]) {
    this.#job = job;
    this.#queues = queues;
    this.#owners = owners;
  }

  get over(): boolean {
    return this.#build === this.#job.builds.length;
  }

  get picture(): unknown {
    return { phases: this.#phases, build: this.#build, answered: this.#answered, owed: this.#owed };
  }

  granted(index: number): void {
    this.#phases[index] = 'granted';
    this.#owed[index] = false;
    this.#served[index] = true;
  }

  tick(now: number): void {
    if (now < this.#job.startsAt) return;
    if (this.over) {
      // The job has ended: post gives everything back.
      for (const index of [0, 1]) this.#putBack(index);
      return;
    }
    this.#work(now);
    for (let guard = 0; guard < 20; guard++) {
      const next = nextAction(
        [0, 1].map((index) => this.#state(index, now)),
        this.#job.hold,
      );
      if (next === undefined) return;
      this.#perform(next.index, next.action);
    }
    throw new Error('actions without end');
  }

  #work(now: number): void {
    const build = this.#job.builds[this.#build];
    if (build === undefined) return;
    this.#buildStartedAt ??= now;
    for (const index of build.wants) {
      if (this.#connected(index, now) && this.#phases[index] === 'attached') this.#answered[index] = true;
    }
    // buildx sends the build when all of its builders have answered.
    if (build.wants.every((index) => this.#answered[index] && this.#phases[index] === 'attached')) {
      this.#solvingUntil ??= now + build.lasts;
    }
    if (this.#solvingUntil === undefined || now < this.#solvingUntil) return;
    this.#build += 1;
    this.#buildStartedAt = undefined;
    this.#solvingUntil = undefined;
    this.#answered.fill(false);
    this.#owed.fill(false);
  }

  #connected(index: number, now: number): boolean {
    const build = this.#job.builds[this.#build];
    if (build === undefined || this.#buildStartedAt === undefined) return false;
    const at = build.wants.indexOf(index);
    return at >= 0 && now >= this.#buildStartedAt + at * build.lateBy;
  }

  #state(index: number, now: number): LineState {
    const connected = this.#connected(index, now);
    const phase = this.#phases[index] ?? 'idle';
    return {
      wanted: connected && !this.#answered[index] && phase !== 'attached',
      inUse: connected,
      phase,
      busy: this.#solvingUntil !== undefined && phase === 'attached' && connected,
      owed: this.#owed[index] === true,
      served: this.#served[index] === true,
    };
  }

  #perform(index: number, action: string): void {
    switch (action) {
      case 'join':
        this.#phases[index] = 'joining';
        this.#queues[index]?.push(this);
        return;
      case 'attach':
        this.#phases[index] = 'attached';
        return;
      case 'step-aside':
        this.#owed[index] = this.#answered[index] === true;
        this.#putBack(index);
        return;
      default:
        this.#putBack(index);
    }
  }

  #putBack(index: number): void {
    const queue = this.#queues[index] ?? [];
    if (queue.includes(this)) queue.splice(queue.indexOf(this), 1);
    if (this.#owners[index] === this) this.#owners[index] = undefined;
    this.#phases[index] = 'idle';
  }
}
