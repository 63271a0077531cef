"""The driver of `jobs/predict.py`: a trained classifier labels the texts of a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from masklab.config.jobs.predict import PredictConfig
from masklab.errors import CheckpointError, ConfigError, DataError, RunError, shown
from masklab.inference.job import Job
from masklab.inference.trained_model import TrainedModel
from masklab.io.atomic_file import atomic_file
from masklab.io.paths import absolute_path
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.modes.token_labeller import TokenLabeller
from masklab.text.labelled_corpus import LabelledRows, lead_of, padded
from masklab.text.labels import Labels, is_missing
from masklab.text.sources.table import read_columns
from masklab.text.vocabulary import Vocabulary

UNREAD = "?"
"""The label of a character that the network has not read."""
DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Texts:
    """The texts of a file and their places in it; None for an empty cell. `unknown` characters were left out of `rows`."""

    places: Sequence[str]
    texts: Sequence[str | None]
    rows: LabelledRows
    unknown: int

    @classmethod
    def read(cls, file: Path, column: str, vocabulary: Vocabulary) -> Texts:
        """The column of `file`, without the characters that `vocabulary` lacks. Raises DataError when it cannot be read, or has no text."""
        found = [(place, values[0]) for place, values in read_columns(file, {"dataset.text_column": column})]
        for place, text in found:
            if not (is_missing(text) or isinstance(text, str)):
                raise DataError(f"{file}: {place}: the text column holds {shown(text)}, not a string; correct it or dataset.text_column")
        known = set(vocabulary.characters)
        kept = ["" if is_missing(text) else "".join(c for c in text if c in known) for _, text in found]
        if not any(kept):
            raise DataError(f"{file}: the column {column} has no text in the model's characters; correct dataset.text_column")
        offsets = np.cumsum([0, *map(len, kept)], dtype=np.int64)
        rows = LabelledRows(vocabulary.encode("".join(kept)), offsets, np.zeros(max(len(kept), int(offsets[-1])), np.int64))
        texts = [str(text) if rest else None for (_, text), rest in zip(found, kept, strict=True)]
        return cls([place for place, _ in found], texts, rows, sum(len(text) for text in texts if text) - len(rows.tokens))


def predict(config: PredictConfig, home: Path) -> int:
    """Predict as `config` says. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    output = _output(config.output)
    job = Job.open(config, home)
    trained = job.trained
    mode = trained.config.mode
    labels = mode.meaning(trained.labels) if isinstance(mode, SequenceClassifier) else trained.labels
    if labels is None:
        raise CheckpointError(
            f"checkpoint {trained.checkpoint.path} has mode.type={mode.type}, which predicts no labels; take a checkpoint "
            "of mode.type=sequence_classifier or token_labeller"
        )
    column = config.dataset.text_column or trained.config.dataset.text_column or "text"
    texts = Texts.read(absolute_path(config.dataset.path, "dataset.path"), column, trained.vocabulary)
    table = list(_table(trained, labels, texts, config.batch_size))
    with nullcontext(output) if output else job.output_folder("predictions", None) as place:
        file = place if output else place / "predictions.csv"
        with atomic_file(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
            # the writer does not treat a lone carriage return as the end of a line; most readers do
            has_returns = any("\r" in cell for row in table for cell in row)
            quoting: Literal[0, 1] = csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL
            csv.writer(out, delimiter=DELIMITERS[file.suffix.lower()], lineterminator="\n", quoting=quoting).writerows(table)
        if not output:
            job.add_to_run(place, "predictions", {})
    _report(job, labels, texts, file)
    return 0


def _output(output: str | None) -> Path | None:
    """The file to write. Raises ConfigError for one of another kind, and RunError when it exists."""
    if output is None:
        return None
    file = absolute_path(output, "output")
    if file.suffix.lower() not in DELIMITERS:
        raise ConfigError(f"output = {output}: the name must end in .csv or .tsv")
    if file.exists():
        raise RunError(f"output = {output}: already exists, and nothing is overwritten; give another name")
    return file


def _table(trained: TrainedModel, labels: Labels, texts: Texts, batch_size: int) -> Iterator[list[str]]:
    """The lines of the file: a header, then each text in its order, with empty cells where there is none."""
    mode, device = trained.config.mode, trained.precision.device
    assert isinstance(mode, SequenceClassifier | TokenLabeller)
    kept = [i for i, text in enumerate(texts.texts) if text is not None]
    inputs = padded(texts.rows, np.array(kept), trained.block_size, trained.vocabulary, labels.of).tokens
    with trained.precision.autocast():
        rows = zip(kept, mode.predictions(trained.model, inputs, batch_size, device), strict=True)
    if labels.of == "tokens":
        cells = {i: [_aligned(texts.texts[i] or "", row, labels.names, trained.vocabulary)] for i, row in rows}
    else:
        cells = {i: _cells(row, labels.names) for i, row in rows}
    probability = [] if labels.is_number or labels.of == "tokens" else ["probability"]
    yield ["place", "text", "label", *probability]
    for i, (place, text) in enumerate(zip(texts.places, texts.texts, strict=True)):
        yield [place, text or "", *cells.get(i, [""] * (1 + len(probability)))]


def _aligned(text: str, predicted: NDArray[np.float64] | NDArray[np.int64], names: Sequence[str], vocabulary: Vocabulary) -> str:
    """A label for each character of `text`; UNREAD for those that are unknown or beyond the block."""
    known, read = set(vocabulary.characters), iter(predicted[predicted >= 0])
    return " ".join(names[int(label)] if c in known and (label := next(read, None)) is not None else UNREAD for c in text)


def _cells(predicted: NDArray[np.float64] | NDArray[np.int64], names: Sequence[str]) -> list[str]:
    if not names:
        return [f"{predicted[0]:.9g}"]
    best = int(predicted.argmax())
    return [names[best], f"{predicted[best]:.4f}"]


def _report(job: Job, labels: Labels, texts: Texts, file: Path) -> None:
    trained = job.trained
    room = trained.block_size - lead_of(labels.of)
    empty, cut = sum(text is None for text in texts.texts), int((texts.rows.lengths > room).sum())
    if empty:
        job.notice(f"{empty:,} of {len(texts.texts):,} rows have no text, and get no label")
    if cut:
        job.notice(f"{cut:,} texts are longer than {room:,} characters, of which the first are read")
    if texts.unknown:
        job.notice(f"{texts.unknown:,} characters are unknown to {trained.name}, and left out")
    job.print_title()
    job.print_row("labelled", f"{len(texts.texts) - empty:,} texts", 8)
    job.print_row("file", str(file), 8)
