"""The Arrow IPC file of a corpus: two record batches, the training split and then the validation split, and a header of plain texts.

It is mapped into memory, never unpickled, and read only if it is what its fingerprint says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from masklab.errors import DataError
from masklab.io.atomic_file import atomic_file

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
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as {what} ({reason}); delete it, and it is prepared again") from error


def check_fingerprint(found: str, header: Mapping[str, str]) -> None:
    """Raises DataError when the content, whose fingerprint is `found`, is not what was written."""
    if found != header["fingerprint"]:
        raise DataError(f"its content does not match its fingerprint {header['fingerprint'][:12]}")
