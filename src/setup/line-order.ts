/**
 * What to do next with the lines of a set-up step, one line an architecture, in the one fixed order in which places
 * are taken. Pure: src/setup/lines.ts performs it.
 *
 * Two jobs that each held what the other waits for would wait for ever. So nothing is waited for while something
 * later in the order is held idle: it is put back first, at the place that it had, and taken again afterwards. A
 * builder at work is never put back: its work ends by itself, and depends on no other builder of ours, because buildx
 * asks all builders of a build for their workers before it sends the build to any of them.
 */

/** `step`: a builder is given back when its clients have left and the linger is over. `job`: kept until post. */
export type Hold = 'step' | 'job';

/** One line as it stands at this moment. */
export interface LineState {
  /** A client waits here for a builder. */
  readonly wanted: boolean;
  /** Clients are connected, or the last one has left less than the linger ago. */
  readonly inUse: boolean;
  /**
   * - `idle`: neither place nor builder.
   * - `joining`: in line.
   * - `granted`: the builder is ours, and its clients do not know it yet.
   * - `attached`: they do.
   */
  readonly phase: 'idle' | 'joining' | 'granted' | 'attached';
  /** The builder works: it must not be taken from its clients. */
  readonly busy: boolean;
  /** Clients have seen a builder here that was put back for the sake of the order. */
  readonly owed: boolean;
  /** A builder of this line has been ours before. */
  readonly served: boolean;
}

/**
 * - `join`: take a place in this line.
 * - `leave`: give the place up.
 * - `attach`: let the clients have the builder.
 * - `release`: give the builder back.
 * - `step-aside`: give back the place or the builder for the moment, and come back to the same place.
 */
export type LineAction = 'join' | 'leave' | 'attach' | 'release' | 'step-aside';

export interface NextAction {
  readonly index: number;
  readonly action: LineAction;
}

/** The next thing to do, or nothing. To be asked again after each action and each event. */
export function nextAction(lines: readonly LineState[], hold: Hold): NextAction | undefined {
  const needs = lines.map((line, index) => isNeeded(line, index, lines, hold));
  const toTake = (index: number) => needs[index] === true && !isOurs(lines[index]);
  const owesOne = lines.some((line, index) => line.owed && toTake(index));
  for (const [index, line] of lines.entries()) {
    const waitsForEarlier = lines.slice(0, index).some((_, earlier) => toTake(earlier));
    const action = actionFor(line, { needed: needs[index] === true, waitsForEarlier, owesOne, hold });
    if (action !== undefined) return { index, action };
  }
  return undefined;
}

interface Surroundings {
  readonly needed: boolean;
  /** A line before this one in the order is needed and not ours. */
  readonly waitsForEarlier: boolean;
  readonly owesOne: boolean;
  readonly hold: Hold;
}

function actionFor(line: LineState, around: Surroundings): LineAction | undefined {
  switch (line.phase) {
    case 'idle':
      return around.needed && !around.waitsForEarlier ? 'join' : undefined;
    case 'joining':
      if (!around.needed && !line.inUse) return 'leave';
      return around.waitsForEarlier ? 'step-aside' : undefined;
    case 'granted':
    case 'attached':
      if (!line.inUse && !line.busy && around.hold === 'step') return 'release';
      if (around.waitsForEarlier && !line.busy) return 'step-aside';
      // What is attached is used at once: a build would wait for the other builder with its clock running.
      return line.phase === 'granted' && !around.owesOne ? 'attach' : undefined;
  }
}

function isNeeded(line: LineState, index: number, lines: readonly LineState[], hold: Hold): boolean {
  if (line.wanted || (line.owed && line.inUse)) return true;
  // Kept until post, builders can't be put in order later: all are taken when the first is needed.
  // One that was lost is taken again when somebody wants it.
  if (hold === 'step' || line.served) return false;
  return lines.some((other, at) => at !== index && (other.wanted || isOurs(other)));
}

function isOurs(line: LineState | undefined): boolean {
  return line?.phase === 'granted' || line?.phase === 'attached';
}
