"""Help, printing of the configuration, messages and exit statuses of every job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from masklab.config.command_line import main
from masklab.config.composition import compose
from masklab.config.manual import keys, manual, sections
from masklab.config.tree import Config
from masklab.config.writing import load
from masklab.errors import DataError

PROJECT = Path(__file__).resolve().parents[2]


def call(*arguments: str, run: object = lambda config: None) -> int:
    return main("train", "Train one curriculum.", run, PROJECT, arguments)  # type: ignore[arg-type]


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.path.insert(0, 'platform')\n"
        "from pathlib import Path\n"
        "from masklab.config.command_line import main\n"
        "assert main('train', 'Train one curriculum.', None, Path.cwd(), ['--help']) == 0\n"
        "heavy = {'torch', 'ray', 'mlflow', 'hydra', 'omegaconf', 'pydantic', 'numpy', 'numba', 'yaml', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: python jobs/train.py")


def test_help_shows_every_key_with_its_default_and_its_line() -> None:
    text = manual("train", "Train one curriculum.", PROJECT)
    for name, field in Config.model_fields.items():
        section = field.annotation
        assert section is not None
        for key, own in section.model_fields.items():
            line = next(line for line in text.splitlines() if line.strip().startswith(f"{name}.{key} "))
            assert own.description, key
            assert " ".join(own.description.split()) in line
            choices = get_args(own.annotation) if get_origin(own.annotation) is Literal else ()
            assert all(choice in line for choice in choices)
            if isinstance(own.default, int | float) and not isinstance(own.default, bool):
                assert float(line.split()[1]) == own.default


def test_help_finds_a_section_for_every_part_of_the_tree() -> None:
    assert [name for name, _, _ in sections()] == list(Config.model_fields)
    assert all(list(keys(source, cls)) for _, source, cls in sections())


def test_help_names_the_files_of_every_group() -> None:
    text = manual("train", "Train one curriculum.", PROJECT)
    assert all(word in text for word in ("annealed", "python_docs", "tiny", "smoke"))


def test_cfg_job_prints_a_configuration_that_loads_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("--cfg", "job", "curriculum=random", "training.max_iters=9") == 0
    printed = capsys.readouterr().out
    file = tmp_path / "config.yaml"
    file.write_text(printed, encoding="utf-8")
    assert load(file) == compose(["curriculum=random", "training.max_iters=9"], PROJECT)
    assert [line.rstrip(":") for line in printed.splitlines() if line and line[0] not in " -"] == list(Config.model_fields)


def test_the_job_gets_the_configuration_and_its_status_is_returned() -> None:
    seen: list[Config] = []
    assert call("training.max_iters=9", run=seen.append) == 0
    assert seen[0].training.max_iters == 9
    assert call(run=lambda config: 3) == 3


def test_a_users_mistake_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(config: Config) -> None:
        raise DataError("text.txt: empty file\n(0 bytes)")

    assert call(run=fails) == 2
    assert capsys.readouterr().err == "masklab: error: text.txt: empty file (0 bytes)\n"
    assert call("training.max_iter=3") == 2
    assert capsys.readouterr().err == "masklab: error: training.max_iter: unknown key (did you mean 'max_iters'?)\n"


@pytest.mark.parametrize("arguments", [["--cfg"], ["--cfg", "all"], ["--cfg=hydra"], ["--verbose"], ["--multirun"], ["train"]])
def test_an_unknown_option_is_a_users_mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_interrupt_ends_with_its_own_status() -> None:
    def interrupted(config: Config) -> None:
        raise KeyboardInterrupt

    assert call(run=interrupted) == 130


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        call(run=lambda config: 1 // 0)
