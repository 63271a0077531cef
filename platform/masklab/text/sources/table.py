"""Columns of a table of the user's: CSV, TSV, JSON lines or Parquet, compressed with gzip or not."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from masklab.errors import DataError, did_you_mean, one_line, shown
from masklab.text.sources.text_file import LARGEST_FILE, read_bytes, read_text

Row = tuple[str, list[Any]]
"""Where a row stands, such as `line 12`, and its values."""
LARGEST_FIELD = 1 << 24
"""Characters: beyond it a quote was left open."""
MOST_ROWS, ROWS_AT_ONCE = 1 << 25, 1 << 14
"""Rows of a Parquet file, and of its parts that are looked at before they are unpacked."""
COLUMNS_NAMED = 20
"""Columns that a message names."""


def read_columns(file: Path, wanted: Mapping[str, str]) -> Iterator[Row]:
    """Where each row of `file` stands, and its values in the columns `wanted`, which maps the key that asks to a column's name.

    Blank lines are passed over. Raises DataError for a file that cannot be read as what its name says, and for unknown columns.
    """
    ending = file.name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending not in READERS:
        raise DataError(
            f"{file}: the name must end in {', '.join(f'.{e}' for e in READERS)}, or one of these with .gz; rename or convert it"
        )
    if not file.is_file():
        problem = "is not a file" if file.exists() else "no such file"
        raise DataError(f"{file}: {problem}; correct dataset.path")
    return READERS[ending](file, wanted)


def _places(file: Path, columns: Sequence[str], wanted: Mapping[str, str]) -> list[int]:
    """Where the wanted columns stand. Raises DataError when one is not there, or a name stands twice."""
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{file}: the column {shown(twice[0])} occurs {columns.count(twice[0])} times; give each column a name of its own")
    for key, name in wanted.items():
        if name not in columns:
            there = ", ".join(shown(column, 40) for column in columns[:COLUMNS_NAMED])
            more = f" and {len(columns) - COLUMNS_NAMED} more" if len(columns) > COLUMNS_NAMED else ""
            raise DataError(f"{file}: {key}={name}: no such column{did_you_mean(name, columns)}; there are {there}{more}")
    return [columns.index(name) for name in wanted.values()]


def _comma_separated(file: Path, wanted: Mapping[str, str]) -> Iterator[Row]:
    """CSV with a header; semicolons separate where the header has some and no commas."""
    text = read_text(file)
    header = text.partition("\n")[0]
    return _of_lines(file, wanted, _quoted(file, text, ";" if ";" in header and "," not in header else ","))


def _tab_separated(file: Path, wanted: Mapping[str, str]) -> Iterator[Row]:
    """TSV with a header: quotes are signs like any other, unless the lines have one number of fields with them alone."""
    text = read_text(file)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if len({line.count("\t") for line in lines if line.strip()}) > 1:
        return _of_lines(file, wanted, _quoted(file, text, "\t"))
    fields = (line.split("\t") if line.strip() else [] for line in lines)
    return _of_lines(file, wanted, ((number, [_unquoted(f) for f in row]) for number, row in enumerate(fields, start=1)))


def _unquoted(field: str) -> str:
    inside = field[1:-1]
    is_quoted = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inside.replace('""', "")
    return inside.replace('""', '"') if is_quoted else field


def _quoted(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The first line and the fields of each record. Raises DataError where quotes are wrong."""
    csv.field_size_limit(LARGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    first = 1
    try:
        for row in reader:
            yield first, row
            first = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{file}: line {first:,}: cannot be read ({error}); is a quote left open? Inside a quoted field write quotes twice"
        ) from error


