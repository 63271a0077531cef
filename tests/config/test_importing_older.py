"""Older configurations become files of today, which train what the older ones trained, and the rest is listed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from masklab.config.composition import compose
from masklab.config.literal_assignments import read_assignments
from masklab.config.manual import manual
from masklab.config.older_import import Carriage, carry_over
from masklab.config.older_names import GONE, MODES, RENAMED, STAGE_LISTS
from masklab.config.older_readings import READ
from masklab.config.older_spellings import STAGE_KEYS
from masklab.config.older_table import table
from masklab.config.tree import Config
from masklab.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]

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
STAGES = """
UNMASKING_STAGES = [
    {'type': 'sticky', 'target_masked_ratio': 0.2, 'p1_probability': 0.3, 'p2_probability': 0.0, 'val_loss_stale_count': 5},
    {'target_masked_ratio': 0.4, 'p1_probability': 0.2, 'p2_probability': 0.8, 'val_loss_stale_count': 6},
    {'type': 'random', 'max_masked_ratio': 0.5},
    {'type': 'span', 'spans_count': 3},
]
VALIDATION_STAGES = UNMASKING_STAGES
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the project's configuration."""
    for place in ("jobs/conf", "curricula", "datasets"):
        shutil.copytree(PROJECT / place, tmp_path / "project" / place)
    return tmp_path / "project"


def carried(root: Path, text: str, name: str | None = "older") -> Carriage:
    file = root.parent / "config" / "small.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return carry_over(file, name, root)


def composed(root: Path, text: str) -> Config:
    carried(root, text)
    return compose(["+experiment=older"], root)


def left(carriage: Carriage) -> dict[str, str]:
    return {name: reason for name, _, reason in carriage.left}


def files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()}


def value_at(config: Config, key: str) -> Any:
    node: Any = config.model_dump()
    for part in key.split("."):
        node = node[part]
    return node


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
    assert "no assignment" in reasons["line 3"]
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
    carriage = carry_over(folder / "training_config.py", None, root)
    assert carriage.name == "my_chars"
    config = compose(["+experiment=my_chars"], root)
    assert (config.dataset.source, config.dataset.path, config.curriculum.name) == ("nanogpt", str(folder), "my_chars")


def test_a_prompt_means_the_same_characters(root: Path) -> None:
    settings = composed(root, "start = 'a[5]\\\\n'\nmax_new_tokens = 20\nbatch_size = 1").sampling
    assert settings.prompt == "a\\[5]\\\\n"
    assert settings.length == 6 + 20


READINGS: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "dataset": [("python_docs", {"dataset.name": "python_docs"}), ("a", {"dataset.path": "data/a", "dataset.source": "nanogpt"})],
    "out_dir": [("runs/out-a", {"run.name": "out-a"}), ("out b", {}), (3, {})],
    "eval_iters": [(3, {"validation.sequences": 3 * 16}), (1.5, {})],
    "warmup_iters": [(7, {"training.warmup_iters": 7})],
    "lr_decay_iters": [(700, {"training.lr_decay_iters": 700}), (7, {})],
    "min_lr": [(1e-5, {"training.min_lr": 1e-5}), (1.0, {})],
    "decay_lr": [(True, {"training.min_lr": None}), (False, {"training.min_lr": 3e-3, "training.warmup_iters": 0}), ("no", {})],
    "device": [("cuda:3", {"system.device": "cuda"}), ("mps", {"system.device": "mps"}), ("tpu", {})],
    "init_from": [("scratch", {}), ("resume", {}), ("gpt2-xl", {})],
    "always_save_checkpoint": [(True, {}), (False, {})],
    "eval_only": [(False, {}), (True, {})],
    "use_rope": [(True, {}), (False, {})],
    "start": [("ab", {"sampling.prompt": "ab"}), ("FILE:a", {"sampling.prompt": ""})],
    "max_new_tokens": [(12, {"sampling.length": 12}), ("many", {})],
    "use_paragraph_boundaries": [(True, {"dataset.windows": "paragraphs"}), (False, {"dataset.windows": "anywhere"}), (3, {})],
    "use_all_stages_for_training": [(True, {"curriculum.mixing": "all"}), (False, {"curriculum.mixing": "current"})],
    "weight_loss_by_mask_ratio": [(True, {"objective.weighting": "inverse_sqrt_mask_ratio"}), (False, {"objective.weighting": "none"})],
    "training_type": [("unmasking", {"mode.type": "token_classifier"}), ("other", {})],
    "model_mode": [("token_classifier", {"mode.type": "token_classifier"}), ("other", {}), (["x"], {})],
    "attention_type": [("bidirectional", {"mode.type": "token_classifier"}), ("other", {})],
    "switch_to_binary": [(False, {"mode.type": "token_classifier"}), ("yes", {})],
    "transfer_learning_mode": [("from_scratch", {}), ("fine_tuning", {})],
    "freeze_transformer": [(False, {}), (True, {})],
    "pretrained_checkpoint_path": [(None, {}), ("", {})],
    "init_from_checkpoint": [("", {}), (3, {})],
}


