"""Help, printing of the configuration, messages and exit statuses of every job."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from masklab.config.command_line.main import blocks, main, manual
from masklab.config.command_line.reference import files
from masklab.config.compose.composition import compose
from masklab.config.compose.validation_messages import sections_in
from masklab.config.compose.yaml_io import load
from masklab.config.jobs.registry import BENCHMARK, COMPARE, EVALUATE, FLATTENED, JOBS, PREPARE, SAMPLE, TRAIN, JobTree
from masklab.config.jobs.train import Config
from masklab.errors import DataError
from masklab.sampling.settings import SamplingSettings
from masklab.schema import Section

TREES = {"train": TRAIN, "sample": SAMPLE, "evaluate": EVALUATE, "compare": COMPARE}
PROJECT = Path(__file__).resolve().parents[3]


def call(*arguments: str, run: object = lambda config: None) -> int:
    return main("train", "Train one curriculum.", run, PROJECT, arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("job", TREES)
def test_help_imports_nothing_heavy(job: str) -> None:
    script = (
        "import sys; sys.path.insert(0, 'platform')\n"
        "from pathlib import Path\n"
        "from masklab.config.jobs import registry\n"
        "from masklab.config.command_line.main import main\n"
        f"assert main('{job}', 'Does it.', None, Path.cwd(), ['--help'], tree=registry.{job.upper()}) == 0\n"
        "heavy = {'torch', 'ray', 'mlflow', 'hydra', 'omegaconf', 'pydantic', 'numpy', 'numba', 'yaml', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: python jobs/{job}.py")


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_help_shows_every_key_with_its_default_and_its_line(tree: JobTree) -> None:
    lines = [line.strip() for line in manual("job", "Does it.", PROJECT, tree).splitlines()]
    expected = list(expected_keys(tree.root_class()))
    assert len(expected) > 10
    for key, section, own in expected:
        field = section.model_fields[own]
        assert field.description, key
        found = [line for line in lines if line.startswith(f"{key} ") and " ".join(field.description.split()) in line]
        assert found, key  # several, where kinds of a flattened field share a key with other defaults
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        assert any(all(choice in line for choice in choices) for line in found)
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert field.default in [float(line.split()[1]) for line in found]


def expected_keys(root: type[Section], prefix: str = "") -> Iterator[tuple[str, type[Section], str]]:
    """Every key that a tree shows, with its section and its name there; of a flattened field the keys of all its kinds."""
    for name, field in root.model_fields.items():
        sections = sections_in(field.annotation)
        if name in FLATTENED:
            for section in sections:
                yield from ((prefix + key, section, key) for key in section.model_fields if key != "strategy")
        elif prefix or not sections:
            yield prefix + name, root, name
        else:
            for section in sections:
                yield from expected_keys(section, f"{name}.")


def test_help_lists_every_sampler_and_says_whose_a_key_is() -> None:
    text = manual("sample", "Does it.", PROJECT, SAMPLE)
    line = next(line for line in text.splitlines() if line.strip().startswith("sampling.strategy "))
    kinds = [kind.model_fields["strategy"].default for kind in sections_in(SamplingSettings.model_fields["sampler"].annotation)]
    assert line.split()[1] == SamplingSettings().sampler.strategy
    assert line.endswith(f"({' | '.join(kinds)})")
    before = text[: text.index("  sampling.steps ")]
    owners = before[before.rindex("with sampling.strategy=") :].partition(":")[0]
    assert "stochastic" in owners and "first_hitting" not in owners


def test_help_groups_the_keys_of_a_mode_under_its_type() -> None:
    text = manual("train", "Does it.", PROJECT)
    weights = [part for part in text.split("  with ") if "mode.class_weights " in part]
    assert [part.partition(":")[0] for part in weights] == [
        f"mode.type={name}" for name in ("replaced_token_detector", "sequence_classifier", "token_labeller")
    ]


@pytest.mark.parametrize("tree", [PREPARE, BENCHMARK])
def test_help_of_a_job_that_uses_few_keys_shows_only_these(tree: JobTree) -> None:
    shown = {line.key for block in blocks(tree) for line in block}
    assert all(key in tree.used or key.partition(".")[0] in tree.used for key in shown)
    assert all(used in shown or any(key.startswith(f"{used}.") for key in shown) for used in tree.used)
    assert "tracking.uri" not in manual("job", "Does it.", PROJECT, tree)


def test_help_marks_the_default_file_of_each_group_and_the_keys_that_it_sets() -> None:
    train, compare, evaluate = (manual("job", "Does it.", PROJECT, tree) for tree in (TRAIN, COMPARE, EVALUATE))
    chosen = compose([], PROJECT)
    assert f"{chosen.curriculum.name} (default)" in train and f"{chosen.dataset.name} (default)" in train
    assert "uniform (default)" in compare and "(default)," not in evaluate
    assert "(from the group's file)" in train and "(from the run)" in evaluate
    assert "(required)" not in train


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_help_finds_a_section_for_every_part_of_the_tree(tree: JobTree) -> None:
    shown = {line.key.partition(".")[0] for block in blocks(tree) for line in block}
    assert shown == set(tree.root_class().model_fields)


def test_the_reference_of_all_keys_is_generated_from_the_sections() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} differs from the sections' help lines: run `make reference`"


@pytest.mark.parametrize("job", [*JOBS, "prepare", "benchmark"])
def test_help_answers_within_half_a_second(job: str) -> None:
    command = [sys.executable, f"jobs/{job}.py", "--help"]
    seconds = []
    for _ in range(3):  # the fastest of three, since other processes may hold this one up
        start = time.perf_counter()
        subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=60, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


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


def test_a_defect_keeps_its_traceback_without_its_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    def defective(config: Config) -> None:
        raise ZeroDivisionError("at http://me:hunter2@host/")

    assert call(run=defective) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback") and printed.endswith("ZeroDivisionError: at http://***@host/\n")


def test_what_is_logged_has_no_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("masklab.test"), "propagate", False)

    def warns(config: Config) -> None:
        logging.getLogger("masklab.test").warning("at %s", "http://me:hunter2@host/")

    assert call(run=warns) == 0
    assert capsys.readouterr().err == "at http://***@host/\n"
