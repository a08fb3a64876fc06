import type { Grant, LineStep } from '../queue/line.ts';
import type { Attempt, Outcome } from '../report/report.ts';
import type { Arch } from './architecture.ts';
import { type ImageResult, NO_IMAGE } from './image-result.ts';
import type { PlannedNode } from './plan.ts';

export interface SessionResult {
  readonly outcome: Outcome;
  /** Of buildx or of the script; undefined when it never ran to its end. */
  readonly exitCode: number | undefined;
  /** Why it was no success, for a person. */
  readonly reason: string | undefined;
  readonly joinedAtMs: number;
  /** When the last builders were all ours. */
  readonly grantedAtMs: number | undefined;
  readonly releasedAtMs: number | undefined;
  readonly queueMs: number;
  readonly buildMs: number;
  /** How many builders, or sets of them, the work was run on. */
  readonly runs: number;
  readonly timeline: readonly Attempt[];
  /** One for each of the plan's nodes, in their order. */
  readonly nodes: readonly NodeResult[];
  readonly image: ImageResult;
  /** Whether a build was sent to a builder, or a script begun: nothing must be done elsewhere then. */
  readonly tried: boolean;
  /** Whether this machine's own engine did the work, and not the pool. */
  readonly local: boolean;
}

/** Whether the pool could not be had, and nothing has been built: all that a fallback is for. */
export function isOutOfReach({ outcome, tried }: SessionResult): boolean {
  return (outcome === 'queue-timeout' || outcome === 'unreachable') && !tried;
}

/** How the wait for one architecture's builder went. */
export interface NodeResult {
  readonly arch: Arch;
  readonly url: string;
  /** When this line was first joined; undefined: an earlier one never gave its builder. */
  readonly joinedAtMs: number | undefined;
  /** The last builder's. */
  readonly grantedAtMs: number | undefined;
  readonly queueMs: number;
}

interface NodeCourse {
  joinedAtMs: number | undefined;
  grantedAtMs: number | undefined;
  waitedMs: number;
}

const MAX_STEPS = 1_000;

/** The course of a session, written down as it happens. */
export class Story {
  readonly timeline: Attempt[] = [];
  /** The place in every line. */
  joinedAtMs: number | undefined;
  /** Whether a build was sent to a builder, or a script begun. */
  tried = false;
  /** When the search for builders ends: one that is lost before its build began does not move it. */
  deadlineAtMs: number | undefined;
  readonly #nodes: readonly PlannedNode[];
  readonly #courses: ReadonlyMap<PlannedNode, NodeCourse>;
  readonly #startedAtMs = Date.now();
  #grantedAtMs: number | undefined;
  #releasedAtMs: number | undefined;
  #waiting: { readonly course: NodeCourse; readonly sinceMs: number } | undefined;
  #number = 0;
  #runs = 0;

