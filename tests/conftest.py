"""What many tests share: a small text, a small recipe, and one Ray cluster for the whole run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiers import VARIABLE

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--full`: all bad inputs, kills, damaged bytes and sweeps, in place of a sample of each."""
    parser.addoption("--full", action="store_true", help="run the slow randomised tests uncut, in place of a sample")


def pytest_configure(config: pytest.Config) -> None:
    """Let every process of a full run know."""
    if config.getoption("--full"):
        os.environ[VARIABLE] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a full run does, and begin with what needs Ray, which takes longest."""
    if not config.getoption("--full"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full")])
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    items.sort(key=lambda item: not needs_ray(item.path))


@cache
def needs_ray(file: Path) -> bool:
    """Whether tests of the file use Ray."""
    return "pytest.mark.ray" in file.read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give all files that use Ray to one process, so that a run has one cluster, and of the others each file to one.

    pytest-xdist 3.8.0 has groups for this (`--dist loadgroup`), which have no effect with pytest 9.2.0.
    """
    from xdist.scheduler import LoadScopeScheduling

    class RayInOneProcess(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "ray" if needs_ray(config.rootpath / file) else file

    return RayInOneProcess(config, log)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One thread for torch: small tensors gain nothing from more, and lose much where other work runs beside the tests."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a line of what a test has counted; all of them are shown at the end of pytest's output."""
    return lambda line: request.node.user_properties.append(("counted", line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was counted, in whichever process."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    if lines := [line for report in reports if report.when == "call" for name, line in report.user_properties if name == "counted"]:
        terminalreporter.section("counts")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project folder."""
    return ROOT


@pytest.fixture(scope="session")
def text() -> str:
    """About 20,000 characters with some structure, the same every time."""
    generator = np.random.default_rng(0)
    words = ["the", "mask", "hides", "a", "letter", "and", "model", "guesses", "it", "again", "stage", "by", "step"]
    lines = [" ".join(generator.choice(words, 8)) + "." for _ in range(500)]
    return "\n".join(line + ("\n" if i % 7 == 6 else "") for i, line in enumerate(lines))


@pytest.fixture(scope="session")
def corpus(text: str) -> Any:
    """The text as a corpus with a tenth of it held out."""
    from masklab.text.corpus import TokenCorpus
    from masklab.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.of_text(text)
    tokens = vocabulary.encode(text)
    cut = len(tokens) * 9 // 10
    return TokenCorpus(tokens[:cut], tokens[cut:], vocabulary, {"source": "test"})


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, text: str) -> Any:
    """The folder of a run named `tiny`, two layers trained for 20 steps on a file of the text; for reading only."""
    from trained_run import config_for, train_into

    home = tmp_path_factory.mktemp("home")
    (home / "tiny.txt").write_text(text, encoding="utf-8")
    return train_into(home, config_for(home / "tiny.txt"))


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, which take a second to make; to be copied."""
    from masklab.tracking.mlflow_run import client_of

    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    client_of(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(schema: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty MLflow store in a folder of the test's own, which is the current one."""
    from masklab.config.jobs.tracking import TrackingSettings
    from masklab.tracking.mlflow_store import Store

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(schema, tmp_path / "mlflow.db")
    return Store.of(TrackingSettings(), tmp_path)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One local Ray cluster for the whole test run."""
    from masklab.cluster.connection import connect

    connect(ROOT / "platform", ray_logs=False)
    import ray

    yield ray
    ray.shutdown()
