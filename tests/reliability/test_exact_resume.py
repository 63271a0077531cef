"""In every mode a run that is interrupted, by a kill or by a stop, ends with the same bits as one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from recipes import recipe

from masklab.curriculum.curriculum import Curriculum
from masklab.failpoints import listening
from masklab.modes.any_mode import AnyMode
from masklab.sampling.settings import SamplingSettings
from masklab.text.corpus import TokenCorpus
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.labelled_split import Splitting, cleaned
from masklab.text.preparation import Corpus
from masklab.text.sources.origin import Example
from masklab.training.budget import Budget
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch import Batch, BatchKey
from masklab.training.data.batch_maker import LocalSource
from masklab.training.events import EvaluationDone, Event, RunFinished, RunStopped, StepDone
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.recipe import Recipe, Worker
from masklab.training.stop import StopRequest

MODES = ("token_classifier", "language_model", "replaced_token_detector", "token_labeller", "sequence_classifier")
INTERRUPTED_AT = (1, 3, 8, 9, 13, 19)
"""Steps after which a run is interrupted, one after the other: the first, two between what is logged, about a new stage, the last."""
STAGES = [{"type": "random", "max_ratio": 0.5, "max_iters": 8}, {"type": "diffusion"}]


def made_for(mode: str, **training: Any) -> Recipe:
    """Everything on steps of its own: what is logged, evaluated and saved."""
    intervals = {"eval_interval": 4, "log_interval": 5, "checkpoint_interval": 3, "max_iters": 19}
    batch = {"batch_size": 2, "gradient_accumulation_steps": 2}
    plain = recipe(training=intervals | batch | training, model={"dropout": 0.1}, curriculum={"stages": STAGES, "mixing": "cumulative"})
    made = replace(plain, mode=TypeAdapter(AnyMode).validate_python({"type": mode}))
    if made.mode.causal or made.mode.labels_of:
        made = replace(made, curriculum=Curriculum.model_validate({"stages": [{"type": "none"}]}))
    if made.mode.causal:
        made = replace(made, sampling=SamplingSettings())
    return made


def corpus_for(made: Recipe, corpus: TokenCorpus) -> Corpus:
    """Text such as the mode reads."""
    if made.mode.labels_of is None:
        return corpus
    texts = [f"{name} words {i}!" for name in ("few", "many") for i in range(12)]
    if made.mode.labels_of == "rows":
        return Splitting(0.3, None).of(cleaned([Example("", text, text[:3]) for text in texts], "class", "here"), "class", "here", {})
    rows = [Example("", text, [str(c.isdigit()) for c in text]) for text in texts]
    return Splitting(0.3, None).of(cleaned(rows, "per_token", "here"), "per_token", "here", {})


class Killed(BaseException):
    """The end of a process, which nothing in it notices."""


@dataclass
class Seen:
    """What is seen of one run, in however many parts: batches, logged figures and the end."""

    figures: dict[tuple[str, int], Any] = field(default_factory=dict)
    end: RunFinished | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._note("step", event.iteration, (event.loss, event.grad_norm, event.learning_rate, event.chars, event.masked_chars))
        elif isinstance(event, EvaluationDone):
            self._note("evaluation", event.iteration, (event.evaluation.loss, event.train_loss, event.progress, event.decision))
        elif isinstance(event, RunFinished):
            self.end = event

    def _note(self, kind: str, number: int, figures: Any) -> None:
        assert self.figures.setdefault((kind, number), figures) == figures, f"{kind} {number} differs after a resume"


def part(made: Recipe, corpus: Corpus, folder: Path, seen: Seen, until: int | None, by: str) -> Loop:
    """One part of a run, which is killed or stopped after step `until`."""
    request = StopRequest()
    source = LocalSource(made.batch_maker(corpus), 0, made.training.rows_per_step)
    labels = corpus.labels if isinstance(corpus, LabelledCorpus) else None
    precision = Precision.of(made.system, torch.device("cpu"))
    store = CheckpointStore(folder, {})
    loop = Loop(Worker(made, corpus.vocabulary, precision, labels), made.pools(corpus), source, store, request)

    def listener(name: str) -> None:
        if name == "step.taken" and loop.position.iteration == until:
            if by == "kill":
                raise Killed
            request.ask("a test")

    with listening(listener):
        events: Iterator[Event] = loop.run()
        for event in events:
            seen.add(event)
            if isinstance(event, RunStopped):
                assert event.iteration == until
    return loop


def ended(made: Recipe, corpus: Corpus, folder: Path, interrupted_at: tuple[int, ...] = (), by: str = "kill") -> tuple[Seen, Loop]:
    seen = Seen()
    for until in interrupted_at:
        try:
            part(made, corpus, folder, seen, until, by)
        except Killed:
            assert by == "kill"
    return seen, part(made, corpus, folder, seen, None, by)


def assert_same(one: tuple[Seen, Loop], other: tuple[Seen, Loop]) -> None:
    """Figures, weights, moments, scaler and position are equal, bit for bit; the clock is not."""
    assert one[0].figures == other[0].figures
    ends = (one[0].end, other[0].end)
    assert ends[0] and ends[1]
    assert ends[0].batches_digest == ends[1].batches_digest
    assert (ends[0].sample, ends[0].evaluation.yardstick) == (ends[1].sample, ends[1].evaluation.yardstick)
    for name, tensor in one[1].model.state_dict().items():
        assert torch.equal(tensor, other[1].model.state_dict()[name]), name
    moments, others = (each[1].stepper.state() for each in (one, other))
    assert moments["scaler"] == others["scaler"]
    for number, state in moments["optimizer"]["state"].items():
        assert all(torch.equal(value, others["optimizer"]["state"][number][name]) for name, value in state.items())
    ignored = {"elapsed_seconds": 0.0, "pace": 0.0, "interval": [], "budget_masked": None}
    assert replace(one[1].position, **ignored) == replace(other[1].position, **ignored)


@pytest.mark.parametrize("by", ["kill", "stop"])
@pytest.mark.parametrize("mode", MODES)
def test_interrupted_or_not_a_run_ends_with_the_same_bits(mode: str, by: str, corpus: TokenCorpus, tmp_path: Path) -> None:
    made = made_for(mode)
    text = corpus_for(made, corpus)
    whole = ended(made, text, tmp_path / "whole")
    assert_same(ended(made, text, tmp_path / "interrupted", INTERRUPTED_AT, by), whole)


def test_a_budget_of_masked_characters_goes_on_where_it_was(corpus: TokenCorpus, tmp_path: Path) -> None:
    made = made_for("token_classifier", max_iters=None, max_masked_chars=900)
    whole = ended(made, corpus, tmp_path / "whole")
    assert whole[1].position.iteration > 9
    assert_same(ended(made, corpus, tmp_path / "interrupted", (3, 8, 9), "stop"), whole)


class SteadySource(LocalSource):
    """Batches that take a second each, on a clock that stands still otherwise."""

    clock: list[float]

    def take(self, key: BatchKey) -> Batch:
        self.clock[0] += 1
        return super().take(key)


def test_a_budget_of_minutes_goes_on_at_its_pace(corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("masklab.training.budget.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("masklab.training.accounting.Budget", lambda *given: Budget(*given, started=clock[0]))
    monkeypatch.setattr("test_exact_resume.LocalSource", SteadySource)
    monkeypatch.setattr(SteadySource, "clock", clock, raising=False)
    made = made_for("token_classifier", max_iters=None, max_minutes=20 / 60)
    whole = ended(made, corpus, tmp_path / "whole")
    assert whole[1].position.iteration == 20
    assert_same(ended(made, corpus, tmp_path / "interrupted", (5, 8, 9, 14), "stop"), whole)  # from step 4 on it has a pace
