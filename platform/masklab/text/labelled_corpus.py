"""Texts with labels as rows of tokens, split in two, in one Arrow IPC file that is mapped into memory and never unpickled.

The file has two columns, `tokens` and `label`, and two record batches: the training split, then the validation split. Vocabulary,
labels, provenance and fingerprint are in the schema's metadata.

Shapes: R rows of a split, N tokens of all of them, B chosen rows, T positions of a block.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masklab.errors import DataError
from masklab.rng import permutation, root_key
from masklab.text.corpus import check_fingerprint, reading, write_splits
from masklab.text.labels import Labels, Unit, readable
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary
from masklab.text.windows import Placement

FORMAT = "masklab labelled corpus 1"
ROWS = 3_000_000
"""Number under which the order of rows is keyed, apart from windows, stages and validation pools."""
NAMED = 12
"""Classes that are named with their counts."""
EPOCHS_KEPT = 4
"""Orders remembered: a batch reads one epoch, or two at its edge, and several sources may share a process."""


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Row r has the tokens `tokens[offsets[r]:offsets[r + 1]]`, of `tokens` (N,) and `offsets` (R + 1,) int64.

    `labels` are (R,) int64 classes or (R,) float32 numbers of whole rows, or (N,) int64 classes of the tokens, -1 where one has none.
    """

    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32]

    def __post_init__(self) -> None:
        for name in ("tokens", "offsets", "labels"):
            array: NDArray[Any] = getattr(self, name).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        assert self.offsets.dtype == np.int64 and len(self.offsets) and self.offsets[0] == 0 and self.offsets[-1] == len(self.tokens)
        assert self.labels.dtype in (np.int64, np.float32)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)


def padded(rows: LabelledRows, chosen: NDArray[np.int64], length: int, vocabulary: Vocabulary, of: Unit) -> Rows:
    """The rows `chosen` (B,) as (B, T): [CLS] where a whole row has one label, then the text, cut or filled up with padding."""
    lead = lead_of(of)
    places = np.arange(length - lead)
    inside = places < rows.lengths[chosen][:, None]  # (B, T - lead)
    source = (rows.offsets[chosen][:, None] + places)[inside]
    tokens = np.full((len(chosen), length), vocabulary.pad_id, vocabulary.dtype)
    tokens[:, :lead] = vocabulary.cls_id
    tokens[:, lead:][inside] = rows.tokens[source]
    if of == "rows":
        return Rows(tokens, rows.labels[chosen])
    labels = np.full(tokens.shape, -1, np.int64)
    labels[inside] = rows.labels[source]
    return Rows(tokens, labels)


def lead_of(of: Unit) -> int:
    """Special tokens before a text: [CLS] where the whole has one label."""
    return 1 if of == "rows" else 0


