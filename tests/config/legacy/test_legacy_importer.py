"""Older configurations become files of today, which train what the older ones trained, and the rest is listed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from legacy_files import PROJECT, STAGES, carried, composed, copied_project, left

from masklab.config.command_line.main import manual
from masklab.config.compose.aliases import MODES, STAGE_KEYS
from masklab.config.compose.composition import compose
from masklab.config.legacy.importer import import_config, table
from masklab.errors import ConfigError

SMALL = """
# a small model of characters
import time
out_dir = 'out-small'
eval_interval = 250
eval_iters = 20
log_interval = 10
always_save_checkpoint = False
wandb_log = False
wandb_run_name = 'small' + str(time.time())
dataset = 'shakespeare_char'
gradient_accumulation_steps = 1
batch_size = 4 * 16
block_size = 256
n_layer = 6
n_head = 6
n_embd = 384
dropout = 0.2
learning_rate = 1e-3
max_iters = 5000
lr_decay_iters = max_iters
min_lr = learning_rate / 10
beta2 = 0.99
warmup_iters = 100
device = 'cuda:1'
compile = False
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return copied_project(tmp_path)


def files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()}


def test_a_configuration_of_nanogpt_trains_what_it_trained(root: Path) -> None:
    config = composed(root, SMALL)
    training, model = config.training, config.model
    assert (training.batch_size, training.block_size, training.max_iters, training.lr_decay_iters) == (64, 256, 5000, 5000)
    assert (training.learning_rate, training.min_lr, training.warmup_iters, training.beta2) == (1e-3, 1e-4, 100, 0.99)
    assert (model.n_layer, model.n_head, model.n_embd, model.dropout) == (6, 6, 384, 0.2)
    assert (config.dataset.name, config.run.name, config.validation.sequences) == ("shakespeare_char", "out-small", 20 * 64)
    assert (config.system.device, config.system.compile) == ("cuda", False)


def test_what_was_not_carried_over_is_listed_with_the_reason(root: Path) -> None:
    carriage = carried(root, f"{SMALL}\nbatch_sise = 3\ndtype = 'float8'\nbeta1 = 'high'\n")
    reasons = left(carriage)
    assert "MLflow" in reasons["wandb_log"] and "MLflow" in reasons["wandb_run_name"]
    assert reasons["batch_sise"] == "unknown name (did you mean 'batch_size'?)"
    assert "must be one of" in reasons["dtype"]
    assert "must be a number" in reasons["beta1"]
    assert "checkpoint" in reasons["always_save_checkpoint"]
    assert "not an assignment" in reasons["line 3"]
    lines = table(carriage)
    assert any(line.split() == ["batch_size", "64", "training.batch_size=64"] for line in lines)
    assert all(any(name in line and reason in line for line in lines) for name, reason in reasons.items())
    assert all(line.isprintable() for line in lines)


def test_without_masks_it_is_a_language_model_where_there_is_one(root: Path) -> None:
    carriage = carried(root, SMALL)
    mode = compose(["+experiment=older"], root).mode.type
    assert (mode == "language_model") is ("(no masks)" not in left(carriage))


def test_a_mode_that_there_is_not_is_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODES, "language_model", "fortune_teller")
    carriage = carried(root, "model_mode = 'language_model'\nbatch_size = 3")
    assert "must be" in left(carriage)["model_mode"]
    assert compose(["+experiment=older"], root).training.batch_size == 3


def test_stages_become_a_curriculum(root: Path) -> None:
    config = composed(root, STAGES + "USE_ALL_STAGES_FOR_TRAINING = True\nval_loss_stale_count = 9")
    curriculum = config.curriculum
    assert (curriculum.name, curriculum.mixing, curriculum.patience) == ("older", "all", 9)
    assert [stage.masking.type for stage in curriculum.stages] == ["sticky", "sticky", "random", "span"]
    assert curriculum.stages[1].model_dump().items() >= {"mask_ratio": 0.4, "p_start": 0.2, "p_extend": 0.8, "patience": 6}.items()
    assert curriculum.validation_stages == curriculum.stages
    written = (root / "curricula/older.yaml").read_text()
    assert not any(old in written for old in (*STAGE_KEYS, "&id"))
    assert compose(["curriculum=older"], root).curriculum.stages == curriculum.stages


