"""The driver of `jobs/sample.py`: a trained model writes texts, which are printed and kept in a numbered folder."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from masklab.config.jobs.sample import SampleConfig, WatchSettings
from masklab.inference.job import Job
from masklab.inference.trained_model import TrainedModel
from masklab.io.atomic_file import write_text
from masklab.reporting.numbers import rate
from masklab.reporting.unmasking.colours import ColourBy
from masklab.reporting.unmasking.terminal import LiveUnmasking
from masklab.sampling.generation import Generation, Watcher, generate, start_of
from masklab.sampling.settings import SamplingSettings
from masklab.sampling.trace import Snapshot, Trace


def sample(config: SampleConfig, home: Path) -> int:
    """Generate as `config` says. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    job = Job.open(config, home, "writes")
    trained, console = job.trained, job.console
    settings = config.sampling.suited(trained.is_causal)
    _, given_T = start_of(settings, trained.vocabulary, trained.block_size)
    judge = trained.judge(settings, home)
    with job.output_folder("samples", config.output) as folder:
        snapshots: list[Snapshot] = []
        watchers: list[Watcher] = [snapshots.append] if config.watch.html or config.watch.gif else []
        live = _live(config.watch, settings, trained, given_T, console)
        with live or nullcontext(), trained.precision.autocast():
            if live:
                watchers.append(live)
            generation = generate(
                trained.model, trained.vocabulary, trained.block_size, settings, judge, together(*watchers) if watchers else None
            )
        samples = Samples(trained, settings, generation)
        if not live:
            _show(console, samples)
        texts = [f"{header(n, len(samples.texts))}\n{text}\n" for n, text in enumerate(samples.texts, 1)]
        write_text(folder / "samples.txt", "".join(texts))
        job.write_json(folder / "samples.json", samples.to_json())
        if snapshots:
            _write_views(config.watch, samples, snapshots, folder)
        for name, words in (samples.facts | {"files": str(folder)}).items():
            job.print_row(name, words, 19)
        job.add_to_run(folder, "samples", {})
    return 0


def together(*watchers: Watcher) -> Watcher:
    """A watcher that passes each snapshot to all of `watchers`, in their order."""

    def watch(snapshot: Snapshot) -> None:
        for watcher in watchers:
            watcher(snapshot)

    return watch


@dataclass(frozen=True)
class Samples:
    """Generated texts, with the model and settings that they come from."""

    trained: TrainedModel
    settings: SamplingSettings
    generation: Generation

    @cached_property
    def texts(self) -> list[str]:
        return self.generation.texts(self.trained.vocabulary)

    @property
    def facts(self) -> dict[str, str]:
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

    def to_json(self) -> dict[str, Any]:
        """The texts and what they took, as plain values; `written` (S, B) is the number of characters that each step wrote."""
        generation = self.generation
        return {
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
    return f"--- text {number} of {count} ---"


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


def _write_views(watch: WatchSettings, samples: Samples, snapshots: list[Snapshot], folder: Path) -> None:
    trained = samples.trained
    trace = Trace(samples.generation.given, trained.vocabulary.mask_id, tuple(snapshots))
    title = f"{trained.name}: {samples.settings.sampler.describe()}"
    if watch.html:
        from masklab.reporting.unmasking.html import page

        write_text(folder / "unmasking.html", page(trace, trained.vocabulary, title, samples.facts))
    if watch.gif:
        from masklab.reporting.unmasking.gif import write_animation

        write_animation(trace, trained.vocabulary, folder / "unmasking.gif", title=title, by=ColourBy(watch.colour_by))


def _decoding(settings: SamplingSettings) -> str:
    """Temperature, and each other setting that is not at its default."""
    names = {"temperature": "temperature", "top_k": "top-k", "top_p": "top-p", "repetition_penalty": "repetition penalty"}
    changed = [key for key in names if key == "temperature" or getattr(settings, key) != type(settings).model_fields[key].default]
    return ", ".join(f"{names[key]} {getattr(settings, key):g}" for key in changed)


def _counts(written_SB: NDArray[np.int64]) -> str:
    """The least and the most that a step wrote of a text, e.g. `1 to 5`; what was masked again counts anew."""
    least, most = (int(written_SB.min()), int(written_SB.max())) if written_SB.size else (0, 0)
    return f"{least}" if least == most else f"{least} to {most}"


def _beside(evaluations: float, steps: int) -> str:
    """Network evaluations beside the number of steps."""
    if abs(evaluations - steps) < 0.05:
        return "one for each step"
    return f"{abs(steps - evaluations):,.1f} {'fewer' if evaluations < steps else 'more'} than steps"