@dataclass(frozen=True, eq=False)
class LabelledCorpus:
    """`train` and `validation` rows, what their `labels` mean, and where they come from."""

    train: LabelledRows
    validation: LabelledRows
    vocabulary: Vocabulary
    labels: Labels
    provenance: dict[str, str]

    def __post_init__(self) -> None:
        for rows in (self.train, self.validation):
            assert rows.tokens.dtype == self.vocabulary.dtype
            assert len(rows.labels) == (len(rows) if self.labels.of == "rows" else len(rows.tokens))
            assert rows.labels.dtype == (np.float32 if self.labels.is_number else np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary, the labels' meaning and the rows of both splits; where they come from does not matter."""
        head = [self.vocabulary.to_json(), self.labels.to_json(), len(self.train), len(self.validation)]
        sha = hashlib.sha256(json.dumps(head).encode())
        for rows in (self.train, self.validation):
            for array in (rows.offsets, rows.tokens, rows.labels):
                sha.update(np.ascontiguousarray(array))
        return sha.hexdigest()

    def training_rows(self, length: int, placement: Placement = "anywhere") -> ShuffledRows:
        """The rows as (B, length), in epochs, each in an order of its own. Raises DataError when `length` leaves no room for text."""
        return ShuffledRows(self, self._checked(length))

    def validation_rows(self, length: int, count: int) -> Rows:
        """`count` rows at even distances in the validation split, which is sorted by label; all of them when they are not as many.

        Raises DataError when `length` leaves no room for text.
        """
        chosen = np.arange(len(self.validation))
        if count < len(chosen):
            chosen = np.floor(np.linspace(0, len(chosen) - 1, count)).astype(np.int64)
        return self.padded(self.validation, chosen, self._checked(length))

    def cut_rows(self, length: int) -> int:
        """How many rows of both splits are longer than `length` has room for, and are cut."""
        return sum(int((rows.lengths > length - lead_of(self.labels.of)).sum()) for rows in (self.train, self.validation))

    @property
    def counts(self) -> str:
        """What became of the rows that were read, in words."""
        number = {name: int(self.provenance.get(f"rows_{name}", 0)) for name in ("read", "empty", "unlabelled", "repeated")}
        reasons = (("without text", number["empty"]), ("without label", number["unlabelled"]), ("repeated", number["repeated"]))
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in reasons if count)
        return f"{number['read']:,} read" + (f", left out: {left_out}" if left_out else ", all used")

    def facts(self, block_size: int) -> dict[str, str]:
        labels = self.labels
        meaning = f"mean {labels.mean:.6g}, deviation {labels.deviation:.6g}"
        if not labels.is_number:
            pairs = sorted(zip(labels.counts, labels.names, strict=True), reverse=True)
            shown = ", ".join(f"{readable(name)} {count:,}" for count, name in pairs[:NAMED])
            more = f" and {len(pairs) - NAMED:,} more" if len(pairs) > NAMED else ""
            meaning = f"{len(pairs):,} classes of {labels.of}: {shown}{more}"
        cut = self.cut_rows(block_size)
        return {"rows": f"{self.counts}; {cut:,} are longer than a block of {block_size:,} and are cut", "labels": meaning}

    @property
    def characters(self) -> dict[str, int]:
        return {"train": len(self.train.tokens), "validation": len(self.validation.tokens)}

    def padded(self, rows: LabelledRows, chosen: NDArray[np.int64], length: int) -> Rows:
        """The rows `chosen` (B,) as (B, length)."""
        return padded(rows, chosen, length, self.vocabulary, self.labels.of)

    def _checked(self, length: int) -> int:
        if length <= lead_of(self.labels.of):
            raise DataError(f"training.block_size={length}: [CLS] and one character need a block of 2 at least")
        return length

    def write(self, path: Path) -> None:
        """Write the corpus to `path`, whole or not at all. Raises DataError when the place cannot be written."""
        import pyarrow as pa

        header = {
            "format": FORMAT,
            "vocabulary": json.dumps(self.vocabulary.to_json()),
            "labels": json.dumps(self.labels.to_json()),
            "provenance": json.dumps(self.provenance),
            "fingerprint": self.fingerprint,
        }
        batches = [pa.record_batch(self._columns(rows), ["tokens", "label"]) for rows in (self.train, self.validation)]
        write_splits(path, header, batches)

    def _columns(self, rows: LabelledRows) -> list[Any]:
        import pyarrow as pa

        tokens = pa.LargeListArray.from_arrays(rows.offsets, pa.array(rows.tokens))
        labels = pa.array(rows.labels)
        return [tokens, labels if self.labels.of == "rows" else pa.LargeListArray.from_arrays(rows.offsets, labels)]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the corpus at `path` into memory. Raises DataError when it is not a labelled corpus, or does not match its fingerprint."""
        with reading(path, FORMAT, "a labelled corpus") as (header, batches):
            train, validation = map(_rows_of, batches)
            vocabulary = Vocabulary.from_json(json.loads(header["vocabulary"]))
            labels = Labels.from_json(json.loads(header["labels"]))
            corpus = cls(train, validation, vocabulary, labels, json.loads(header["provenance"]))
            check_fingerprint(corpus.fingerprint, header)
        return corpus


def _rows_of(batch: Any) -> LabelledRows:
    import pyarrow as pa

    tokens, label = batch.column("tokens"), batch.column("label")
    flat = label.values if isinstance(label, pa.LargeListArray) else label
    return LabelledRows(*(array.to_numpy(zero_copy_only=True) for array in (tokens.values, tokens.offsets, flat)))


@dataclass(frozen=True, eq=False)
class ShuffledRows:
    """The training rows of `corpus`, each once in an epoch: row number `e * R + i` of a run is the i-th of epoch e's order."""

    corpus: LabelledCorpus
    length: int

    def take(self, seed: int, samples: NDArray[np.int64]) -> Rows:
        """The rows number `samples` (B,) of a run with this `seed`."""
        rows = self.corpus.train
        epochs, places = np.divmod(np.asarray(samples, np.int64), len(rows))
        chosen = np.empty_like(places)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            chosen[mine] = _order(seed, int(epoch), len(rows))[places[mine]]
        return self.corpus.padded(rows, chosen, self.length)


@lru_cache(maxsize=EPOCHS_KEPT)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    order = permutation(root_key(seed, ROWS, epoch), count)
    order.flags.writeable = False
    return order
