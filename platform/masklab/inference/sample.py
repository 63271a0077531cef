"""The driver of `jobs/sample.py`: a trained model writes, the texts are shown and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from masklab.config.jobs.sample import SampleConfig, WatchSettings
from masklab.errors import CheckpointError, UserError
from masklab.inference.output_folder import numbered_folder
from masklab.inference.trained_model import TrainedModel
from masklab.io.atomic_file import write_text
from masklab.io.paths import absolute_path
from masklab.reporting.numbers import rate
from masklab.reporting.unmasking.colours import ColourBy
from masklab.reporting.unmasking.recorder import TraceRecorder, together
from masklab.reporting.unmasking.terminal import LiveUnmasking
from masklab.sampling.generation import Generation, Watcher, generate, start_of
from masklab.sampling.judge import DetectorJudge, FoldedJudge
from masklab.sampling.sampler import Judge
from masklab.sampling.settings import SamplingSettings
from masklab.tracking.run_registration import add
from masklab.training.settings import ComputeSettings


def sample(config: SampleConfig, home: Path) -> int:
    """Generate as `config` says. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    console = Console(highlight=False)
    trained = TrainedModel.open(config.checkpoint, home, config.system, "writes")
    tell_passed_over(console, trained)
    settings = config.sampling.suited(trained.is_causal)
    _, given_T = start_of(settings, trained.vocabulary, trained.block_size)
    judge = judge_of(settings, trained, home)
    parent = absolute_path(config.output, "output") if config.output else (trained.run.path if trained.run else Path.cwd()) / "samples"
    with numbered_folder(parent.absolute()) as folder:
        recorder = TraceRecorder() if config.watch.html or config.watch.gif else None
        live = _live(config.watch, settings, trained, given_T, console)
        with ExitStack() as stack, trained.precision.autocast():
            watchers: list[Watcher] = [watcher for watcher in (recorder, stack.enter_context(live) if live else None) if watcher]
            generation = generate(
                trained.model, trained.vocabulary, trained.block_size, settings, judge, together(*watchers) if watchers else None
            )
        samples = Samples(trained, settings, generation)
        if not live:
            _show(console, samples)
        samples.write(folder)
        if recorder:
            _write_views(config.watch, samples, recorder, folder)
        console.print(samples.block(folder), soft_wrap=True)
        place = f"samples/{folder.name}"
        if problem := add(trained.run, config.tracking, home, trained.iteration, {}, folder, place):
            tell(console, problem)
    return 0


def judge_of(settings: SamplingSettings, trained: TrainedModel, home: Path) -> Judge | None:
    """The network that judges written characters, for a sampler that asks for one. Raises CheckpointError for one of another text."""
    reference = getattr(settings.sampler, "detector_checkpoint", None)
    if reference is None:
        return None
    try:
        judge = TrainedModel.open(reference, home, ComputeSettings(device=trained.precision.device.type), "judges")
    except UserError as error:
        raise type(error)(f"sampling.detector_checkpoint: {str(error).removeprefix('checkpoint = ')}") from error
    if judge.vocabulary != trained.vocabulary:
        raise CheckpointError(
            f"sampling.detector_checkpoint = {reference!r}: {judge.name} has other characters than {trained.name}; take one of its text"
        )
    if judge.block_size < trained.block_size:
        raise CheckpointError(
            f"sampling.detector_checkpoint = {reference!r}: {judge.name} was trained on blocks of {judge.block_size} characters, "
            f"fewer than the {trained.block_size} of {trained.name}; take one of longer blocks"
        )
    kind = FoldedJudge if judge.config.mode.fills_masks else DetectorJudge
    return kind(judge.model, judge.vocabulary.mask_id, settings.num_samples, batch_size=settings.batch_size)


