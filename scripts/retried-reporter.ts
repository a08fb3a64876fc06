// Tells, at the end, which tests have passed only when they were tried again: such a test is to be mended, not lived with.
import type { Reporter, TestCase } from 'vitest/node';

export default class RetriedReporter implements Reporter {
  readonly #retried: string[] = [];

  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky !== true) return;
    const errors = test.result().errors?.map(({ message }) => message.split('\n')[0]) ?? [];
    this.#retried.push(
      `${test.module.relativeModuleId} > ${test.fullName}${errors.length > 0 ? `: ${errors.join('; ')}` : ''}`,
    );
  }

  onTestRunEnd(): void {
    for (const name of this.#retried) {
      const message = `passed only when it was tried again: ${name}`;
      console.log(process.env['GITHUB_ACTIONS'] === 'true' ? `::warning::${message}` : message);
    }
  }
}