  constructor(nodes: readonly PlannedNode[]) {
    this.#nodes = nodes;
    this.#courses = new Map(
      nodes.map((node) => [node, { joinedAtMs: undefined, grantedAtMs: undefined, waitedMs: 0 }]),
    );
  }

  /** Of the next run. */
  nextNumber(): number {
    this.#number += 1;
    return this.#number;
  }

  /** Whether this line has ever held our place. */
  hasJoined(node: PlannedNode): boolean {
    return this.#course(node).joinedAtMs !== undefined;
  }

  waits(node: PlannedNode, atMs: number, queueTimeoutMs: number): void {
    this.deadlineAtMs ??= atMs + queueTimeoutMs;
    this.#waiting = { course: this.#course(node), sinceMs: atMs };
  }

  /** The wait came to nothing, because a builder that was held is gone. */
  stopsWaiting(atMs: number): void {
    if (this.#waiting !== undefined) this.#waiting.course.waitedMs += atMs - this.#waiting.sinceMs;
    this.#waiting = undefined;
  }

  /** The builder was lost after it had been of use: the next search has all its time again. */
  searchAnew(): void {
    this.deadlineAtMs = undefined;
  }

  heldMs(): number {
    return this.#grantedAtMs === undefined ? 0 : Date.now() - this.#grantedAtMs;
  }

  step(node: PlannedNode, step: LineStep): void {
    const course = this.#course(node);
    switch (step.kind) {
      case 'dialling':
        this.#add('dialling', step.atMs, this.#named(node, ''));
        return;
      case 'queued':
        this.#add(
          'queued',
          step.atMs,
          this.#named(node, step.again ? 'back at its own place' : 'joined the line'),
        );
        break;
      case 'failed':
        this.#add('dialling', step.atMs, this.#named(node, `${step.failure.code}: ${step.failure.message}`));
    }
    this.joinedAtMs ??= step.atMs;
    course.joinedAtMs ??= step.atMs;
  }

  /** One builder is ours. */
  granted(node: PlannedNode, grant: Grant, waitedMs: number): void {
    const course = this.#course(node);
    // The place, to the millisecond: the same in every line, and the time of joining in the first.
    this.joinedAtMs = grant.joinedAtMs;
    if (this.#nodes[0] === node) course.joinedAtMs = grant.joinedAtMs;
    course.joinedAtMs ??= grant.grantedAtMs;
    course.grantedAtMs = grant.grantedAtMs;
    course.waitedMs += waitedMs;
    this.#waiting = undefined;
    if (node === this.#nodes.at(-1)) {
      this.#complete(node, grant.grantedAtMs, waitedMs);
    } else {
      const reason = `builder granted after ${waitedMs} ms, and held while the next one is waited for`;
      this.#add('queued', grant.grantedAtMs, this.#named(node, reason));
    }
  }

  /** All builders are ours: those before the last one are held. */
  #complete(last: PlannedNode, atMs: number, waitedMs: number): void {
    this.#grantedAtMs = atMs;
    this.#releasedAtMs = undefined;
    this.#runs += 1;
    this.#add('building', atMs, this.#named(last, `builder granted after ${waitedMs} ms`));
  }

  released(): void {
    this.#releasedAtMs ??= Date.now();
  }

  finish(
    outcome: Outcome,
    exitCode: number | undefined,
    reason: string | undefined,
    image: ImageResult = NO_IMAGE,
  ): SessionResult {
    const nowMs = Date.now();
    const granted = this.#grantedAtMs;
    if (granted !== undefined) this.#releasedAtMs ??= nowMs;
    // The last line of a log may say what a masked log would not: it is no part of the report.
    this.#add('done', nowMs, outcome === 'failed' ? describeExit(exitCode) : (reason ?? outcome));
    this.stopsWaiting(nowMs);
    const nodes = this.#nodes.map((node): NodeResult => {
      const { joinedAtMs, grantedAtMs, waitedMs } = this.#course(node);
      return { arch: node.arch, url: node.endpoint.url, joinedAtMs, grantedAtMs, queueMs: waitedMs };
    });
    return {
      outcome,
      exitCode,
      reason,
      joinedAtMs: this.joinedAtMs ?? this.#startedAtMs,
      grantedAtMs: granted,
      releasedAtMs: this.#releasedAtMs,
      queueMs: nodes.reduce((sum, { queueMs }) => sum + queueMs, 0),
      buildMs: granted === undefined || this.#releasedAtMs === undefined ? 0 : this.#releasedAtMs - granted,
      runs: this.#runs,
      timeline: this.timeline,
      nodes,
      image,
      tried: this.tried,
      local: false,
    };
  }

  #course(node: PlannedNode): NodeCourse {
    const course = this.#courses.get(node);
    if (course === undefined) throw new Error(`${node.arch} is no part of this plan`);
    return course;
  }

  /** Several lines are told apart. */
  #named(node: PlannedNode, text: string): string {
    if (this.#nodes.length === 1) return text;
    return text === '' ? node.arch : `${node.arch}: ${text}`;
  }

  #add(phase: Attempt['phase'], atMs: number, reason: string): void {
    // Two hours of refusals must not fill the report: the first and the last steps tell the story.
    if (this.timeline.length >= MAX_STEPS) this.timeline.splice(MAX_STEPS / 2, 1);
    this.timeline.push({ phase, at: new Date(atMs).toISOString(), reason });
  }
}

function describeExit(exitCode: number | undefined): string {
  return exitCode === undefined ? 'failed before the build began' : `failed with exit code ${exitCode}`;
}