@pytest.mark.parametrize("name", READ)
def test_every_value_that_is_read_in_another_way(name: str, root: Path) -> None:
    assert READINGS[name]
    for value, expected in READINGS[name]:
        file = root / "jobs/conf/experiment/older.yaml"
        file.unlink(missing_ok=True)
        config = composed(root, f"log_interval = 3\nunfreeze = 0\n{name} = {value!r}\n" + ("" if "mode.type" not in expected else STAGES))
        (root / "curricula/older.yaml").unlink(missing_ok=True)
        assert {key: value_at(config, key) for key in expected} == expected, (name, value)
        assert config.training.log_interval == 3


@pytest.mark.parametrize("name", RENAMED)
def test_every_renamed_parameter_is_carried_over_or_refused_by_its_section(name: str, root: Path) -> None:
    default = value_at(compose([], root), RENAMED[name]) if RENAMED[name].split(".")[0] not in ("mode", "transfer") else None
    value = {bool: not default, str: "float32", float: 0.25, int: (default or 0) * 2}.get(type(default), 4)
    carriage = carried(root, f"n_layer = 2\n{name} = {value!r}" if name != "n_layer" else f"{name} = {value!r}")
    if name in left(carriage):
        assert RENAMED[name].split(".")[0] in left(carriage)[name]
        assert RENAMED[name].startswith(("mode.", "transfer."))
    else:
        assert value_at(compose(["+experiment=older"], root), RENAMED[name]) == value


@pytest.mark.parametrize("name", GONE)
def test_every_name_without_a_counterpart_says_why(name: str, root: Path) -> None:
    assert left(carried(root, f"log_interval = 3\n{name} = 1"))[name] == GONE[name]


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
    "computed stages": ("unmasking_stages = [make(i) for i in range(3)]", "is a comprehension.* write the stages out"),
    "changed stages": ("stages = []\nstages.append({'type': 'random'})", "line 2 may change it"),
    "heads that do not divide": ("n_embd = 100\nn_head = 3", "n_embd=100 is not a multiple of n_head=3"),
    "no Python": ("batch_size: [", "is no Python"),
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


def documented() -> list[list[str]]:
    """The rows of all tables of the document, cell by cell."""
    lines = (PROJECT / "docs/older-configs.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def expected_rows() -> list[list[str]]:
    """What the document's tables of parameters must say."""

    def keys(names: tuple[str, ...]) -> str:
        return ", ".join(f"`{name}`" for name in names) or "–"

    return [
        *([f"`{name}`", f"`{key}`"] for name, key in RENAMED.items()),
        *([f"`{name}`", keys(reading.keys), reading.note] for name, reading in READ.items()),
        *([f"`{name}`", f"`{key}`"] for name, key in (STAGE_LISTS | STAGE_KEYS).items()),
        *([f"`{name}`", reason] for name, reason in GONE.items()),
    ]


def test_the_document_has_every_older_name_and_no_other() -> None:
    rows = documented()
    expected = expected_rows()
    assert [row for row in expected if row not in rows] == []
    first = next(i for i, row in enumerate(rows) if row == expected[0])
    names = [row[0] for row in rows[first : first + len(expected) + 3 * 2] if row[0].startswith("`")]
    assert names == [row[0] for row in expected]


def test_the_keys_that_the_document_names_are_there() -> None:
    config = yaml.safe_dump(Config.model_json_schema())
    for key in {key for reading in READ.values() for key in reading.keys} | set(RENAMED.values()) | set(STAGE_LISTS.values()):
        section, _, field = key.partition(".")
        if section not in ("mode", "transfer"):
            assert section in Config.model_fields
            assert not field or f" {field}:" in config, key


def test_the_defaults_of_nanogpt_are_all_known(tmp_path: Path) -> None:
    file = tmp_path / "names.py"
    names = (
        "out_dir eval_interval log_interval eval_iters eval_only always_save_checkpoint init_from wandb_log wandb_project wandb_run_name"
    )
    names += " dataset gradient_accumulation_steps batch_size block_size n_layer n_head n_embd dropout bias learning_rate max_iters"
    names += " weight_decay beta1 beta2 grad_clip decay_lr warmup_iters lr_decay_iters min_lr backend device dtype compile"
    names += " start num_samples max_new_tokens temperature top_k seed"
    file.write_text("\n".join(f"{name} = 1" for name in names.split()), encoding="utf-8")
    assert read_assignments(file).values.keys() <= {*RENAMED, *READ, *GONE}
