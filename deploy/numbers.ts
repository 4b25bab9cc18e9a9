import { AntiphonError } from '../shared/errors.ts';

/** A reader of numbers on the command line: AntiphonError('usage') says what was expected and found. */
export function number(what: string, accept: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !accept(value)) throw new AntiphonError('usage', `expected ${what}, found "${text}"`);
    return value;
  };
}

export const positive = number('a positive number', (value) => value > 0 && Number.isFinite(value));
export const count = number('a positive whole number', (value) => Number.isInteger(value) && value > 0);
