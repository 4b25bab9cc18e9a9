import { AntiphonError } from './errors.ts';

/** Reads a number of the command line, or says what it should have been. */
export function numberOption(what: string, accept: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !accept(value)) throw new AntiphonError('usage', `expected ${what}, found "${text}"`);
    return value;
  };
}

export const positiveOption = numberOption('a positive number', (value) => value > 0 && Number.isFinite(value));
/** What a study accepts. */
export const deltaOption = numberOption('a delta above 0 and below 0.1', (value) => value > 0 && value < 0.1);
export const countOption = numberOption('a positive whole number', (value) => Number.isSafeInteger(value) && value > 0);
