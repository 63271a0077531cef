"""A page on which to watch text being unmasked: one file that asks nothing of the network.

Whatever comes from texts, title or facts is shown as signs (`unmasking_signs`), escaped, and kept from acting as a program by the page's
own security policy, which admits no script but the one it was written with.

Shapes: B texts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from masklab.reporting.unmasking.colours import LEVELS
from masklab.reporting.unmasking.glyphs import MASKED, NEWLINE, caption, plain, row_signs, signs
from masklab.reporting.unmasking.player import SCRIPT, style
from masklab.sampling.trace import Snapshot, Trace
from masklab.text.vocabulary import Vocabulary


def record(trace: Trace, table: Sequence[str]) -> dict[str, Any]:
    """All that a page must know of `trace`, to be written as JSON; `table` holds the sign of every token.

    `signs`, of which the first is the masked one and the second the newline; `given` (B, ·), positions; `steps` and `captions` (S + 1);
    `changes` (S + 1, B), each a flat list (4 M) of: positions since the change before, number of the sign, confidence in percent, steps
    since it was written. The first are changes from all masked.
    """
    used = np.unique([snapshot.tokens for snapshot in trace.snapshots])
    shown = list(dict.fromkeys((MASKED, NEWLINE, *(table[token] for token in used))))
    number = {sign: i for i, sign in enumerate(shown)}
    numbers = np.array([number.get(sign, 0) for sign in table])
    last_step = trace.snapshots[-1].step
    return {
        "length": trace.given.shape[1],
        "levels": LEVELS,
        "signs": shown,
        "given": [np.flatnonzero(row).tolist() for row in trace.given],
        "steps": [snapshot.step for snapshot in trace.snapshots],
        "captions": [caption(snapshot, trace.mask_id, last_step) for snapshot in trace.snapshots],
        "changes": list(_changes(trace.snapshots, numbers)),
    }


def _changes(snapshots: Sequence[Snapshot], numbers: NDArray[np.int64]) -> Iterator[list[list[int]]]:
    """The changes of each snapshot, a list for each text; `numbers` gives each token that of its sign."""
    before = np.zeros((3, *snapshots[0].tokens.shape), np.int64)
    for snapshot in snapshots:
        percent = np.nan_to_num(np.round(100 * snapshot.confidence)).astype(np.int64)
        now = np.stack([numbers[snapshot.tokens], percent, snapshot.placed_at])
        age = np.where(snapshot.placed_at > 0, snapshot.step - snapshot.placed_at, 0)
        rows = zip((now != before).any(axis=0), now[0], percent, age, strict=True)
        yield [_flat(*row) for row in rows]
        before = now


def _flat(changed_T: NDArray[np.bool_], *values_T: NDArray[np.int64]) -> list[int]:
    """The distance of each changed position from the one before it, and the `values` there."""
    positions_M = np.flatnonzero(changed_T)
    columns = (np.diff(positions_M, prepend=0), *(value[positions_M] for value in values_T))
    flat: list[int] = np.stack(columns, axis=1).ravel().tolist()
    return flat


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
