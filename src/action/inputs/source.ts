/** Where inputs come from, and what is wrong with them. */

/** What the contract says about one input: action.yml and the README's table are generated from it. */
export interface InputEntry {
  readonly description: string;
  /** As action.yml gives it when the workflow does not. */
  readonly default?: string;
}

export type InputTable = Readonly<Record<string, InputEntry>>;

export interface InputSource {
  /** The trimmed text of an input; empty when it was not given. */
  readonly read: (name: string) => string;
  /** The same with the white space around it. */
  readonly readWhole: (name: string) => string;
  /** The variables that the runner, docker's own Actions and BuildKit's users give a meaning to. */
  readonly env: NodeJS.ProcessEnv;
  /** RUNNER_ARCH, or the process's own architecture. */
  readonly runnerArch: string;
  /** The folder that relative paths start from. */
  readonly workspace: string;
}

/** Everything that is wrong with the inputs, in one message. */
export class InputProblems extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const heading =
      problems.length === 1 ? 'One input needs a change' : `${problems.length} inputs need a change`;
    super(`${heading}:\n${problems.map((problem) => `- ${problem}`).join('\n')}`);
    this.name = 'InputProblems';
    this.problems = problems;
  }
}

export class Problems {
  readonly found: string[] = [];
  /** What a person should know, although it keeps nothing from being done. */
  readonly warnings: string[] = [];

  add(input: string, value: string, what: string): undefined {
    this.found.push(
      `\`${input}\` is ${value === '' ? 'not given' : JSON.stringify(shorten(value))}: ${what}`,
    );
    return undefined;
  }

  addPlain(text: string): undefined {
    this.found.push(text);
    return undefined;
  }

  /** For an input that may hold a secret: its value is not told. */
  addSecret(input: string, what: string): undefined {
    return this.addPlain(`\`${input}\`: ${what}`);
  }

  warn(text: string): undefined {
    this.warnings.push(text);
    return undefined;
  }
}

function shorten(value: string): string {
  return value.length <= 120 ? value : `${value.slice(0, 117)}...`;
}
