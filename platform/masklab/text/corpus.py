"""A text as tokens, split in two, in one Arrow IPC file that is mapped into memory and never unpickled.

The file has one column, `tokens`, and two record batches: the training split, then the validation split. Vocabulary, provenance
and fingerprint are in the schema's metadata.

Shapes: N tokens of a split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masklab.errors import DataError, one_line
from masklab.io.atomic_file import atomic_file
from masklab.text.labels import Labels
from masklab.text.rows import Rows, RowSource
from masklab.text.vocabulary import Vocabulary
from masklab.text.windows import Placement, Windows, evenly_spaced

FORMAT = "masklab corpus 1"


@dataclass(frozen=True)
class WindowRows:
    """Windows as rows without labels."""

    windows: Windows

    def take(self, seed: int, samples: NDArray[np.int64]) -> Rows:
        """The windows number `samples` (B,) of a run with this `seed`."""
        return Rows(self.windows.take(seed, samples))


@dataclass(frozen=True, eq=False)
class TokenCorpus:
    """`train` (N,) and `validation` (N,) tokens, read-only; `provenance` says where they come from."""

    train: NDArray[Any]
    validation: NDArray[Any]
    vocabulary: Vocabulary
    provenance: dict[str, str]

    def __post_init__(self) -> None:
        for split in ("train", "validation"):
            tokens: NDArray[Any] = getattr(self, split).view()
            assert tokens.ndim == 1 and tokens.dtype == self.vocabulary.dtype, f"{split}: {tokens.ndim} axes of {tokens.dtype}"
            tokens.flags.writeable = False
            object.__setattr__(self, split, tokens)

    @property
    def characters(self) -> dict[str, int]:
        return {"train": len(self.train), "validation": len(self.validation)}

    @property
    def labels(self) -> Labels | None:
        return None

    def training_rows(self, length: int, placement: Placement) -> RowSource:
        """Windows (B, length) of the training split. Raises DataError when it is shorter than one."""
        return WindowRows(Windows(self.train, length, placement, self.vocabulary))

    def validation_rows(self, length: int, count: int) -> Rows:
        """`count` windows (count, length) spread evenly over the validation split. Raises DataError when it is shorter than one."""
        return Rows(evenly_spaced(self.validation, length, count))

    def facts(self, block_size: int) -> dict[str, str]:
        return {"characters": f"{len(self.train) + len(self.validation):,}"}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary and the tokens of both splits; where they come from does not matter."""
        sha = hashlib.sha256(json.dumps([self.vocabulary.to_json(), len(self.train), len(self.validation)]).encode())
        for tokens in (self.train, self.validation):
            sha.update(np.ascontiguousarray(tokens))
        return sha.hexdigest()

    def write(self, path: Path) -> None:
        """Write the corpus to `path`, whole or not at all. Raises DataError when the place cannot be written."""
        import pyarrow as pa

        header = {
            "format": FORMAT,
            "vocabulary": json.dumps(self.vocabulary.to_json()),
            "provenance": json.dumps(self.provenance),
            "fingerprint": self.fingerprint,
        }
        column = pa.schema([pa.field("tokens", pa.from_numpy_dtype(self.vocabulary.dtype), nullable=False)])
        write_splits(path, header, [pa.record_batch([pa.array(tokens)], schema=column) for tokens in (self.train, self.validation)])

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the corpus at `path` into memory. Raises DataError when it is not a corpus, or does not match its fingerprint."""
        with reading(path, FORMAT, "a corpus") as (header, batches):
            train, validation = (batch.column("tokens").to_numpy(zero_copy_only=True) for batch in batches)
            corpus = cls(train, validation, Vocabulary.from_json(json.loads(header["vocabulary"])), json.loads(header["provenance"]))
            check_fingerprint(corpus.fingerprint, header)
        return corpus


SPLITS = 2


def write_splits(path: Path, header: Mapping[str, str], batches: Sequence[Any]) -> None:
    """Write the two record `batches`, which have one schema, whole or not at all. Raises DataError when the place cannot be written."""
    import pyarrow as pa

    schema = batches[0].schema.with_metadata(dict(header))
    with atomic_file(path) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))


@contextmanager
def reading(path: Path, kind: str, what: str) -> Iterator[tuple[dict[str, str], list[Any]]]:
    """The header and the two record batches of the file at `path`, whose format must be `kind`.

    Raises DataError, which calls it `what`, for whatever is found wrong with it, here or within.
    """
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        header = {key.decode(): value.decode() for key, value in (reader.schema.metadata or {}).items()}
        if header.get("format") != kind:
            raise DataError(f"format {header.get('format', 'unknown')!r}, not {kind!r}")
        if reader.num_record_batches != SPLITS:
            raise DataError(f"{reader.num_record_batches} record batches, not {SPLITS}")
        yield header, [reader.get_batch(i) for i in range(SPLITS)]
    except (DataError, OSError, ValueError, KeyError, AttributeError, AssertionError) as error:
        reason = one_line(error)
        raise DataError(f"{path}: cannot be read as {what} ({reason}); delete it, and it is prepared again") from error


def check_fingerprint(found: str, header: Mapping[str, str]) -> None:
    """Raises DataError when the content, whose fingerprint is `found`, is not what was written."""
    if found != header["fingerprint"]:
        raise DataError(f"its content does not match its fingerprint {header['fingerprint'][:12]}")
