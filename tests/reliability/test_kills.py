"""A run that is killed anywhere, as often as you like, and begun again by the same command, ends as one that nobody has touched.

A kill is SIGKILL, at a named point of the code or after a random number of steps. Compared are the weights and the optimizer, the state
and the history, and every batch and every logged figure on the way, those that were seen twice included, bit for bit.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from killed_run import STEPS, Kill, Server, Story, newest_iteration
from tiers import is_full, share

from masklab.failpoints import NAMES
from masklab.training.checkpoint.store import REPLACED

pytestmark = pytest.mark.timeout(900)
OCCURRENCES = share(5)
"""Passes of each point at which a run is killed, evenly spread over all."""
UNSEEN = {"restore.read", "restore.set_aside", "restore.put_back", "checkpoint.replaced"}
"""Points that a run which is not interrupted never passes."""
TRIALS = share(50)


@cache
def server() -> Server:
    return Server()


@cache
def quiet(folder: Path, size: int) -> Story:
    """The run that nobody touches."""
    assert server().run(folder / f"quiet-{size}", size=size) == [0] * size
    return Story.of(folder / f"quiet-{size}", size)


class Trial:
    """One run with its kills. `lost` counts steps beyond the last committed checkpoint that a resume did not find."""

    def __init__(self, home: Path, name: str, size: int = 1) -> None:
        self.folder, self.size, self.kills, self.lost = home / name, size, 0, 0
        self.quiet = quiet(home, size)

    def kill(self, kill: Kill) -> None:
        """Begin or go on until the kill; other workers end by themselves."""
        codes = server().run(self.folder, kill, self.size)
        assert codes[kill.rank] == -9, f"{kill} was not reached: {codes}, {self._errors()}"
        assert None not in codes, f"a worker outlived another by too long after {kill}"
        self.kills += 1

    def end(self) -> int:
        """Go on to the end, compare, and tidy up. Returns the kills."""
        assert server().run(self.folder, size=self.size) == [0] * self.size, self._errors()
        story = Story.of(self.folder, self.size)
        committed = 0
        for kind, *values in story.lines[0]:
            if kind == "committed":
                committed = values[0]
            elif kind == "started":
                self.lost += max(0, committed - values[0])
        assert self.lost == 0
        assert story.seen() == self.quiet.seen()
        assert story.end == self.quiet.end
        shutil.rmtree(self.folder)
        return self.kills

    def _errors(self) -> str:
        return "".join((self.folder / f"errors-{rank}.txt").read_text()[-2000:] for rank in range(self.size))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


def passes(home: Path, size: int, name: str) -> int:
    """How often a quiet run passes a point."""
    return int(dict(quiet(home, size).told("passed")[0][1]).get(name, 0))


def spread(total: int, wanted: int) -> list[int]:
    """Up to `wanted` of the numbers from 1 to `total`, the first and the last among them."""
    count = min(total, wanted)
    return sorted({1 + i * (total - 1) // max(count - 1, 1) for i in range(count)})


def sweep(home: Path, size: int, wanted: int) -> list[Kill]:
    """Every point that a quiet run passes, each at some of its passes; the workers take turns in dying."""
    points = [(name, nth) for name in NAMES for nth in spread(passes(home, size, name), wanted)]
    return [
        Kill(name, nth, rank=i % size if name.startswith(("step.", "log.", "evaluation.")) else 0) for i, (name, nth) in enumerate(points)
    ]


def told_by(what: str, told: Callable[[str], None], kills: int) -> None:
    told(f"{what}: {kills} kills; 0 steps lost, 0 differing hashes of weights, batches and logged figures, 0 repairs by hand")


def test_a_quiet_run_passes_every_point_but_those_of_a_recovery(home: Path) -> None:
    assert {name for name in NAMES if not passes(home, 1, name)} == UNSEEN


def test_kills_at_every_named_point(home: Path, told: Callable[[str], None]) -> None:
    kills = 0
    for number, kill in enumerate(sweep(home, 1, OCCURRENCES)):
        trial = Trial(home, f"point-{number}")
        trial.kill(kill)
        kills += trial.end()
    told_by("one worker, at every named point", told, kills)
    assert kills >= (100 if is_full() else len(NAMES) - len(UNSEEN))


def test_kills_at_random_steps(home: Path, told: Callable[[str], None]) -> None:
    generator, kills = random.Random(1), 0
    for number in range(TRIALS):
        trial = Trial(home, f"step-{number}")
        trial.kill(Kill(generator.choice(("step.begun", "step.batch", "step.taken")), generator.randint(1, STEPS)))
        kills += trial.end()
    told_by("one worker, at random steps", told, kills)
    assert kills == TRIALS


def test_kills_within_a_recovery(home: Path, told: Callable[[str], None]) -> None:
    kills = 0
    for number, point in enumerate(("restore.begun", "restore.read", "restore.set_aside", "restore.put_back") * share(2)):
        trial = Trial(home, f"recovery-{number}")
        trial.kill(Kill("checkpoint.committed", 2 + number))
        newest = trial.folder / "checkpoints" / f"step_{newest_iteration(trial.folder):09d}"
        if point == "restore.put_back":  # killed where another of the same number was to take its place
            newest.rename(newest.with_name(REPLACED + newest.name))
        elif point == "restore.set_aside":
            (newest / "state.json").write_text("{}")
            _forget_last_commit(trial.folder)
        trial.kill(Kill(point, 1))
        trial.kill(Kill("restore.read", 1))
        kills += trial.end()
    told_by("one worker, within recoveries", told, kills)


def _forget_last_commit(folder: Path) -> None:
    """The last checkpoint is damaged from outside, and so the one before is the last that counts."""
    diary = folder / "diary-0.jsonl"
    lines = diary.read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith('["committed"'))
    diary.write_text("".join(lines[:last] + lines[last + 1 :]))


def test_five_kills_in_a_row(home: Path, told: Callable[[str], None]) -> None:
    rows: Sequence[Sequence[Kill]] = (
        [Kill("step.taken", 1)] * 2 + [Kill("step.taken", 5)] * 3,
        [Kill("checkpoint.committed", 1)] * 5,
        [Kill(name, 2) for name in ("checkpoint.manifest", "evaluation.scored", "checkpoint.renamed", "checkpoint.dropped", "log.read")],
    )
    kills = 0
    for number, row in enumerate(rows):
        trial = Trial(home, f"row-{number}")
        for kill in row:
            trial.kill(kill)
        kills += trial.end()
    told_by("one worker, five in a row", told, kills)
    assert kills == 15


def test_kills_of_one_of_two_workers(home: Path, told: Callable[[str], None]) -> None:
    points = sweep(home, 2, 1)
    kills = 0
    for number, kill in enumerate(points[:: max(1, len(points) // share(12, one_in=4))]):
        trial = Trial(home, f"two-{number}", size=2)
        trial.kill(kill)
        kills += trial.end()
    told_by("two workers", told, kills)
    assert kills >= share(12, one_in=4) - 1


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_with_another_number_of_workers_a_run_goes_on_with_the_same_batches(home: Path, before: int, after: int) -> None:
    folder, alone = home / f"from-{before}-to-{after}", home / "alone"
    assert server().run(alone, dropout=0.0) == [0]  # what dropout leaves out is another for each worker
    assert (
        server().run(folder, Kill("step.taken", 9), size=before, dropout=0.0)[0] == -9
    )  # two steps after a logged one and one after a save
    assert server().run(folder, size=after, dropout=0.0) == [0] * after
    one, other = Story.of(alone, 1), Story.of(folder, 2)
    assert one.end and other.end and one.end["state"]["batches_digest"] == other.end["state"]["batches_digest"]
    logged = dict(one.told("step"))
    for iteration, figures in other.told("step"):
        assert figures == pytest.approx(logged[iteration], rel=1e-4), f"step {iteration}"
    assert {iteration for iteration, _ in other.told("step")} == logged.keys()
    for (_, evaluation), (_, expected) in zip(other.told("evaluation")[-1:], one.told("evaluation")[-1:], strict=True):
        assert evaluation[:5] == pytest.approx(expected[:5], rel=1e-4)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("size", [1, 2])
def test_many_kills_at_every_named_point_and_many_in_a_row(home: Path, told: Callable[[str], None], size: int) -> None:
    kills, generator = 0, random.Random(size)
    points = sweep(home, size, 20 if size == 1 else 4)
    for number, kill in enumerate(points):
        trial = Trial(home, f"soak-{size}-{number}", size)
        trial.kill(kill)
        for _ in range(generator.randint(0, 2)):
            trial.kill(Kill("step.begun", 1, rank=generator.randrange(size)))
        kills += trial.end()
    told_by(f"soak, {size} workers", told, kills)
