"""What every job on a trained model shares: the model, notices, a numbered folder for its files, and the addition to its MLflow run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.text import Text

from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.config.jobs.predict import PredictConfig
from masklab.config.jobs.sample import SampleConfig
from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError
from masklab.inference.trained_model import Ability, TrainedModel
from masklab.io.atomic_file import write_text
from masklab.io.paths import absolute_path
from masklab.tracking.mlflow_run import milliseconds
from masklab.tracking.run_registration import add
from masklab.tracking.spool.record import Artifact, Metrics


@dataclass(frozen=True)
class Job:
    """A job on the model `trained`. It prints to `console`; `home` holds runs and corpora."""

    console: Console
    home: Path
    trained: TrainedModel
    tracking: StoreSettings

    @classmethod
    def open(cls, config: SampleConfig | EvaluateConfig | PredictConfig, home: Path, able: Ability | None = None) -> Self:
        """Load the model of `config`, and print which newer checkpoints were passed over. Raises as `TrainedModel.open` does."""
        trained = TrainedModel.open(config.checkpoint, home, config.system, able)
        job = cls(Console(highlight=False), home, trained, config.tracking)
        job.notice_passed_over(trained)
        return job

    def notice(self, words: str) -> None:
        self.console.print(Text.assemble(("notice  ", "bold yellow"), " ".join(words.split())), soft_wrap=True)

    def notice_passed_over(self, model: TrainedModel) -> None:
        """Print which checkpoints of the run of `model` were not used, and why."""
        for words in model.passed_over:
            self.notice(f"passing over checkpoint {words}; {model.checkpoint.path.name} is used")

    def print_title(self) -> None:
        self.console.print(Text(self.trained.describe(), style="bold"), soft_wrap=True)

    def print_row(self, name: str, value: str, width: int = 5) -> None:
        self.console.print(Text.assemble((f"{name:<{width}}  ", "dim"), value), soft_wrap=True)

    def output_folder(self, kind: str, output: str | None) -> AbstractContextManager[Path]:
        """A new numbered folder in `output`; by default in the folder `kind` of the model's run, or of the current folder."""
        run = self.trained.run
        parent = absolute_path(output, "output") if output else (run.path if run else Path.cwd()) / kind
        return numbered_folder(parent.absolute())

    def write_json(self, file: Path, values: Mapping[str, Any]) -> None:
        """Write `values` after the checkpoint and its iteration."""
        everything = {"checkpoint": str(self.trained.checkpoint.path), "iteration": self.trained.iteration, **values}
        write_text(file, json.dumps(everything, indent=1, ensure_ascii=False))

    def add_to_run(self, folder: Path, kind: str, metrics: Mapping[str, float]) -> None:
        """Add `metrics` and the files of `folder` to the MLflow run of the model's run, or print why that was not done."""
        if self.trained.run and self.tracking.enabled:
            now = milliseconds()
            points = Metrics(at=now, step=self.trained.iteration, values=dict(metrics))
            files = Artifact(at=now, path=str(folder), folder=f"{kind}/{folder.name}")
            if problem := add(self.trained.run, self.tracking, self.home, points, files):
                self.notice(problem)


@contextmanager
def numbered_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` with the next free number: 001, 002, ...; removed at the end if it is empty. Raises RunError."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
        folder = _first_free(parent, max(taken, default=0) + 1)
    except OSError as error:
        raise RunError(f"{parent}: no folder can be made there ({error.strerror or error}); give another with output=FOLDER") from error
    try:
        yield folder
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _first_free(parent: Path, number: int) -> Path:
    for n in count(number):
        folder = parent / f"{n:03d}"
        with suppress(FileExistsError):  # made by another job meanwhile
            folder.mkdir()
            return folder
    raise AssertionError