@dataclass(frozen=True)
class Samples:
    """Texts, and all that is told of them."""

    trained: TrainedModel
    settings: SamplingSettings
    generation: Generation

    @property
    def texts(self) -> list[str]:
        """The texts (B,)."""
        return self.generation.texts(self.trained.vocabulary)

    @property
    def facts(self) -> dict[str, str]:
        """What the closing block and the page say."""
        steps, evaluations = len(self.generation.written), float(self.generation.evaluations.mean())
        return {
            "model": self.trained.describe(),
            "sampler": f"{self.settings.sampler.describe()}, {_decoding(self.settings)}",
            "steps": f"{steps:,}, each of {_counts(self.generation.written)} characters a text",
            "network evaluations": f"{evaluations:,.1f} a text, {_beside(evaluations, steps)}",
            "network positions": f"{float(self.generation.positions.mean()):,.0f} a text",
            "speed": f"{rate(self.generation.characters_per_second)} characters/s",
            "seed": str(self.settings.seed),
        }

    def block(self, folder: Path) -> Text:
        """The last words, with where the files are."""
        rows = (self.facts | {"files": str(folder)}).items()
        return Text("\n").join(Text.assemble((f"{name:<21}", "dim"), words) for name, words in rows)

    def write(self, folder: Path) -> None:
        """Write `samples.txt` and `samples.json`."""
        count = len(self.texts)
        write_text(folder / "samples.txt", "".join(f"{header(n, count)}\n{text}\n" for n, text in enumerate(self.texts, 1)))
        write_text(folder / "samples.json", json.dumps(self.to_json(), indent=1, ensure_ascii=False))

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values: `written` has a row for each step and a column for each text."""
        generation = self.generation
        return {
            "checkpoint": str(self.trained.checkpoint.path),
            "iteration": self.trained.iteration,
            "seed": self.settings.seed,
            "settings": self.settings.model_dump(mode="json"),
            "texts": self.texts,
            "steps": len(generation.written),
            "written": generation.written.tolist(),
            "network_evaluations": generation.evaluations.tolist(),
            "network_positions": generation.positions.tolist(),
            "seconds": generation.seconds,
            "characters_per_second": generation.characters_per_second,
        }


def header(number: int, count: int) -> str:
    """The line above a text."""
    return f"--- text {number} of {count} ---"


def tell(console: Console, words: str) -> None:
    """Say what a person should know, in one line."""
    console.print(Text.assemble(("notice  ", "bold yellow"), " ".join(words.split())), soft_wrap=True)


def tell_passed_over(console: Console, trained: TrainedModel) -> None:
    """Say which checkpoints of the run were not taken."""
    for words in trained.passed_over:
        tell(console, f"passing over checkpoint {words}; {trained.checkpoint.path.name} is used")


def _show(console: Console, samples: Samples) -> None:
    """The texts, with their given characters in bold."""
    texts = samples.texts
    for row, words in enumerate(texts):
        text = Text(words)
        for position in np.flatnonzero(samples.generation.given[row]):
            text.stylize("bold", int(position), int(position) + 1)
        console.print(Text(header(row + 1, len(texts)), style="dim"))
        console.print(text, soft_wrap=True)


def _live(
    watch: WatchSettings, settings: SamplingSettings, trained: TrainedModel, given_T: np.ndarray[Any, Any], console: Console
) -> LiveUnmasking | None:
    if not (console.is_terminal if watch.live is None else watch.live):
        return None
    shown = console if console.is_terminal else Console(highlight=False, force_terminal=True)
    steps = getattr(settings.sampler, "steps", None)
    return LiveUnmasking(trained.vocabulary, given_T, settings.sampler.describe(), ColourBy(watch.colour_by), steps, shown)


def _write_views(watch: WatchSettings, samples: Samples, recorder: TraceRecorder, folder: Path) -> None:
    trained = samples.trained
    trace = recorder.trace(samples.generation.given, trained.vocabulary.mask_id)
    title = f"{trained.name}: {samples.settings.sampler.describe()}"
    if watch.html:
        from masklab.reporting.unmasking.html import page

        write_text(folder / "unmasking.html", page(trace, trained.vocabulary, title, samples.facts))
    if watch.gif:
        from masklab.reporting.unmasking.gif import write_animation

        write_animation(trace, trained.vocabulary, folder / "unmasking.gif", title=title, by=ColourBy(watch.colour_by))


def _decoding(settings: SamplingSettings) -> str:
    """Temperature, and whatever else is not its default."""
    fields = type(settings).model_fields
    rest: list[tuple[str, Callable[[], str]]] = [
        ("top_k", lambda: f"top-k {settings.top_k}"),
        ("top_p", lambda: f"top-p {settings.top_p:g}"),
        ("repetition_penalty", lambda: f"repetition penalty {settings.repetition_penalty:g}"),
    ]
    words = [f"temperature {settings.temperature:g}"]
    return ", ".join(words + [say() for name, say in rest if getattr(settings, name) != fields[name].default])


def _counts(written_SB: NDArray[np.int64]) -> str:
    """The least and the most that a step wrote of a text, e.g. `1 to 5`; what was masked again counts anew."""
    least, most = (int(written_SB.min()), int(written_SB.max())) if written_SB.size else (0, 0)
    return f"{least}" if least == most else f"{least} to {most}"


def _beside(evaluations: float, steps: int) -> str:
    """Network evaluations beside the number of steps."""
    if abs(evaluations - steps) < 0.05:
        return "one for each step"
    return f"{abs(steps - evaluations):,.1f} {'fewer' if evaluations < steps else 'more'} than steps"
