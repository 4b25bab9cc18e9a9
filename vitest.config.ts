import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    reporters: ['default', './test/support/plain-summary.ts'],
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Two cores: two files at a time, each in a process of its own (the TFJS engine is global to a process).
    pool: 'forks',
    maxWorkers: 2,
  },
});
