export const STYLE = `
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2430;--soft:#5b6472;--line:#e5e7eb;--panel:#f8f9fb;--accent:29,78,216;--good:#15803d;--warn:#b45309}
@media(prefers-color-scheme:dark){:root{--paper:#0f1318;--ink:#e6e9ef;--soft:#9aa4b2;--line:#30363d;--panel:#161b22;--accent:122,162,247;--good:#4ade80;--warn:#fbbf24}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 24px 48px}h1{margin:.1em 0;font-size:30px;letter-spacing:-.01em}h2{font-size:19px;margin:0 0 12px}h3{font-size:15px;margin:20px 0 8px}
section{margin-top:36px}.eyebrow{margin:0;color:var(--soft);font-size:12px;text-transform:uppercase;letter-spacing:.12em}.muted,footer{color:var(--soft)}footer{margin-top:40px;font-size:12px;overflow-wrap:anywhere}
.alarm{background:#b91c1c;color:#fff;padding:12px 16px;border-radius:8px;margin-bottom:20px}
.verdict{border-radius:10px;padding:14px 18px;margin-top:16px;border:1px solid var(--line);background:var(--panel)}.verdict strong{font-size:20px;margin-right:8px}.verdict.good strong{color:var(--good)}.verdict.bare strong{color:var(--warn)}.verdict.bad{background:#b91c1c;color:#fff}dt{font-weight:600}dd{margin:0 0 10px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:20px}.card{background:var(--panel);border:1px solid var(--line);border-radius:10px;padding:14px 16px;display:flex;flex-direction:column}
.card span{color:var(--soft);font-size:13px}.card b{font-size:26px;font-weight:650;font-variant-numeric:tabular-nums}.card small{color:var(--soft)}
.charts{margin-top:20px;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:20px}figure{margin:0;padding:14px;background:var(--panel);border:1px solid var(--line);border-radius:10px;min-width:0}figcaption{font-weight:600;margin-bottom:8px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left}td:last-child{white-space:normal}.confusion td{background:rgba(var(--accent),calc(var(--share)*.75));text-align:center}.confusion th{text-align:center}
meter{width:120px;vertical-align:middle}pre{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:14px;overflow-x:auto;font-size:12.5px}details{margin-top:14px}summary{cursor:pointer}
.note{color:var(--soft);font-size:13px;margin:10px 0 0}.confusion{font-size:13px}.confusion th,.confusion td{padding:6px;white-space:normal}.confusion td:last-child,.confusion thead tr+tr th:first-child{text-align:center}.confusion tbody th,.confusion thead th[colspan]{text-align:left}.u-legend{color:var(--soft);font-size:13px}.u-legend .u-value{font-variant-numeric:tabular-nums}.u-legend th,.u-legend td{white-space:normal}.u-inline .u-series{max-width:100%}@media print{main{max-width:none}section{break-inside:avoid}}
`;
