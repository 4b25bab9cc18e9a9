/** What an adaptive schedule has come to. */
export function roundsText(rounds: Readonly<Record<string, number>>): string {
  return Object.entries(rounds).map(([modality, count]) => `${modality} ${count}`).join(', ');
}
