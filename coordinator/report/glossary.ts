import { escapeHtml } from './html.ts';

/** Words of the pages and tables that not every reader knows; the same everywhere. */
const WORDS = {
  epsilon: ['epsilon, delta', 'by how much one patient can change what anybody sees: every outcome is at most e^epsilon times as likely with that patient as without, but for a probability delta; smaller is more private'],
  pld: ['PLD', 'epsilon by privacy loss distributions: the tight bound, for a schedule that was fixed before any data were touched, or one all of whose steps have the same sampling rate and noise, whichever modality they train'],
  rdp: ['RDP', 'epsilon by Rényi differential privacy at the one order that the PLAN fixed: usually larger, and valid whatever later rounds depend on'],
  clique: ['clique', 'sites that one patient may all be at: their spending adds up, and the worst clique counts'],
  q: ['q', 'sampling rate: the probability with which a step takes each patient'],
  noise: ['noise', 'noise multiplier: standard deviation of the noise, divided by what one patient can contribute at most'],
  robust: ['robust product', "the modalities' probabilities multiplied, each mixed with a little chance (contamination), so that none has a veto"],
  pools: ['log pool, linear pool', "weighted geometric, or arithmetic, mean of the modalities' probabilities; the weights follow from each one's uncertainty (entropy, and distance from the others)"],
  product: ['plain product', "the modalities' probabilities multiplied, as if they were independent given the class"],
  mla: ['entropy only (MLA)', 'linear pool whose weights follow from the entropy alone, as in multimodal learning with alternating unimodal adaptation (Zhang et al. 2024)'],
  temperature: ['temperature', 'what logits are divided by before they become probabilities; above 1 the model was too sure'],
  discount: ['discount', 'by how much more the logits of a record are divided that is unlike all selection records (its reliability)'],
  ece: ['ECE', 'expected calibration error over so many bins: by how much stated confidence and accuracy differ on average; 0 % is best'],
  perfect: ['if perfect', 'the ECE of 15 bins that exactly right confidences like these show on average on so few samples'],
  nll: ['NLL', 'mean negative log-likelihood of the true class, in nats; lower is better'],
} as const;

export type Word = keyof typeof WORDS;

/** The end of a page. */
export function glossarySection(words: readonly Word[]): string {
  const items = words.map((word) => `<dt>${escapeHtml(WORDS[word][0])}</dt><dd>${escapeHtml(WORDS[word][1])}</dd>`);
  return `<section><h2>Words</h2><dl class="words">${items.join('')}</dl></section>`;
}

const SHORT: Partial<Record<Word, string>> = {
  pld: 'PLD, RDP: epsilon by either accountant',
  q: 'q: sampling rate',
  noise: 'noise: noise multiplier',
  ece: 'ECE: calibration error over so many bins, lower is better',
  perfect: 'if perfect: ECE of exactly right confidences on so few samples',
  nll: 'NLL: negative log-likelihood of the true class, lower is better',
};

/** The line below a terminal's table. */
export function legendLine(words: readonly Word[]): string {
  return words.flatMap((word) => SHORT[word] ?? []).join(' · ');
}
