"""A report's blocks as one HTML file that asks nothing of the network: style and pictures lie in it, and no script.

Whatever comes from a curriculum's file or a run's words is shown as signs (`unmasking_signs`) and escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from masklab.reporting.comparison.blocks import Answer, Block, Bullets, Code, Folded, Heading, Paragraph, Picture, Table
from masklab.reporting.comparison.comparison_pictures import inline
from masklab.reporting.comparison.comparison_style import STYLE
from masklab.reporting.unmasking.glyphs import plain

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
