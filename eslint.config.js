import tseslint from 'typescript-eslint';

/** Import directions of the house: shared <- coordinator, shared <- client, never sideways; deploy and test see all. */
const forbid = (...patterns) => ({
  'no-restricted-imports': ['error', { patterns: patterns.map(([group, message]) => ({ group, message })) }],
});
const tensors = [['@tensorflow/*', '@tensorflow/**', '**/model/*'], 'only shared/model and shared/platform know tensors'];
const node = [['node:*', '**/platform/*'], 'shared is portable: no Node, no platform adapters'];
const rooms = (...names) => [names.map((name) => `**/${name}/**`), `imports only go shared <- coordinator, client <- deploy, test`];

export default tseslint.config(
  { ignores: ['dist/**', 'build/**', 'node_modules/**', 'coverage/**'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: './tsconfig.json' } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // They compare the types of all assignments, for a third of the linter's time and memory; there is no enum (erasable syntax only) and hardly a class.
      '@typescript-eslint/no-unsafe-enum-assignment': 'off',
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off', // hot loops over typed arrays
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      'no-restricted-properties': ['error', { object: 'Math', property: 'random', message: 'privacy needs the CSPRNG; initial weights have their own seeded generator' }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidOperator: true }],
      '@typescript-eslint/no-meaningless-void-operator': 'off', // `return void f()` says that nothing is returned
      'no-console': 'error',
    },
  },
  { files: ['shared/**'], ignores: ['shared/platform/**'], rules: forbid(rooms('coordinator', 'client', 'deploy', 'test'), node) },
  {
    files: ['shared/{privacy,ledger,crypto,protocol,fusion,study,data}/**'],
    rules: forbid(rooms('coordinator', 'client', 'deploy', 'test'), node, tensors),
  },
  { files: ['shared/platform/**'], rules: forbid(rooms('coordinator', 'client', 'deploy', 'test')) },
  { files: ['coordinator/**'], rules: forbid(rooms('client', 'deploy', 'test')) },
  { files: ['client/**'], rules: forbid(rooms('coordinator', 'deploy', 'test')) },
  { files: ['test/**'], rules: { 'no-console': 'off', '@typescript-eslint/no-unsafe-assignment': 'off', '@typescript-eslint/no-unsafe-member-access': 'off' } },
  { files: ['eslint.config.js', 'test/support/*.mjs'], ...tseslint.configs.disableTypeChecked },
);