def test_dictionaries_hold_parameters_and_stages_of_any_name(root: Path) -> None:
    config = composed(
        root,
        """
        TRAINING_CONFIG = {
            'block_size': 64, 'USE_PARAGRAPH_BOUNDARIES': True, 'model': {'n_layer': 2},
            'curriculum': [{'type': 'random', 'max_masked_ratio': 0.3, 'val_loss_stale_count': 2}],
            'validation': [{'type': 'random', 'max_masked_ratio': 0.6}],
        }
        """,
    )
    assert (config.training.block_size, config.dataset.windows, config.model.n_layer) == (64, "paragraphs", 2)
    assert config.curriculum.stages[0].model_dump()["max_ratio"] == 0.3
    assert config.curriculum.pools[0].model_dump()["max_ratio"] == 0.6


def test_a_rate_that_did_not_decay_stays_where_it_was(root: Path) -> None:
    carriage = carried(root, "decay_lr = False\nlearning_rate = 2e-4\nwarmup_iters = 50\nmin_lr = 1e-5\nlr_decay_iters = 10")
    training = compose(["+experiment=older"], root).training
    assert (training.learning_rate, training.lowest_learning_rate, training.warmup_iters) == (2e-4, 2e-4, 0)
    assert {"warmup_iters", "min_lr", "lr_decay_iters"} <= left(carriage).keys()


def test_a_dataset_is_one_of_ours_or_nanogpts_folder(root: Path) -> None:
    assert composed(root, "dataset = 'python_docs'").dataset.source == "python_docs"
    (root / "jobs/conf/experiment/older.yaml").unlink()
    assert composed(root, "dataset = 'mine'").dataset.path == "data/mine"
    (root / "jobs/conf/experiment/older.yaml").unlink()
    (root.parent / "data/mine").mkdir(parents=True)
    assert composed(root, "dataset = 'mine'").dataset.path == str(root.parent / "data/mine")


def test_a_datasets_own_file_is_named_after_its_folder_and_names_it(root: Path) -> None:
    folder = root.parent / "data" / "my chars"
    folder.mkdir(parents=True)
    for name in ("train.bin", "val.bin", "meta.pkl"):
        (folder / name).touch()
    (folder / "training_config.py").write_text(STAGES, encoding="utf-8")
    carriage = import_config(folder / "training_config.py", None, root)
    assert carriage.name == "my_chars"
    config = compose(["+experiment=my_chars"], root)
    assert (config.dataset.source, config.dataset.path, config.curriculum.name) == ("nanogpt", str(folder), "my_chars")


def test_a_prompt_means_the_same_characters(root: Path) -> None:
    settings = composed(root, "start = 'a[5]\\\\n'\nmax_new_tokens = 20\nbatch_size = 1").sampling
    assert settings.prompt == "a\\[5]\\\\n"
    assert settings.length == 6 + 20


