import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { drawScript } from './charts.ts';
import { escapeHtml, scriptJson } from './html.ts';
import { STYLE } from './style.ts';

export interface PlotLibrary {
  readonly script: string;
  readonly style: string;
}

/** uPlot, to stand inside a page. */
export async function loadPlotLibrary(): Promise<PlotLibrary> {
  const require = createRequire(import.meta.url);
  const [script, style] = await Promise.all([readFile(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'), readFile(require.resolve('uplot/dist/uPlot.min.css'), 'utf8')]);
  return { script, style };
}

/** One self-contained page: no request leaves it. `body` is HTML; `script` runs behind `draw` and finds `charts`. `wide`: its tables have many columns, and take what the window has. */
export function renderPage(page: { readonly wide?: boolean; readonly title: string; readonly body: string; readonly charts: unknown; readonly script: string; readonly plotLibrary: PlotLibrary }): string {
  const { wide = false, title, body, charts, script, plotLibrary } = page;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} - Antiphon</title><style>${plotLibrary.style}${STYLE}</style></head>
<body><main${wide ? ' class="wide"' : ''}>${body}</main>
<script>${plotLibrary.script}</script><script>const charts = ${scriptJson(charts)};${drawScript}${script}</script></body></html>
`;
}
