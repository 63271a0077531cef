"""The page of text being unmasked: its record holds every step, and nothing of a text acts on the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import example, settings
from hypothesis import given as for_all
from hypothesis import strategies as st
from unmasking_story import drawn, told, vocabulary_of

from masklab.reporting.unmasking.glyphs import MASKED, NEWLINE, plain, signs
from masklab.reporting.unmasking.html import page
from masklab.sampling.trace import Snapshot, Trace
from masklab.text.vocabulary import Vocabulary

HOSTILE = (
    '</script><img src=x onerror="alert(1)"><!--<script>',
    "--></pre></title></style><svg onload=alert(1)>&lt;&amp;'\"`${1}\\",
    "\u2028\u2029\ud800\udfff\x00\x1b\x7f\ufeff\u202e\ud83d\ude00]]>",
)


class Elements(HTMLParser):
    """All that a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, list[str]] = {}
        self.comments: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "input"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.words.setdefault(self._open[-1], []).append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def parts(text: str) -> tuple[str, dict[str, Any], str]:
    """Style, record and script of a page."""
    elements = Elements(text)
    (style,), (record, script) = elements.words["style"], elements.words["script"]
    return style, json.loads(record), script


def rebuilt(record: Mapping[str, Any]) -> list[Snapshot]:
    """What the page's script makes of the record: each snapshot, its tokens the numbers of signs and its confidence in percent."""
    texts, length = len(record["given"]), record["length"]
    given = np.zeros((texts, length), bool)
    for row, positions in enumerate(record["given"]):
        given[row, positions] = True
    number, percent, placed_at = (np.zeros((texts, length), np.int64) for _ in range(3))
    out = []
    for step, changes in zip(record["steps"], record["changes"], strict=True):
        for row, flat in enumerate(changes):
            gaps, *values = np.array(flat, np.int64).reshape(-1, 4).T
            at = np.cumsum(gaps)
            number[row, at], percent[row, at], ages = values
            placed_at[row, at] = np.where((number[row, at] == 0) | given[row, at], 0, step - ages)
        out.append(Snapshot(step, number.copy(), placed_at.copy(), percent.astype(float), np.zeros(texts)))
    return out


def assert_same(trace: Trace, vocabulary: Vocabulary, record: Mapping[str, Any]) -> None:
    table = np.array(signs(vocabulary))
    frames = rebuilt(record)
    assert len(frames) == len(trace.snapshots)
    for frame, snapshot in zip(frames, trace.snapshots, strict=True):
        assert frame.step == snapshot.step
        np.testing.assert_array_equal(np.array(record["signs"])[frame.tokens], table[snapshot.tokens])
        np.testing.assert_array_equal(frame.placed_at, snapshot.placed_at)
        np.testing.assert_allclose(frame.confidence / 100, np.nan_to_num(snapshot.confidence), atol=0.005001)


@pytest.mark.parametrize("remasked", [0.0, 0.4])
def test_the_record_holds_every_step(remasked: float) -> None:
    text = "To be, or not to be:\nthat is the question."
    vocabulary = Vocabulary.of_text(text)
    trace = drawn(text, vocabulary, count=3, steps=20, given=5, remasked=remasked)
    _, record, _ = parts(page(trace, vocabulary, "title", {}))
    assert_same(trace, vocabulary, record)
    assert record["signs"][:2] == [MASKED, NEWLINE]
    assert record["given"] == [[0, 1, 2, 3, 4]] * 3
    assert record["captions"][-1] == "step 20 of 20 · 0 % masked · 20 network evaluations"


def test_steps_that_were_not_watched_may_be_missing() -> None:
    vocabulary = vocabulary_of("abc")
    whole = told([["___"], ["a__"], ["ab_"], ["abc"]], vocabulary)
    trace = Trace(whole.given, whole.mask_id, whole.snapshots[::3])
    assert_same(trace, vocabulary, parts(page(trace, vocabulary, "title", {}))[1])