REFUSED = {
    "nothing": ("", "sets nothing that masklab knows"),
    "nothing known": ("a = 1", "sets nothing that masklab knows"),
    "two values for one key": ("batch_size = 3\nBATCH_SIZE = 4", "batch_size=3 and BATCH_SIZE=4 are two spellings of one key"),
    "a stage out of reach": (
        "stages = [{'type': 'sticky', 'mask_ratio': 0.9, 'p_start': 0.1, 'p_extend': 0.0}]",
        "stages.0.* out of reach",
    ),
    "an unknown type": ("unmasking_stages = [{'type': 'line', 'min_ratio': 0.1}]", "stages.0.type = 'line': must be one of"),
    "an unknown key": ("unmasking_stages = [{'type': 'random', 'max_masked_ratio': 0.1, 'colour': 3}]", "stages.0.colour: unknown key"),
    "both spellings": ("stages = [{'max_masked_ratio': 0.1, 'max_ratio': 0.1}]", "gives a key twice"),
    "no list": ("unmasking_stages = 3", "must be a list of stages"),
    "computed stages": ("unmasking_stages = [make(i) for i in range(3)]", "is not a literal.* write the stages out"),
    "changed stages": ("stages = []\nstages.append({'type': 'random'})", "line 2 may change it"),
    "heads that do not divide": ("n_embd = 100\nn_head = 3", "n_embd=100 is not a multiple of n_head=3"),
    "no Python": ("batch_size: [", "is not Python"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_carried_over_is_one_line_and_writes_nothing(text: str, message: str, root: Path) -> None:
    before = files(root)
    with pytest.raises(ConfigError, match=message) as error:
        carried(root, text)
    assert "\n" not in str(error.value)
    assert files(root) == before


@pytest.mark.parametrize("name", ["curricula/older.yaml", "jobs/conf/experiment/older.yaml"])
def test_nothing_is_overwritten_and_nothing_left_half_made(name: str, root: Path) -> None:
    (root / name).write_text("description: Mine.\n")
    before = files(root)
    with pytest.raises(ConfigError, match="is there already"):
        carried(root, STAGES)
    assert files(root) == before
    assert (root / name).read_text() == "description: Mine.\n"


def test_a_file_that_cannot_be_written_takes_the_other_with_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, open_file = files(root), Path.open

    def full(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == root / "jobs/conf/experiment/older.yaml":
            raise OSError(28, "No space left on device")
        return open_file(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ConfigError, match="cannot be written"):
        carried(root, STAGES)
    assert files(root) == before


def test_text_cannot_refer_to_anything_or_reach_beyond_its_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "told")
    carriage = carried(root, "batch_size = 2\nout_dir = '${oc.env:SECRET}'\ndataset = 'a\\n- override /model: small\\x1b[31m'\n")
    assert "reference" in left(carriage)["out_dir"]
    config = compose(["+experiment=older"], root)
    assert (config.run.name, config.model.n_layer) == (None, 4)
    assert all(line.isprintable() for line in table(carriage))


def job() -> Any:
    spec = importlib.util.spec_from_file_location("prepare_job", PROJECT / "jobs/prepare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_job_carries_over_from_the_command_line(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = job()
    monkeypatch.setattr(prepare, "PROJECT", root)
    file = root.parent / "train_small.py"
    file.write_text("batch_size = 3\ncanary = open('canary', 'w')\n", encoding="utf-8")

    def run(*arguments: str) -> int:
        status: int = prepare.main("prepare", prepare.DESCRIPTION, prepare.prepare, root, list(arguments), prepare.PREPARE)
        return status

    assert run(f"import={file}") == 0
    assert "wrote jobs/conf/experiment/train_small.yaml" in capsys.readouterr().out
    assert compose(["+experiment=train_small"], root).training.batch_size == 3
    assert run(f"import={file}") == 2
    assert "is there already" in capsys.readouterr().err
    assert run(f"import={file}", "name=../evil") == 2
    assert "older.name" in capsys.readouterr().err
    assert run("import=none.py") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_help_of_the_job_tells_of_it_without_loading_anything_heavy() -> None:
    script = (
        "import runpy, sys; sys.argv = ['prepare.py', '--help']\n"
        "try: runpy.run_path('jobs/prepare.py', run_name='__main__')\n"
        "except SystemExit as done: assert done.code == 0\n"
        "assert not {'torch', 'pydantic', 'hydra', 'yaml'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "import=" in result.stdout and "older.file" in result.stdout
    assert "older.file" not in manual("train", "", PROJECT)
