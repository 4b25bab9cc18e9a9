import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { overrideStudy, type StudyOverrides } from '../../deploy/overrides.ts';
import { parseStudy, studyFromUnknown } from '../../shared/study/parse.ts';

const path = new URL('../../deploy/studies/synthetic.yaml', import.meta.url);
const STUDY = parseStudy(readFileSync(path, 'utf8'), 'synthetic.yaml');

it.each<[StudyOverrides, RegExp]>([
  [{ delta: 2 }, /--delta 2: .*0\.1/],
  [{ rounds: 2_000_000 }, /--rounds 2000000: .*1000000/],
  [{ epsilon: -3, delta: 0.5 }, /--delta 0\.5: .*; --epsilon -3: /],
  [{ seed: 2 ** 31 }, /--seed 2147483648: /],
  [{ sites: 1667 }, /--sites: expected at most 1666 sites per modality \(5000 in all, 3 modalities\), found 1667/],
  [{ noPrivacy: true, delta: 0.01 }, /--delta .* no meaning/],
])('%o is refused by the name of its option, as a wrong command line', (options, message) => {
  expect(() => overrideStudy(STUDY, options)).toThrow(message);
  expect(() => overrideStudy(STUDY, options)).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
  expect(() => overrideStudy(STUDY, options)).not.toThrow(/coordinator/);
});

it('a study from the wire is still said to be the coordinator\'s', () => {
  expect(() => studyFromUnknown({ ...STUDY, seed: -2 })).toThrow(/the coordinator sent a study that is not valid: seed/);
});