def test_a_generation_that_changes_a_tenth_of_its_characters_in_each_step_stays_below_half_a_megabyte() -> None:
    rng, shape, vocabulary = np.random.default_rng(0), (4, 256), Vocabulary(tuple(map(chr, range(32, 97))))
    tokens, confidence, placed_at = np.full(shape, vocabulary.mask_id), np.full(shape, np.nan), np.zeros(shape, np.int64)
    snapshots = [Snapshot(0, tokens, placed_at, confidence, np.zeros(4))]
    for step in range(1, 257):
        changed, written = rng.random(shape) < 0.1, rng.random(shape) < 0.7
        tokens = np.where(changed, np.where(written, rng.integers(vocabulary.size, size=shape), vocabulary.mask_id), tokens)
        placed_at = np.where(changed, np.where(written, step, 0), placed_at)
        confidence = np.where(changed, np.where(written, rng.random(shape), np.nan), confidence)
        snapshots.append(Snapshot(step, tokens, placed_at, confidence, np.full(4, step)))
    trace = Trace(np.zeros(shape, bool), vocabulary.mask_id, tuple(snapshots))
    source = page(trace, vocabulary, "title", {})
    assert len(source) < 500_000
    assert_same(trace, vocabulary, parts(source)[1])


@settings(max_examples=40, deadline=None)
@for_all(st.text(st.characters(), min_size=1, max_size=40), st.text(st.characters(), max_size=20), st.integers(0, 3))
@example(HOSTILE[0], HOSTILE[0], 2)
@example(HOSTILE[1], HOSTILE[1], 0)
@example(HOSTILE[2], HOSTILE[2], 1)
def test_no_text_title_or_fact_changes_what_the_page_is_made_of(text: str, words: str, given: int) -> None:
    vocabulary = Vocabulary.of_text(text)
    trace = drawn(text, vocabulary, count=2, steps=3, given=given)
    hostile = page(trace, vocabulary, words, {words: words, "seed": words})
    tame_vocabulary = vocabulary_of("a")
    tame = Elements(
        page(told([["_", "_"], ["a", "a"], ["a", "a"], ["a", "a"]], tame_vocabulary), tame_vocabulary, "x", {"x": "x", "y": "x"})
    )
    hostile.encode("utf-8")
    elements = Elements(hostile)
    ours = [(tag, attributes) for tag, attributes in tame.tags if tag != "meta"]
    assert [(tag, attributes) for tag, attributes in elements.tags if tag != "meta"] == ours
    assert not elements.comments
    assert "".join(elements.words.get("h1", [])) == plain(words)
    assert "".join(elements.words.get("dt", [])) == plain(words) + "seed"
    shown = "".join("".join(elements.words["pre"]).split("\n"))
    last = ("".join(signs(vocabulary)[token] for token in row) for row in trace.snapshots[-1].tokens)
    assert shown == "".join(last)
    assert_same(trace, vocabulary, parts(hostile)[1])


@pytest.mark.parametrize("text", HOSTILE)
def test_the_record_is_plain_ascii_without_a_tag(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    source = page(drawn(text, vocabulary), vocabulary, "title", {})
    (record,) = re.findall('<script type="application/json" id="record">(.*?)</script>', source)
    assert record.isascii()
    assert not set("<>&") & set(record)


def test_the_page_admits_no_request_and_no_script_but_its_own() -> None:
    vocabulary = vocabulary_of("abc")
    source = page(told([["___"], ["abc"]], vocabulary), vocabulary, "title", {})
    style, _, script = parts(source)
    (policy,) = (attributes["content"] for tag, attributes in Elements(source).tags if "http-equiv" in attributes)
    digest = {name: base64.b64encode(hashlib.sha256(words.encode()).digest()).decode() for name, words in (("a", style), ("b", script))}
    assert policy == (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest['a']}'; script-src 'sha256-{digest['b']}'"
    )
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\bhref=|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", source)


def test_what_moves_is_hidden_until_the_script_runs() -> None:
    vocabulary = vocabulary_of("ab\n")
    elements = Elements(page(told([["a__"], ["a\nb"]], vocabulary, given="a"), vocabulary, "title", {}))
    hidden = [attributes["class"] for _, attributes in elements.tags if "hidden" in attributes]
    assert hidden == ["bar scripted", "keys scripted"]
    assert "".join(elements.words["pre"]) == f"\na{NEWLINE}\nb"
