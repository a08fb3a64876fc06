import { defineConfig } from 'vitest/config';

const project = (name: string, seconds: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: seconds * 1000,
    hookTimeout: seconds * 1000,
    globalSetup: name === 'unit' ? [] : ['test/support/programs.setup.ts'],
    // In CI, tests on real parts have a second try; who needed it is told (docs/decisions/2026-11-28-second-try.md).
    retry: process.env['CI'] && ['integration', 'end-to-end'].includes(name) ? 1 : 0,
  },
});

export default defineConfig({
  test: {
    // Under sudo it would leave a folder of root's in node_modules.
    cache: false,
    // Real builders share two cores: one file at a time keeps the measured states meaningful.
    fileParallelism: false,
    projects: [
      project('unit', 120),
      project('integration', 240),
      project('end-to-end', 600),
      project('long', 3600),
    ],
  },
});
