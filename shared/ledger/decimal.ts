/** The shortest decimal that reads back as the same double: the one spelling of a number in the ledger. */
export function toDecimal(value: number): string {
  return String(value);
}

export function fromDecimal(text: string): number {
  return Number(text);
}
