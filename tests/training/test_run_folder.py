"""A run's folder is claimed only by the config it was begun with, and nothing is made before it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from masklab.errors import RunError
from masklab.training.run_folder import FORMAT, RunFolder

CONFIG = {"run": {"name": "a", "folder": None}, "training": {"learning_rate": 0.1}, "curriculum": {"stages": [{"type": "random"}]}}


def begun(parent: Path) -> RunFolder:
    folder = RunFolder.claim(parent, "a", CONFIG)
    folder.begin(yaml.safe_dump(CONFIG))
    return folder


def test_a_claim_alone_leaves_nothing_behind(tmp_path: Path) -> None:
    RunFolder.claim(tmp_path / "runs", "a", CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_the_same_config_resumes_and_remembers(tmp_path: Path) -> None:
    begun(tmp_path).remember(mlflow_run_id="x")
    again = RunFolder.claim(tmp_path, "a", CONFIG)
    assert again.memory() == {"format": FORMAT, "mlflow_run_id": "x"}
    assert not again.is_finished


def test_another_config_is_refused_naming_the_keys_and_nothing_is_written_over(tmp_path: Path) -> None:
    before = (begun(tmp_path).path / "config.yaml").read_text()
    other = CONFIG | {"training": {"learning_rate": 0.2}, "curriculum": {"stages": [{"type": "sticky"}]}}
    with pytest.raises(RunError, match=r"curriculum.stages.0.type: random -> sticky; training.learning_rate: 0.1 -> 0.2"):
        RunFolder.claim(tmp_path, "a", other)
    assert (tmp_path / "a" / "config.yaml").read_text() == before


def test_keys_that_change_no_figure_may_differ(tmp_path: Path) -> None:
    begun(tmp_path)
    RunFolder.claim(tmp_path, "a", CONFIG | {"scaling": {"num_workers": 2}, "batches": {"producer": False}})
    RunFolder.claim(tmp_path, "a", CONFIG | {"stability": {"max_rollbacks": 9}})
    with pytest.raises(RunError, match=r"stability\.rollback_after"):
        RunFolder.claim(tmp_path, "a", CONFIG | {"stability": {"rollback_after": 9}})


def test_a_description_may_differ_and_long_values_are_cut(tmp_path: Path) -> None:
    begun(tmp_path)
    told = CONFIG | {"curriculum": {"stages": [{"type": "random"}], "description": "Words " * 50}}
    RunFolder.claim(tmp_path, "a", told)
    with pytest.raises(RunError) as caught:
        RunFolder.claim(tmp_path, "a", told | {"sampling": {"prompt": "the mask hides\n" * 50}})
    assert "(sampling.prompt: None -> the mask hides the mask hides the mas...)" in str(caught.value)


def test_a_folder_of_this_format_lacks_nothing(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(RunError, match=r"stability.window: None -> 8"):
        RunFolder.claim(tmp_path, "a", CONFIG | {"stability": {"window": 8}})


@pytest.mark.parametrize("number", [FORMAT + 1, "two"])
def test_a_later_folder_is_refused_by_its_number(tmp_path: Path, number: int | str) -> None:
    begun(tmp_path).remember(format=number)
    with pytest.raises(RunError, match=f"is of format {number}, and this masklab reads formats up to {FORMAT}; use the masklab"):
        RunFolder.claim(tmp_path, "a", CONFIG)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="not a run's"):
        RunFolder.claim(tmp_path, "a", CONFIG)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="not a plain folder"):
        RunFolder.claim(tmp_path, "a", CONFIG)


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder.claim(tmp_path / "runs", "a", CONFIG)


def test_a_damaged_memory_is_told_with_all_that_knows_of_the_run_in_mlflow(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (folder.path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json cannot be read .*remove it .* remove spool/ .* new one in MLflow"):
        folder.memory()
