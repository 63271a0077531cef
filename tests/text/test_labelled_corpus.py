"""Labelled rows: split by class whatever their order, padded to a block, read once an epoch, and kept in one verified file."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.errors import DataError
from masklab.text.labelled_corpus import LabelledCorpus, LabelledRows
from masklab.text.labelled_split import Splitting, cleaned
from masklab.text.labels import LabelType, class_name, number, token_names
from masklab.text.sources.origin import Example

CLASSES = {"cat": 40, "dog": 20, "emu": 5, "fox": 2}


def examples(counts: dict[str, int] = CLASSES) -> list[Example]:
    return [Example(f"row {i}", f"{name} number {i}" + "!" * (i % 7), name) for name, n in counts.items() for i in range(n)]


def corpus_of(rows: list[Example], label_type: LabelType = "class", fraction: float = 0.2, max_rows: int | None = None) -> LabelledCorpus:
    found = cleaned(rows, label_type, "here")
    return Splitting(fraction, max_rows).of(found, label_type, "here", {"source": "test"})


def texts(corpus: LabelledCorpus, rows: LabelledRows) -> list[str]:
    return [corpus.vocabulary.decode(rows.tokens[a:b]) for a, b in zip(rows.offsets, rows.offsets[1:], strict=False)]


def by_class(corpus: LabelledCorpus, rows: LabelledRows) -> dict[str, int]:
    return dict(Counter(corpus.labels.names[label] for label in rows.labels))


def test_each_class_gives_its_share_and_at_least_one_to_either_side() -> None:
    corpus = corpus_of(examples())
    assert by_class(corpus, corpus.validation) == {"cat": 8, "dog": 4, "emu": 1, "fox": 1}
    assert by_class(corpus, corpus.train) == {"cat": 32, "dog": 16, "emu": 4, "fox": 1}
    every = texts(corpus, corpus.train) + texts(corpus, corpus.validation)
    assert sorted(every) == sorted(example.text for example in examples())
    names = [corpus.labels.names[label] for label in (*corpus.train.labels, *corpus.validation.labels)]
    assert all(text.startswith(name) for text, name in zip(every, names, strict=True))


def test_what_is_told_of_its_length_is_characters_and_not_rows() -> None:
    corpus = corpus_of(examples())
    counted = {"train": corpus.train, "validation": corpus.validation}
    assert corpus.characters == {split: sum(map(len, texts(corpus, rows))) for split, rows in counted.items()}


def test_the_order_of_the_file_does_not_matter() -> None:
    shuffled = examples()
    random.Random(1).shuffle(shuffled)
    assert corpus_of(shuffled).fingerprint == corpus_of(examples()).fingerprint


def test_fewer_training_rows_keep_proportions_the_held_out_rows_and_the_vocabulary() -> None:
    whole, some, few = corpus_of(examples()), corpus_of(examples(), max_rows=20), corpus_of(examples(), max_rows=10)
    assert by_class(some, some.train) == {"cat": 12, "dog": 6, "emu": 1, "fox": 1}
    assert by_class(few, few.train) == {"cat": 6, "dog": 2, "emu": 1, "fox": 1}
    assert set(texts(few, few.train)) < set(texts(some, some.train)) < set(texts(whole, whole.train))
    assert texts(few, few.validation) == texts(whole, whole.validation)
    assert few.vocabulary == whole.vocabulary
    assert len(corpus_of(examples(), max_rows=1000).train) == len(whole.train)
    with pytest.raises(DataError, match=r"dataset\.max_rows=3: there are 4 classes"):
        corpus_of(examples(), max_rows=3)


@settings(deadline=None)
@given(st.lists(st.integers(2, 60), min_size=2, max_size=8), st.floats(0.01, 0.99), st.integers(1, 200))
def test_any_split_has_every_class_on_both_sides_and_as_many_rows_as_asked(sizes: list[int], fraction: float, most: int) -> None:
    counts = {f"class {i}": size for i, size in enumerate(sizes)}
    most = max(most, len(counts))
    corpus = corpus_of(examples(counts), fraction=fraction, max_rows=most)
    held_out = by_class(corpus, corpus.validation)
    assert set(held_out) == set(by_class(corpus, corpus.train)) == set(counts)
    assert all(abs(held_out[name] - size * fraction) <= 1 for name, size in counts.items() if 1 <= size * fraction <= size - 1)
    assert len(corpus.train) == min(most, sum(counts.values()) - sum(held_out.values()))


def test_rows_that_cannot_be_used_are_counted() -> None:
    odd = [Example("", None, "cat"), Example("", " \n", "cat"), Example("", "text", None), Example("", "text", " "), examples()[0]]
    corpus = corpus_of(examples() + odd)
    assert {key: value for key, value in corpus.provenance.items() if key.startswith("rows_")} == {
        "rows_read": "72",
        "rows_empty": "2",
        "rows_unlabelled": "2",
        "rows_repeated": "1",
    }
    assert corpus.counts == "72 read, left out: 2 without text, 2 without label, 1 repeated"
    assert corpus_of(examples()).counts == "67 read, all used"
    assert corpus.fingerprint == corpus_of(examples()).fingerprint


def test_a_whole_row_is_cls_text_and_padding_and_a_long_one_is_cut() -> None:
    corpus = corpus_of([Example("", "ab", "x"), Example("", "abcdefgh", "x"), Example("", "b", "y"), Example("", "c", "y")], fraction=0.5)
    v = corpus.vocabulary
    rows = {}
    for part in (corpus.train, corpus.validation):
        padded = corpus.padded(part, np.arange(len(part)), 5)
        for text, tokens, label in zip(texts(corpus, part), padded.tokens, padded.labels, strict=True):  # type: ignore[arg-type]
            rows[text] = (tokens.tolist(), corpus.labels.names[label])
    a, b, c, d = range(4)
    assert rows == {
        "ab": ([v.cls_id, a, b, v.pad_id, v.pad_id], "x"),
        "abcdefgh": ([v.cls_id, a, b, c, d], "x"),
        "b": ([v.cls_id, b, v.pad_id, v.pad_id, v.pad_id], "y"),
        "c": ([v.cls_id, c, v.pad_id, v.pad_id, v.pad_id], "y"),
    }
    assert [corpus.cut_rows(length) for length in (2, 3, 8, 9)] == [2, 1, 1, 0]
    with pytest.raises(DataError, match=r"training\.block_size=1"):
        corpus.training_rows(1)


def test_labels_of_tokens_stand_at_their_tokens_and_minus_one_elsewhere() -> None:
    rows = [Example("", "abc", ["x", None, "y"]), Example("", "cab", "y x"), Example("", "bb", "x y"), Example("", "ccc", "y x")]
    corpus = corpus_of([rows[0], Example("", "cab", "y x"), Example("", "bb", "x y")], "per_token", 0.4)
    seen = {}
    for part in (corpus.train, corpus.validation):
        padded = corpus.padded(part, np.arange(len(part)), 4)
        assert padded.labels is not None and padded.labels.dtype == np.int64
        seen |= dict(zip(texts(corpus, part), zip(padded.tokens.tolist(), padded.labels.tolist(), strict=True), strict=True))
    pad = corpus.vocabulary.pad_id
    assert corpus.labels.names == ("x", "y")
    assert seen == {
        "abc": ([0, 1, 2, pad], [0, -1, 1, -1]),
        "cab": ([2, 0, 1, pad], [1, -1, 0, -1]),
        "bb": ([1, 1, pad, pad], [0, 1, -1, -1]),
    }
    assert corpus.training_rows(1).take(0, np.arange(2)).tokens.shape == (2, 1)


def test_numbers_keep_their_scale_and_are_split_without_regard_to_it() -> None:
    corpus = corpus_of([Example("", f"text {i}", str(i / 4)) for i in range(100)], "number")
    assert corpus.labels.is_number
    assert (len(corpus.train), len(corpus.validation)) == (80, 20)
    assert corpus.labels.mean == pytest.approx(corpus.train.labels.mean())
    assert corpus.labels.deviation == pytest.approx(corpus.train.labels.std())
    assert sorted((*corpus.train.labels, *corpus.validation.labels)) == [i / 4 for i in range(100)]


@pytest.mark.parametrize("fraction", [0.1, 0.13, 0.5, 0.87])
def test_a_text_with_several_numbers_is_on_one_side(fraction: float) -> None:
    rows = [Example("", f"text {i // 4}", i % 4 + i) for i in range(80)]
    corpus = corpus_of(rows, "number", fraction)
    assert not set(texts(corpus, corpus.train)) & set(texts(corpus, corpus.validation))
    assert abs(len(corpus.validation) - round(80 * fraction)) <= 2
    alike = corpus_of([Example("", "text", i) for i in range(10)], "number", 0.3)
    assert (len(alike.train), len(alike.validation)) == (7, 3)


def test_a_label_is_told_in_a_line_that_no_terminal_obeys() -> None:
    rows = [Example("", f"text {i}", ("a\x1b[2J\nb", "x" * 100)[i % 2]) for i in range(20)]
    assert corpus_of(rows).facts(16)["labels"] == f"2 classes of rows: {'x' * 39}… 8, a\ufffd[2J b 8"


def test_an_epoch_reads_every_row_once_in_an_order_of_its_own() -> None:
    corpus = corpus_of(examples())
    source, count = corpus.training_rows(20), len(corpus.train)
    whole = corpus.padded(corpus.train, np.arange(count), 20)
    epochs = [source.take(7, np.arange(count) + e * count) for e in range(2)]
    for epoch in epochs:
        assert epoch.labels is not None and whole.labels is not None
        pairs = [sorted([*row, label] for row, label in zip(r.tokens.tolist(), r.labels.tolist(), strict=True)) for r in (epoch, whole)]  # type: ignore[union-attr]
        assert pairs[0] == pairs[1]
    assert not np.array_equal(epochs[0].tokens, epochs[1].tokens)
    assert not np.array_equal(epochs[0].tokens, source.take(8, np.arange(count)).tokens)
    across = np.array([count + 3, 2, count - 1, count])
    np.testing.assert_array_equal(source.take(7, across).tokens, np.concatenate([e.tokens for e in epochs])[across])


def test_some_held_out_rows_have_all_classes_in_proportion() -> None:
    corpus = corpus_of(examples({"cat": 100, "dog": 60, "emu": 40}), fraction=0.5)
    labels = corpus.validation_rows(10, 20).labels
    assert labels is not None
    assert np.bincount(labels).tolist() == [10, 6, 4]
    assert len(corpus.validation_rows(10, 1000)) == len(corpus.validation) == 100


@pytest.mark.parametrize("label_type", ["class", "number", "per_token"])
def test_a_corpus_is_the_same_after_it_is_kept(tmp_path: Path, label_type: LabelType) -> None:
    label = {"class": lambda i: "ab"[i % 2], "number": float, "per_token": lambda i: ["a", "b", None, "b"]}[label_type]
    corpus = corpus_of([Example("", f"é{i:03}", label(i)) for i in range(30)], label_type)
    corpus.write(tmp_path / "c.arrow")
    kept = LabelledCorpus.open(tmp_path / "c.arrow")
    assert (kept.fingerprint, kept.labels, kept.provenance) == (corpus.fingerprint, corpus.labels, corpus.provenance)
    assert texts(kept, kept.validation) == texts(corpus, corpus.validation)
    np.testing.assert_array_equal(kept.train.labels, corpus.train.labels)
    assert not kept.train.tokens.flags.writeable


def test_a_file_that_was_changed_or_is_another_is_refused(tmp_path: Path, corpus: object) -> None:
    path = tmp_path / "c.arrow"
    made = corpus_of(examples())
    made.write(path)
    content = path.read_bytes()
    tokens = made.train.tokens.tobytes()
    for other in (b"", content[:-20], content.replace(tokens, tokens[::-1]), content.replace(b"emu", b"gnu")):
        assert other != content
        path.write_bytes(other)
        with pytest.raises(DataError, match="cannot be read as a labelled corpus"):
            LabelledCorpus.open(path)
    corpus.write(path)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="not 'masklab labelled corpus 1'"):
        LabelledCorpus.open(path)


@pytest.mark.parametrize(
    ("value", "name"), [(" up ", "up"), (3, "3"), (2.5, "2.5"), (True, "True"), (None, None), ("  ", None), (float("nan"), None)]
)
def test_a_class_is_named_by_whatever_stands_in_its_cell(value: object, name: str | None) -> None:
    assert class_name(value) == name


@pytest.mark.parametrize(
    ("value", "read"), [("1.5", 1.5), (" -2e3 ", -2000), (7, 7), ("", None), (None, None), ("nan", None), (float("nan"), None)]
)
def test_a_number_is_read(value: object, read: float | None) -> None:
    assert number(value) == read


@pytest.mark.parametrize("value", ["x", "1_000", "1,5", True, [1], "inf", 10**400])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        number(value)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["A", 1, None], ("A", "1", None)),
        ("A B C", ("A", "B", "C")),
        ("AB ", ("A", "B", None)),
        ("long-name other x", ("long-name", "other", "x")),
        ([None, None, ""], None),
        (None, None),
    ],
)
def test_labels_of_characters_stand_in_a_list_or_a_string(value: object, names: tuple[str | None, ...] | None) -> None:
    assert token_names(value, "abc") == names


def test_classes_that_are_numbers_are_in_the_order_of_numbers() -> None:
    corpus = corpus_of([Example("", f"text {i}", str(i % 11)) for i in range(40)])
    assert corpus.labels.names == tuple(map(str, range(11)))


def test_more_classes_than_a_batch_can_carry_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklab.text.labelled_split.MOST_CLASSES", 3)
    with pytest.raises(DataError, match="4 classes, and 3 can be told apart"):
        corpus_of(examples())
