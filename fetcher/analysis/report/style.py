"""The style and the script of a report: they are all that its page may use, named in it by their hashes."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--back:#fff;--card:#f5f6f8;--ink:#1c2128;--dim:#5b6470;--line:#d9dde3;
--done:#2f8f5b;--unchanged:#4a86cf;--failed:#cc4238;--refused:#d29922;--left:#9aa3ae;--bytes:#7a5fc0}
@media(prefers-color-scheme:dark){:root{--back:#14181d;--card:#1d232a;--ink:#e4e8ed;--dim:#9aa4b0;
--line:#343c46;--done:#3fa76d;--unchanged:#5b97df;--failed:#e2635a;--refused:#dca93c;--left:#6f7985;
--bytes:#9a82dd}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem 1.25rem 4rem;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.5rem 0 0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-top:.5rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{margin:.25rem 0 .75rem}.dim{color:var(--dim)}
.verdict{background:var(--card);border-left:4px solid var(--unchanged);padding:.6rem .9rem;margin:1rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:1rem 0}
.cards div{background:var(--card);border-radius:6px;padding:.5rem .8rem}
.cards b{display:block;font-size:1.2rem;font-weight:600;white-space:nowrap}
.cards span{color:var(--dim);font-size:.85rem}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;font-size:.9rem}a{color:var(--unchanged)}
svg{display:block;width:100%}.plot{height:8rem;border-bottom:1px solid var(--line)}.bar{height:1.4rem}
.sizes{height:6rem;border-bottom:1px solid var(--line)}
.range{width:14rem;min-width:8rem;height:1rem}
.done{fill:var(--done)}.unchanged{fill:var(--unchanged)}.failed{fill:var(--failed)}
.refused{fill:var(--refused)}.pending,.withheld{fill:var(--left)}.bytes{fill:var(--bytes)}
.low{fill:var(--line)}.mark{fill:var(--ink)}.pause{stroke:var(--dim);stroke-dasharray:3 3;
vector-effect:non-scaling-stroke}.grid{stroke:var(--line);vector-effect:non-scaling-stroke}
.axis{display:flex;justify-content:space-between;color:var(--dim);font-size:.8rem}
.classes{display:flex;color:var(--dim);font-size:.75rem}.classes span{flex:1 1 0;min-width:0;
overflow:hidden;text-align:center;white-space:nowrap}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.9rem;margin:.4rem 0}
.key svg{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem}
.wide{overflow-x:auto;margin:.25rem 0 1rem}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{padding:.3rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{white-space:nowrap;font-weight:600}td{overflow-wrap:anywhere;min-width:4.5rem}
td.n,th.n{text-align:right;white-space:nowrap;min-width:0;font-variant-numeric:tabular-nums}
td.url{min-width:18rem}td.words{min-width:10rem}
code{font:inherit;white-space:nowrap}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--unchanged)}
th[aria-sort] button::after{content:" \\25B4"}th[aria-sort=descending] button::after{content:" \\25BE"}
footer{margin-top:3rem;color:var(--dim);font-size:.85rem}
@media(max-width:34rem){body{padding:.75rem .75rem 3rem}.cards{grid-template-columns:1fr 1fr}
.classes span:nth-child(odd){visibility:hidden}}
@media print{:root{--back:#fff;--card:#f5f6f8;--ink:#000;--dim:#444;--line:#ccc;--done:#2f8f5b;
--unchanged:#4a86cf;--failed:#cc4238;--refused:#d29922;--left:#9aa3ae;--bytes:#7a5fc0}
html{font-size:11px}body{max-width:none;padding:0;font-size:11px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
nav{display:none}.wide{overflow:visible}
tr,svg,.cards div{break-inside:avoid}h2,h3{break-after:avoid}td.url{min-width:10rem}
td.words{min-width:8rem}th button::after{content:""!important}}
"""

# Every table sorts by the column whose name is pressed; a cell's `data-v` is its value where that is no text.
SCRIPT = """
for (const head of document.querySelectorAll("th")) {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const isNumber = head.classList.contains("n");
    const down = isNumber ? head.ariaSort !== "descending" : head.ariaSort === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const at = head.cellIndex, body = head.closest("table").tBodies[0];
    const value = (row) => row.cells[at].dataset.v ?? row.cells[at].textContent;
    const order = isNumber
      ? (a, b) => Number(value(a)) - Number(value(b))
      : (a, b) => value(a).localeCompare(value(b));
    const rows = [...body.rows].sort(order);
    body.append(...(down ? rows.reverse() : rows));
  });
}
"""
