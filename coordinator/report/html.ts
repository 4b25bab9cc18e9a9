/** Text into HTML: everything that comes from a study file, a site or a failure goes through here. */
export function escapeHtml(text: string | number): string {
  return String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;').replaceAll("'", '&#39;');
}

export function percent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)} %`;
}

/** Numbers, unless `kind` says that its cells are words. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], kind?: 'prose'): string {
  const cells = (tag: string, row: readonly string[]): string => row.map((cell) => `<${tag}>${cell}</${tag}>`).join('');
  return scrolling(`<table${kind === undefined ? '' : ` class="${kind}"`}><thead><tr>${cells('th', head)}</tr></thead><tbody>${rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('')}</tbody></table>`);
}

/** Scrolls where it is wider than the page, by keys too; a shadow at the edge (style.ts) says that there is more. */
export function scrolling(content: string): string {
  return `<div class="scroll" tabindex="0">${content}</div>`;
}

/** JSON inside a script element: no "</script>" and no comment can come out of it. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c').replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029');
}
