import Table from 'cli-table3';
import { createColors } from 'picocolors';
import { escapeHtml, table as htmlTable } from '../../coordinator/report/html.ts';
import { loadPlotLibrary, renderPage } from '../../coordinator/report/page.ts';
import { tableStyle } from '../display.ts';

/** What a measuring audit has to say: one table, and what it means. */
export interface Findings {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly notes: readonly string[];
}

const BAD = 'REFUTED';

export function formatFindings({ title, head, rows, notes }: Findings, { color }: { readonly color: boolean }): string {
  const paint = createColors(color);
  const mark = (text: string): string => (text.startsWith(BAD) ? paint.red(text) : text);
  const table = new Table({ head: [...head], style: tableStyle(color) });
  for (const row of rows) table.push(row.map(mark));
  return [paint.bold(title), table.toString(), ...notes.map(mark)].join('\n');
}

/** The same as one self-contained page. */
export async function renderFindings({ title, head, rows, notes }: Findings): Promise<string> {
  const body = [
    `<header><p class="eyebrow">Antiphon audit by attacks</p><h1>${escapeHtml(title)}</h1></header>`,
    `<section>${htmlTable(head.map(escapeHtml), rows.map((row) => row.map(escapeHtml)))}</section>`,
    ...notes.map((note) => (note.startsWith(BAD) ? `<div class="verdict bad" role="alert">${escapeHtml(note)}</div>` : `<p>${escapeHtml(note)}</p>`)),
  ].join('\n');
  return renderPage({ title, body, charts: {}, script: '', plotLibrary: await loadPlotLibrary() });
}
