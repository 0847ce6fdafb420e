"""The sections of a report as one page of HTML that loads nothing."""

import json
import re
from collections.abc import Sequence
from html import escape

from da.report.section import Section
from da.report.tables import TEXT, Sheet

STYLE = """
:root { --ink: #1f2933; --soft: #616e7c; --line: #e4e7eb; --bad: #b42318; --good: #2f7d4f; --accent: #2b6cb0 }
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: #fff }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif }
main, header, nav div { max-width: 1180px; margin: 0 auto; padding: 0 32px }
header { padding-top: 36px; padding-bottom: 12px }
h1 { font-size: 26px; font-weight: 650; letter-spacing: -.01em; margin: 0 0 4px }
h2 { font-size: 19px; font-weight: 650; margin: 0 0 10px; letter-spacing: -.005em }
h3 { font-size: 13.5px; font-weight: 600; margin: 26px 0 6px }
p { max-width: 880px; margin: 0 0 10px; color: #3e4c59 }
header p { color: var(--soft); margin: 0 }
nav { position: sticky; top: 0; z-index: 5; background: rgba(255, 255, 255, .96); border-bottom: 1px solid var(--line) }
nav div { display: flex; flex-wrap: wrap; gap: 4px 20px; padding-top: 9px; padding-bottom: 9px; font-size: 13px }
nav a { color: var(--soft); text-decoration: none }
nav a:hover { color: var(--accent) }
section { padding: 34px 0 26px; border-bottom: 1px solid var(--line); scroll-margin-top: 40px }
section:last-child { border: 0 }
.wide { overflow-x: auto; margin-bottom: 8px; width: fit-content; max-width: 100% }
.long { max-height: 560px; overflow-y: auto }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; line-height: 1.4 }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1px solid #9aa5b1; background: #fff }
.long th { position: sticky; top: 0 }
td { text-align: right; border-bottom: 1px solid #f0f2f4; white-space: nowrap }
th, td { padding: 5px 14px 5px 0; vertical-align: top }
th.text, td.text { text-align: left }
td.prose { white-space: normal; max-width: 460px; overflow-wrap: anywhere }
tbody tr:hover td { background: #f7f9fb }
td small { color: #9aa5b1; font-size: 11px; margin-left: 3px }
.bad { color: var(--bad) } .good { color: var(--good) }
.figure { margin: 8px 0 14px; width: 100% }
"""
_PROSE = {"verdict", "reason", "leak", "folder", "labels", "fitted", "on", "best classes", "worst classes"}  # may wrap
LONG = 18  # rows above which a table scrolls in a box of its own


def page(title: str, subtitle: str, sections: Sequence[Section], plotly_js: str) -> str:
    """Return the page, with plotly's own code in it: it opens offline, and links only to itself."""
    figures = [dict(figure) for section in sections for figure in section.figures]
    # "</" would end the script
    data = json.dumps(figures, ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    links = "".join(f'<a href="#{one.name}">{escape(one.title)}</a>' for one in sections)
    body, drawn = [], 0
    for section in sections:
        body.append(_section(section, drawn))
        drawn += len(section.figures)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>
<nav><div>{links}</div></nav>
<main>
{"".join(body)}</main>
<script>{plotly_js}</script>
<script>
const figures = {data};
figures.forEach((figure, k) => Plotly.newPlot("figure" + k, figure.data, figure.layout,
  {{responsive: true, displaylogo: false, displayModeBar: false}}));
</script>
</body>
</html>
"""


def _section(section: Section, first: int) -> str:
    parts = [f'<section id="{section.name}">\n<h2>{escape(section.title)}</h2>\n']
    parts += [f"<p>{escape(paragraph)}</p>\n" for paragraph in section.text]
    for k, figure in enumerate(section.figures, first):
        parts.append(f'<div class="figure" id="figure{k}" style="height: {figure["layout"]["height"]}px"></div>\n')
    for sheet in section.sheets:
        parts += [f"<h3>{escape(sheet.name)}</h3>\n" if sheet.name != section.title else "", _table(sheet)]
    return "".join([*parts, "</section>\n"])


def _table(sheet: Sheet) -> str:
    if not sheet.rows:
        return "<p>Nothing to show.</p>\n"
    sides = [f' class="text{" prose" * (name in _PROSE)}"' if name in TEXT else "" for name in sheet.columns]
    head = "".join(f"<th{side}>{escape(name)}</th>" for name, side in zip(sheet.columns, sides, strict=True))
    rows = [
        "<tr>" + "".join(f"<td{side}>{_cell(cell)}</td>" for cell, side in zip(row, sides, strict=True)) + "</tr>\n"
        for row in sheet.rows
    ]
    box = "wide long" if len(rows) > LONG else "wide"
    return (
        f'<div class="{box}"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table></div>\n'
    )


def _cell(text: str) -> str:
    html = re.sub(r" \((n=[^)]*|unequal[^)]*)\)$", r" <small>\1</small>", escape(text))
    if text.startswith(("NEGATIVE TRANSFER:", "leak:")):
        return f'<span class="bad">{html}</span>'
    return f'<span class="good">{html}</span>' if text.startswith("above ") and "; " not in text else html
