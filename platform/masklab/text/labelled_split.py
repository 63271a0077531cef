"""Turns rows as they were found into a labelled corpus: cleaned, counted, numbered, and split so that both parts have every class.

The split depends on the texts and labels alone, not on their order in the file: rows are taken in the order of their hashes.

Shapes: R rows, S of them in a split.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklab.errors import DataError, shown
from masklab.text.labelled_corpus import LabelledCorpus, LabelledRows
from masklab.text.labels import Labels, LabelType, TokenNames, Unit, class_name, is_missing, number, token_names
from masklab.text.sources.origin import Example
from masklab.text.vocabulary import Vocabulary

Label = str | float | TokenNames
NAMED = 5
"""Labels that a message names."""
MOST_CLASSES = 1 << 16
"""Batches carry the number of a class in 16 bits."""


@dataclass(frozen=True)
class LabelledText:
    """A row that can be used."""

    place: str
    text: str
    label: Label
    order: bytes


@dataclass
class Cleaned:
    """The rows that can be used, in the order of their hashes, and how many were `read`, or left out and why."""

    rows: list[LabelledText] = field(default_factory=list)
    read: int = 0
    empty: int = 0
    unlabelled: int = 0
    repeated: int = 0

    @property
    def counts(self) -> dict[str, str]:
        """What is kept with the corpus."""
        names = ("read", "empty", "unlabelled", "repeated")
        return {f"rows_{name}": str(getattr(self, name)) for name in names}


def cleaned(examples: Iterable[Example], label_type: LabelType, where: str) -> Cleaned:
    """The rows of `where` that have a text and a label of the type asked for, each once. Raises DataError when one is of another type."""
    found, seen = Cleaned(), set[bytes]()
    for example in examples:
        found.read += 1
        if is_missing(example.text):
            found.empty += 1
            continue
        if not isinstance(example.text, str):
            raise DataError(
                f"{where}: {example.place}: the text column holds {shown(example.text)}, not a string; correct it or dataset.text_column"
            )
        label = _read(example, label_type, where)
        if label is None:
            found.unlabelled += 1
            continue
        order = _order(example.text, label, label_type)
        if order in seen:
            found.repeated += 1
            continue
        seen.add(order)
        found.rows.append(LabelledText(example.place, example.text, label, order))
    if not found.rows:
        raise DataError(
            f"{where}: no row can be used: {found.read:,} read, {found.empty:,} without text, {found.unlabelled:,} without label; correct "
            f"the file, dataset.text_column or dataset.label_column"
        )
    found.rows.sort(key=lambda row: row.order)
    return found


def _order(text: str, label: Label, label_type: LabelType) -> bytes:
    """A hash of a text and its label. Unless labels are classes, rows of one text are adjacent."""
    parts = [repr((text, label))] if label_type == "class" else [repr(text), repr(label)]
    return b"".join(hashlib.blake2b(part.encode(), digest_size=16).digest() for part in parts)


def _read(example: Example, label_type: LabelType, where: str) -> Label | None:
    try:
        match label_type:
            case "class":
                return class_name(example.label)
            case "number":
                return number(example.label)
            case "per_token":
                return token_names(example.label, example.text)
    except ValueError as error:
        raise DataError(f"{where}: {example.place}: the label {shown(example.label)} {error}") from None


@dataclass(frozen=True)
class Splitting:
    """How rows are divided: the share held out, and the most that are trained on (None: all that are not held out)."""

    validation_fraction: float
    max_rows: int | None

    def of(self, found: Cleaned, label_type: LabelType, where: str, provenance: dict[str, str]) -> LabelledCorpus:
        """The corpus of `found`. Raises DataError when its labels cannot be learnt, or a split would be empty."""
        train, validation = self._parts(found.rows, label_type, where)
        labels = _labels(train, validation, label_type, where)
        vocabulary = Vocabulary.of_text("".join(row.text for row in found.rows))
        parts = [_encoded(sorted(part, key=lambda row: _sort_key(row.label)), labels, vocabulary) for part in (train, validation)]
        return LabelledCorpus(parts[0], parts[1], vocabulary, labels, provenance | found.counts)

    def _parts(self, rows: Sequence[LabelledText], label_type: LabelType, where: str) -> tuple[list[LabelledText], list[LabelledText]]:
        """Training and validation rows: of each class the share asked for, to the nearest row, and one at least on either side."""
        strata: dict[Label, list[LabelledText]] = {}
        for row in rows:
            strata.setdefault(row.label if label_type == "class" else "", []).append(row)
        if label_type == "class":
            _require_classes(strata, where)
        if len(rows) < 2:
            raise DataError(f"{where}: one row only, and one must be held out; give more")
        train: list[list[LabelledText]] = []
        validation: list[LabelledText] = []
        for label in sorted(strata, key=_sort_key):
            held_out = min(max(round(len(strata[label]) * self.validation_fraction), 1), len(strata[label]) - 1)
            if label_type != "class":
                held_out = _between_texts(strata[label], held_out)
            validation += strata[label][:held_out]
            train.append(strata[label][held_out:])
        return self._limited(train, where), validation

    def _limited(self, strata: Sequence[Sequence[LabelledText]], where: str) -> list[LabelledText]:
        """The first rows of each class in proportion, by largest remainders, and one at least of each."""
        total = sum(map(len, strata))
        most = total if self.max_rows is None else min(self.max_rows, total)
        if most < len(strata):
            raise DataError(f"{where}: dataset.max_rows={most}: there are {len(strata)} classes, and each needs a row; raise it")
        shares = np.array([len(stratum) * most / total for stratum in strata])
        counts = np.maximum(np.floor(shares), 1).astype(int)
        while counts.sum() < most:
            counts[np.argmax(shares - counts)] += 1
        while counts.sum() > most:  # a class of one row has more than its share
            counts[np.argmin(np.where(counts > 1, shares - counts, np.inf))] -= 1
        return [row for stratum, count in zip(strata, counts, strict=True) for row in stratum[:count]]


def _between_texts(rows: Sequence[LabelledText], place: int) -> int:
    edges = [edge for edge in range(1, len(rows)) if rows[edge - 1].text != rows[edge].text]
    return min(edges, key=lambda edge: abs(edge - place), default=place)


def _require_classes(strata: dict[Label, list[LabelledText]], where: str) -> None:
    numbers = "; for numbers give dataset.label_type=number" if all(_is_number(name) for name in strata) else ""
    if len(strata) == 1:
        ((name, rows),) = strata.items()
        raise DataError(
            f"{where}: all {len(rows):,} rows are labelled {shown(name)}, and one class leaves nothing to learn; give two or more"
        )
    if single := sorted((rows[0] for rows in strata.values() if len(rows) == 1), key=lambda row: _sort_key(row.label)):
        names = ", ".join(f"{shown(row.label)} ({row.place})" for row in single[:NAMED])
        more = f" and {len(single) - NAMED:,} more" if len(single) > NAMED else ""
        raise DataError(
            f"{where}: of {len(strata):,} classes {len(single):,} have one row only: {names}{more}; each needs one to train on and one "
            f"held out: add rows or take these out{numbers}"
        )


def _labels(train: Sequence[LabelledText], validation: Sequence[LabelledText], label_type: LabelType, where: str) -> Labels:
    """What the labels of the training rows mean. Raises DataError when there is one alone, or validation rows have others."""
    match label_type:
        case "class":
            return _classes("rows", Counter(str(row.label) for row in train), where)
        case "number":
            values = np.array([row.label for row in train], np.float32).astype(np.float64)  # as they are kept
            if len(values) == 1 or values.std() == 0:
                raise DataError(f"{where}: every training row is labelled {values[0]:g}, which leaves nothing to learn; give other numbers")
            return Labels(mean=float(values.mean()), deviation=float(values.std()))
        case "per_token":
            counts = _token_classes(train)
            if len(counts) == 1:
                raise DataError(f"{where}: every character is labelled {shown(next(iter(counts)))}, and one class leaves nothing to learn")
            for row in validation:
                if unseen := _token_classes([row]).keys() - counts.keys():
                    raise DataError(
                        f"{where}: {row.place}: the label {shown(min(unseen))} is in rows that are held out and in none to train on; "
                        f"add rows with it, or take it out"
                    )
            return _classes("tokens", counts, where)


def _classes(of: Unit, counts: Counter[str], where: str) -> Labels:
    if len(counts) > MOST_CLASSES:
        raise DataError(
            f"{where}: {len(counts):,} classes, and {MOST_CLASSES:,} can be told apart; for numbers give dataset.label_type=number"
        )
    names = sorted(counts, key=_sort_key)
    return Labels(of, tuple(names), tuple(counts[name] for name in names))


def _token_classes(rows: Iterable[LabelledText]) -> Counter[str]:
    return Counter(name for row in rows if isinstance(row.label, tuple) for name in row.label if name is not None)


def _encoded(rows: Sequence[LabelledText], labels: Labels, vocabulary: Vocabulary) -> LabelledRows:
    numbers: dict[str | None, int] = {None: -1} | {name: i for i, name in enumerate(labels.names)}
    values: NDArray[Any]
    if labels.of == "tokens":
        values = np.array([numbers[name] for row in rows if isinstance(row.label, tuple) for name in row.label], np.int64)
    elif labels.is_number:
        values = np.array([row.label for row in rows], np.float32)
    else:
        values = np.array([numbers[str(row.label)] for row in rows], np.int64)
    offsets = np.cumsum([0, *(len(row.text) for row in rows)], dtype=np.int64)
    return LabelledRows(vocabulary.encode("".join(row.text for row in rows)), offsets, values)


def _sort_key(label: Label) -> tuple[int, float, str]:
    if isinstance(label, tuple):
        return 0, 0.0, ""
    return (0, float(label), str(label)) if _is_number(label) else (1, 0.0, str(label))


def _is_number(label: Label) -> bool:
    try:
        return not isinstance(label, tuple) and math.isfinite(float(label))
    except ValueError:
        return False
