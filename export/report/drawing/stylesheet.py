"""How the report looks: light and dark, on a phone, on a desk and on paper."""

from __future__ import annotations

from typing import Final

_LIGHT: Final = """
  --paper: #ffffff; --panel: #f5f7f9; --ink: #1c2126; --quiet: #55606b;
  --line: #d3d9df; --link: #005ea2; --grid: #e1e5e9;
  --one: #0072b2; --two: #d55e00; --three: #00825e; --guide: #66707a;
  --right: 0 114 178; --wrong: 213 94 0;
"""

_DARK: Final = """
  --paper: #12161b; --panel: #1b2128; --ink: #e8ecf0; --quiet: #a5b0bb;
  --line: #3a444f; --link: #7cc4f5; --grid: #2b333c;
  --one: #56b4e9; --two: #f0a24a; --three: #4fd1a5; --guide: #9aa5b0;
  --right: 86 180 233; --wrong: 230 130 40;
"""

_PAGE: Final = """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
header, nav, main { max-width: 62rem; margin: 0 auto; padding: 0 1rem; }
main { padding-bottom: 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 1.5rem 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1.08rem; margin: 1.75rem 0 .5rem; }
h4 { font-size: .95rem; margin: 0 0 .4rem; }
p { margin: .5rem 0; max-width: 44rem; }
small { display: block; font-size: .78rem; color: var(--quiet); }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.quiet { color: var(--quiet); font-size: .92rem; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--paper); padding: .5rem; }
nav { font-size: .92rem; }
nav ol { margin: 1rem 0; padding: .75rem 1rem .75rem 2.4rem; columns: 10.5rem;
  background: var(--panel); border-radius: .5rem; }
nav li { break-inside: avoid; padding: .15rem 0; }
@media screen and (min-width: 84rem) {
  body { display: grid; grid-template-columns: 17rem minmax(0, 62rem);
    grid-template-rows: auto 1fr; justify-content: center; }
  header, main { grid-column: 2; width: 100%; }
  nav { grid-area: 1 / 1 / 3 / 2; position: sticky; top: 0; align-self: start;
    padding-top: 1rem; } nav ol { columns: 1; } }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .92rem; font-weight: 600; margin-bottom: .3rem; }
img { display: block; max-width: 100%; }
details { margin: .4rem 0; font-size: .92rem; }
summary { cursor: pointer; color: var(--link); }
.panels { display: grid; gap: 1.5rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
"""

_TABLES: Final = """
.scroll { overflow-x: auto; margin: .75rem 0; max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } tbody th { font-weight: 400; }
thead th { vertical-align: bottom; border-bottom-width: 2px; }
th:first-child, .words { text-align: left; }
th:first-child { position: sticky; left: 0; background: var(--paper); }
tfoot th, tfoot td { font-weight: 600; border-top: 2px solid var(--line); }
td { white-space: nowrap; } td.words { white-space: normal; min-width: 12rem;
  max-width: min(32rem, 65vw); overflow-wrap: anywhere; }
.confusion td { text-align: center; min-width: 3.4rem; }
.confusion thead th { text-align: center; font-weight: 400; }
.confusion small { font-size: .72rem; color: inherit; }
.confusion .right { background: rgb(var(--right) / calc(var(--share) * .5)); }
.confusion .wrong { background: rgb(var(--wrong) / min(.6, .1 + var(--share))); }
.many tbody th { min-width: 6.5rem; } .many { font-size: .8rem; } .many td { padding: .2rem .3rem; }
.many thead span { writing-mode: vertical-rl; transform: rotate(180deg);
  max-height: 11rem; }
.figures { display: grid; gap: .75rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 9rem), 1fr)); }
.figures div { background: var(--panel); border-radius: .5rem; padding: .7rem .9rem; }
.figures dt { font-size: .88rem; color: var(--quiet); } .figures dd { margin: 0; }
.figures b { font-size: 1.45rem; font-variant-numeric: tabular-nums; }
"""

_CHARTS: Final = """
.chart { display: block; width: 100%; height: auto; max-width: 30rem; }
.chart text { fill: var(--ink); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--grid); } .tick { stroke: var(--guide); fill: none; }
.divider { stroke: var(--guide); stroke-dasharray: 1 3; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.guide { stroke-width: 1.5; }
.mark { fill: var(--paper); stroke-width: 2.5; }
.line.one, .mark.one { stroke: var(--one); } .line.two, .mark.two { stroke: var(--two); }
.line.three, .mark.three { stroke: var(--three); } .line.guide { stroke: var(--guide); }
.bar.one, .dot.one { fill: var(--one); } .dot.two { fill: var(--two); }
.bar.one { fill-opacity: .55; } .bar.three { fill: var(--three); fill-opacity: .7; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none;
  margin: .2rem 0; padding: 0; font-size: .85rem; }
.legend svg { vertical-align: -2px; }
"""

_PICTURES: Final = """
.photos { display: grid; gap: .9rem; margin: 0; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(max(8.5rem, 22%), 1fr)); }
.photos img, .unreadable { width: 100%; aspect-ratio: 1; object-fit: contain;
  background: var(--panel); border-radius: .25rem; }
.photos figcaption { font-weight: 400; font-size: .85rem; line-height: 1.35;
  padding: .25rem 0 0 .5rem; margin: .3rem 0 0; border-left: 4px solid var(--one); }
.photos .wrong figcaption { border-left: 4px double var(--two); }
.unreadable { display: block; padding: .5rem; font-size: .8rem; }
.by-label { display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); }
.by-label .photos { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .5rem; }
.by-label figcaption { font-size: .74rem; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .4rem; }
.columns img { width: 100%; }
.tiles { display: flex; flex-wrap: wrap; gap: 4px; margin: .75rem 0;
  max-width: 44rem; }
.tiles img { width: 2.5rem; height: 2.5rem; image-rendering: pixelated; }
.strip { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr);
  gap: 4px; margin-top: .4rem; }
.strip img { width: 100%; image-rendering: pixelated; }
.sample { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 2fr);
  gap: .6rem; }
.sample > img { width: 100%; }
.heat-scale { font-size: .85rem; }
.heat-scale i { display: inline-block; width: 8rem; height: .8rem; background:
  linear-gradient(90deg, #14144600, #6e1e82, #cd375f, #fa8c28, #ffeb78); }
"""

_PAPER: Final = """
@page { margin: 15mm; }
@media print { body { font-size: 10pt; } nav ol { columns: 2; }
  .skip { display: none; } header, nav, main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  .panels, .by-label { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .photos { grid-template-columns: repeat(4, minmax(0, 1fr)); }
  figure, tr, .gallery { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; } * { print-color-adjust: exact; } }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
"""

STYLESHEET: Final = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}"
    f"{_PAGE}{_TABLES}{_CHARTS}{_PICTURES}{_PAPER}"
)
"""The whole stylesheet; colours are variables, so dark changes nothing else."""