def _of_lines(file: Path, wanted: Mapping[str, str], records: Iterable[tuple[int, list[str]]]) -> Iterator[Row]:
    """Rows out of the `records` of a text file, of which the first names the columns."""
    columns: list[str] = []
    places: list[int] = []
    for line, fields in records:
        if not fields:
            continue
        if not columns:
            columns = [name.strip() for name in fields]
            places = _places(file, columns, wanted)
        elif len(fields) != len(columns):
            raise DataError(
                f"{file}: line {line:,} has {len(fields)} fields and the header {len(columns)}: {shown(fields[-1])} is its last; "
                f"put quotes around fields that hold the separator"
            )
        else:
            yield f"line {line:,}", [fields[place] for place in places]
    if not columns:
        raise DataError(f"{file}: the file is empty; give one with a header and rows")


def _json_lines(file: Path, wanted: Mapping[str, str]) -> Iterator[Row]:
    """One JSON object a line; a key that some objects lack is missing in these."""
    objects = [
        (f"line {number:,}", _json_object(file, number, line)) for number, line in enumerate(read_text(file).split("\n"), 1) if line.strip()
    ]
    if not objects:
        raise DataError(f"{file}: the file is empty; give one JSON object a line")
    _places(file, list(dict.fromkeys(key for _, values in objects for key in values)), wanted)
    return ((place, [values.get(name) for name in wanted.values()]) for place, values in objects)


def _json_object(file: Path, number: int, line: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _places(file, [key for key, _ in pairs], {})
        return dict(pairs)

    try:
        value = json.loads(line, object_pairs_hook=once)
        is_text = _is_text(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: line {number:,} is not JSON ({error}); give one object a line") from error
    if not is_text:
        raise DataError(f"{file}: line {number:,} has half of a surrogate pair, such as \\ud800, which is not a character; correct it")
    if not isinstance(value, dict):
        raise DataError(f'{file}: line {number:,} is {shown(value)}, not an object such as {{"text": ..., "label": ...}}')
    return value


def _is_text(value: Any) -> bool:
    """Whether all strings in a JSON `value` can be written as UTF-8: an escape can name half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet(file: Path, wanted: Mapping[str, str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = read_bytes(file)
    try:
        table = pq.ParquetFile(pa.BufferReader(content))
        _places(file, table.schema_arrow.names, wanted)
        columns = _parquet_columns(file, content, list(wanted.values()))
    except (pa.ArrowException, OSError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({one_line(error)}); write it again") from error
    return ((f"row {number:,}", list(values)) for number, values in enumerate(zip(*columns, strict=True), start=1))


def _parquet_columns(file: Path, content: bytes, names: Sequence[str]) -> list[list[Any]]:
    """The values of each column. Raises DataError for a file that stands for more than a memory holds: one value may be said many times."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(content), read_dictionary=list(names))
    rows = [table.metadata.row_group(i) for i in range(table.num_row_groups)]
    packed = sum(group.column(j).total_uncompressed_size for group in rows for j in range(group.num_columns))
    if table.metadata.num_rows > MOST_ROWS or packed > LARGEST_FILE:
        raise DataError(f"{file}: unpacks to {table.metadata.num_rows:,} rows and {packed:,} bytes, which is too much; split it")
    columns: list[list[Any]] = [[] for _ in names]
    unpacked = 0
    for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(names)):
        for name, values in zip(names, columns, strict=True):
            array = batch.column(name)
            unpacked += _unpacked_bytes(array)
            if unpacked > LARGEST_FILE:
                raise DataError(f"{file}: unpacks to more than {LARGEST_FILE:,} bytes; split it into several files")
            values.extend(array.to_pylist())
    return columns


def _unpacked_bytes(array: Any) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(array.type) or not pa.types.is_binary(array.dictionary.type) | pa.types.is_string(array.dictionary.type):
        return int(array.nbytes)
    return int(pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0)


READERS: dict[str, Callable[[Path, Mapping[str, str]], Iterator[Row]]] = {
    "csv": _comma_separated,
    "tsv": _tab_separated,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "parquet": _parquet,
}
"""How a file is read, by the end of its name."""
