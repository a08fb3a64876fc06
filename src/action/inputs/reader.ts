import { CsvProblem } from '../../csv.ts';
import { parseGoBoolean } from './attestations.ts';
import { type GitContextSettings, TemplateProblem } from './git-context.ts';
import { type ListForm, parseList } from './list.ts';
import type { InputSource, Problems } from './source.ts';

/** Reads single inputs and writes down what is wrong with them; what it gives then is only good for looking on. */
export class InputReader {
  readonly problems: Problems;
  readonly #source: InputSource;

  constructor(source: InputSource, problems: Problems) {
    this.#source = source;
    this.problems = problems;
  }

  /** Undefined when it was not given. */
  optional(name: string): string | undefined {
    return this.#source.read(name) || undefined;
  }

  list(name: string, form: ListForm = {}): readonly string[] {
    const text = form.whiteSpace === 'keep' ? this.#source.readWhole(name) : this.#source.read(name);
    return this.attempt(name, text, () => parseList(text, form)) ?? [];
  }

  /** YAML 1.2's core schema, which is what @actions/core reads too; false when it was not given. */
  flag(name: string): boolean {
    const text = this.#source.read(name);
    if (text === '') return false;
    if (/^(true|True|TRUE)$/.test(text)) return true;
    if (!/^(false|False|FALSE)$/.test(text)) this.problems.add(name, text, 'write true or false');
    return false;
  }

  /** A variable that docker's Actions read; false when it is not set. */
  variable(name: string): boolean {
    const text = this.#source.env[name] ?? '';
    const value = text === '' ? false : parseGoBoolean(text);
    if (value === undefined)
      this.problems.add(name, text, 'write true or false in this variable, or unset it');
    return value ?? false;
  }

  /** The text of a variable; undefined when it is empty. */
  variableText(name: string): string | undefined {
    return this.#source.env[name] || undefined;
  }

  gitContextSettings(): GitContextSettings {
    return {
      pullRequestHead: this.variable('DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF'),
      query: this.variable('BUILDX_SEND_GIT_QUERY_AS_INPUT'),
    };
  }

  /** What `read` gives; undefined, and a problem of that input, when its text is malformed. */
  attempt<Result>(name: string, value: string, read: () => Result): Result | undefined {
    try {
      return read();
    } catch (error) {
      if (error instanceof CsvProblem || error instanceof TemplateProblem) {
        return isSecret(name)
          ? this.problems.addSecret(name, error.message)
          : this.problems.add(name, value, error.message);
      }
      throw error;
    }
  }
}

function isSecret(name: string): boolean {
  return name === 'secrets' || name === 'github-token';
}
