"""A page on which to watch text being unmasked: one file that asks nothing of the network.

Whatever comes from texts, title or facts is shown as signs (`unmasking_signs`), escaped, and kept from acting as a program by the page's
own security policy, which admits no script but the one it was written with.

Shapes: B texts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rich.cells import cell_len

from masklab.reporting.unmasking.colours import LEVELS
from masklab.reporting.unmasking.glyphs import NEWLINE, plain, row_signs, signs
from masklab.reporting.unmasking.player import SCRIPT, style
from masklab.reporting.unmasking.unmasking_changes import record
from masklab.sampling.trace import Trace
from masklab.text.vocabulary import Vocabulary

RATES = (1, 2, 4, 8, 16, 32, 60)
"""Steps a second that can be chosen."""


def page(trace: Trace, vocabulary: Vocabulary, title: str, facts: Mapping[str, str]) -> str:
    """The whole HTML file. Without JavaScript it shows the last texts."""
    table = signs(vocabulary)
    shown = [row_signs(table, tokens) for tokens in trace.snapshots[-1].tokens.tolist()]
    contents = record(trace, table)
    look = style(max(cell_len(sign) for sign in contents["signs"]))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(look)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_escaped(title)}</title>
<style>{look}</style>
</head>
<body>
<h1>{_escaped(title)}</h1>
{_facts(facts)}
{_bar(trace)}
<main class="texts">
{_texts(shown)}
</main>
<p class="keys scripted" hidden>Space plays and pauses, ← and → go a step, Home and End to either end, c changes the colours.
Lines and words are those of the last texts.</p>
<script type="application/json" id="record">{_json(contents)}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _facts(facts: Mapping[str, str]) -> str:
    pairs = "\n".join(f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(words)}</dd></div>" for name, words in facts.items())
    return f'<dl class="facts">\n{pairs}\n</dl>'


def _texts(shown: Sequence[Sequence[str]]) -> str:
    """The texts (B, ·) as signs, each in a place of its own."""
    figures = []
    for row, text in enumerate(shown):
        name = f"<figcaption>text {row + 1}</figcaption>\n" if len(shown) > 1 else ""
        words = escape("".join(text)).replace(NEWLINE, f"{NEWLINE}\n")
        figures.append(f'<figure>{name}<pre class="text" id="text-{row}" role="img" aria-label="text {row + 1}">\n{words}</pre></figure>')
    return "\n".join(figures)


def _bar(trace: Trace) -> str:
    """Controls and legend, hidden until the script runs."""
    last = len(trace.snapshots) - 1
    rates = "".join(f'<option value="{rate}">{rate} steps/s</option>' for rate in RATES)
    ends = {"step": ("step 1", f"step {trace.snapshots[-1].step:,}"), "confidence": ("0 %", "100 %")}
    tiles = "".join(f'<i class="l{i}"></i>' for i in range(LEVELS))
    scales = "".join(
        f'<span class="scale" data-by="{by}">{low} <span aria-hidden="true">{tiles}</span> {high}</span>'
        for by, (low, high) in ends.items()
    )
    return f"""<div class="bar scripted" hidden>
<div class="row">
<button type="button" id="play">Play</button>
<select id="speed" aria-label="speed">{rates}</select>
<input type="range" id="step" min="0" max="{last}" value="{last}" aria-label="step">
<fieldset><legend>colour by</legend>
<label><input type="radio" name="by" value="step" checked>step written</label>
<label><input type="radio" name="by" value="confidence">confidence</label></fieldset>
</div>
<div class="row">
<span id="caption"></span>
<span class="key">{scales}
<span><span class="cell given">a</span> given</span> <span><span class="cell masked">&nbsp;</span> masked</span>
<span><span class="cell fresh">a</span> written in this step</span></span>
</div>
<div class="row"><span id="readout"></span></div>
</div>"""


def _policy(look: str) -> str:
    """No requests, and no style or script but these two."""
    return f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{_hash(look)}'; script-src '{_hash(SCRIPT)}'"


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _escaped(words: str) -> str:
    return escape(plain(words))


def _json(contents: dict[str, Any]) -> str:
    """ASCII, in which nothing reads as a tag."""
    text = json.dumps(contents, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
