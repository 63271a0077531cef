"""A report's blocks as one HTML file that asks nothing of the network: style and pictures lie in it, and no script.

Whatever comes from a curriculum's file or a run's words is shown as signs (`unmasking_signs`) and escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from masklab.reporting.comparison.blocks import Answer, Block, Bullets, Code, Folded, Heading, Paragraph, Picture, Table
from masklab.reporting.comparison.plots import inline
from masklab.reporting.plots import COLOURS
from masklab.reporting.unmasking.glyphs import plain

LIGHT = {"paper": "#fdfdfb", "ink": "#1b1c1f", "faint": "#6f727b", "rule": "#dcdcd8", "card": "#f6f6f2"}
DARK = {"paper": "#15161a", "ink": "#ececea", "faint": "#9a9da6", "rule": "#34363d", "card": "#1d1f24"}
DARK_COLOURS = ("#5aaee8", "#f2b63f", "#34c79c", "#e3a3ca", "#f08a4b", "#93d3f7", "#cbb838")
"""The colours of the figures, lifted for dark paper."""


def _variables(named: dict[str, str], colours: tuple[str, ...]) -> str:
    pairs = [*named.items(), *((f"c{i}", colour) for i, colour in enumerate(colours))]
    return ":root {" + "".join(f" --{name}: {colour};" for name, colour in pairs) + " }\n"


LAYOUT = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue",
  "DejaVu Sans", Arial, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 76rem; margin: 0 auto; padding: 2.2rem clamp(.9rem, 4vw, 2.6rem) 4rem; }
main > p, main > ul { max-width: 54rem; }
h1 { margin: 0 0 1.2rem; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { margin: 2.9rem 0 .7rem; padding-top: 1.1rem; border-top: 1px solid var(--rule); font-size: 1.25rem; letter-spacing: -.01em; }
h1 + h2 { margin-top: 0; padding-top: 0; border: 0; }
h3 { margin: 1.7rem 0 .5rem; font-size: 1rem; }
p { margin: .5rem 0; }
ul { margin: .5rem 0; padding-left: 1.15rem; }
li { margin: .18rem 0; overflow-wrap: anywhere; }
.note, figcaption { color: var(--faint); font-size: .87rem; line-height: 1.45; }
.answer { margin: 1rem 0; padding: .95rem 1.2rem; background: var(--card); border-left: 4px solid var(--kind); border-radius: 0 6px 6px 0; }
.answer { --kind: var(--faint); } .better { --kind: var(--c0); } .worse { --kind: var(--c4); }
.answer header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .2rem .8rem; }
.answer h3 { margin: 0; font-size: 1.1rem; overflow-wrap: anywhere; }
.badge { padding: .05rem .6rem; border: 1px solid var(--kind); border-radius: 1rem; color: var(--kind);
  font-size: .84rem; font-weight: 600; }
.sentence, .conclusion { max-width: 62rem; }
.conclusion { font-weight: 600; }
summary { cursor: pointer; font-size: .9rem; color: var(--faint); width: fit-content; }
details { margin: .5rem 0; }
.answer ul { font-size: .92rem; }
.table { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .86rem; }
th, td { padding: .26rem .62rem .26rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--faint); font-weight: 500; vertical-align: bottom; }
.words { text-align: left; }
.strong td:first-child { font-weight: 600; }
.picture { margin: 1.2rem 0; overflow-x: auto; }
.picture svg { display: block; width: 100%; min-width: 42rem; height: auto; }
.picture svg text { font-family: inherit !important; }
pre { padding: .8rem 1rem; background: var(--card); border-radius: 6px; overflow-x: auto; font-size: .86rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
:focus-visible { info: 2px solid var(--c0); info-offset: 2px; }
@media print { main { max-width: none; } details { display: block; } }
"""
STYLE = (
    ":root { color-scheme: light dark; }\n"
    + _variables(LIGHT, COLOURS)
    + "@media (prefers-color-scheme: dark) {\n"
    + _variables(DARK, DARK_COLOURS)
    + "}\n"
    + LAYOUT
)


POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is fetched and nothing runs; the pictures have their colours in attributes of their own."""


def page(blocks: Sequence[Block], title: str) -> str:
    """The whole file."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_words(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{_all(blocks)}
</main>
</body>
</html>
"""


def _all(blocks: Sequence[Block]) -> str:
    return "\n".join(map(_block, blocks))


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{_words(block.words)}</h{block.level}>"
        case Paragraph():
            return f"<p{' class=note' if block.note else ''}>{_words(block.words)}</p>"
        case Bullets():
            return _bullets(block.items)
        case Answer():
            return _answer(block)
        case Table():
            return _table(block)
        case Picture():
            caption = _words(block.caption)
            return f'<figure class="picture">{inline(block.svg, caption)}<figcaption>{caption}</figcaption></figure>'
        case Code():
            lines = "\n".join(map(_words, block.lines))
            return f"<pre><code>{lines}</code></pre>"
        case Folded():
            return f"<details><summary>{_words(block.words)}</summary>\n{_all(block.blocks)}\n</details>"


def _bullets(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_words(item)}</li>' for item in items)}</ul>" if items else ""


def _answer(answer: Answer) -> str:
    conclusion = f'<p class="conclusion">{_words(answer.conclusion)}</p>' if answer.conclusion else ""
    why = f"<details open><summary>What its controls say</summary>{_bullets(answer.reasons)}</details>" if answer.reasons else ""
    title = f'<h3>{_words(answer.name)}</h3><span class="badge">{_words(answer.badge)}</span>'
    return f"""<section class="answer {answer.kind}">
<header>{title}<span class="note">{_words(answer.description)}</span></header>
<p class="sentence">{_words(answer.sentence)}</p>
{conclusion}{why}
</section>"""


def _table(table: Table) -> str:
    def cell(column: int, words: str, tag: str) -> str:
        return f"<{tag}{' class=words' if column < table.words else ''}>{_words(words)}</{tag}>"

    head = "".join(cell(column, words, "th") for column, words in enumerate(table.columns))
    rows = "\n".join(
        f"<tr{' class=strong' if i in table.strong else ''}>{''.join(cell(column, words, 'td') for column, words in enumerate(row))}</tr>"
        for i, row in enumerate(table.rows)
    )
    return f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'


def _words(words: str) -> str:
    return escape(plain(" ".join(words.split())))
