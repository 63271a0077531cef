"""What a run takes from the checkpoint that it begins with: sizes, descent, and one clear line where the two do not agree."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from trained_run import copy_of, forge, newest

from masklab.config.compose.composition import compose
from masklab.config.compose.yaml_io import dump, validated
from masklab.config.jobs.train import Config
from masklab.errors import ConfigError
from masklab.training.checkpoint.manifest import MANIFEST, sha256_of
from masklab.training.run_folder import RunFolder

PROJECT = Path(__file__).resolve().parents[3]
TINY = "transfer.init_checkpoint=tiny"
ANCESTOR = "{run: a, checkpoint: b, manifest_sha256: c, mode: d, iteration: 1, mlflow_run_id: e}"
SEQUENCES = ["mode=sequence_classifier", TINY]


@pytest.fixture
def home(trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a run `tiny`: two layers of 32 channels, two heads."""
    copy_of(trained, tmp_path)
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path))
    return tmp_path


def error_of(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(overrides, PROJECT)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def begun(home: Path, *overrides: str) -> Config:
    """The config of a run that has been begun."""
    config = compose(overrides, PROJECT)
    assert config.run.name
    RunFolder(home / "runs" / config.run.name).begin(dump(config))
    return config


@pytest.mark.usefixtures("home")
def test_the_sizes_are_those_of_the_checkpoint() -> None:
    model = compose([TINY], PROJECT).model
    assert (model.n_layer, model.n_head, model.n_embd) == (2, 2, 32)
    assert compose([], PROJECT).model.n_embd == 128


@pytest.mark.usefixtures("home")
def test_what_is_no_size_stays_as_it_is_asked_for() -> None:
    model = compose([TINY, "model.dropout=0.3", "model.n_layer=2"], PROJECT).model
    assert (model.dropout, model.n_layer) == (0.3, 2)


def test_a_clash_names_both_values(home: Path) -> None:
    told = error_of(TINY, "model.n_layer=6")
    assert told.startswith("model.n_layer = 6, where the checkpoint has 2 (transfer.init_checkpoint: ")
    assert str(home) in told
    told = error_of(TINY, "model=small")
    assert "model.n_layer = 6, where the checkpoint has 2; model.n_head = 6" in told and "n_embd = 384" in told
    assert "model.norm = rms, where the checkpoint has layer" in error_of(TINY, "model.norm=rms")


def test_the_checkpoint_and_its_manifest_are_written_down(home: Path) -> None:
    (source,) = compose([TINY], PROJECT).transfer.lineage
    path = newest(RunFolder(home / "runs" / "tiny"))
    assert source.checkpoint == str(path.resolve())
    assert source.manifest_sha256 == sha256_of(path / MANIFEST)
    assert (source.run, source.mode, source.iteration) == ("tiny", "token_classifier", 20)


def test_the_same_command_resumes_without_the_source(home: Path) -> None:
    command = [*SEQUENCES, "run.name=later", "transfer.mode=feature_extraction"]
    first = begun(home, *command)
    shutil.rmtree(home / "runs" / "tiny")
    again = compose(command, PROJECT)
    assert again == first
    assert first.run.name
    RunFolder.claim(home / "runs", first.run.name, again.model_dump(mode="json"))


def test_a_source_that_was_trained_further_is_not_taken_on_a_resume(home: Path) -> None:
    first = begun(home, TINY, "run.name=later")
    path = newest(RunFolder(home / "runs" / "tiny"))
    shutil.copytree(path, path.with_name("step_000000999"))
    assert compose([TINY, "run.name=later"], PROJECT) == first
    assert compose([TINY, "run.name=another"], PROJECT).transfer.lineage != first.transfer.lineage


def test_a_resolved_config_needs_no_source_to_be_read(home: Path) -> None:
    config = compose([TINY], PROJECT)
    shutil.rmtree(home / "runs")
    assert validated(config.model_dump(mode="json")) == config


def test_lineage_reaches_back_to_the_first(home: Path) -> None:
    config = begun(home, TINY, "run.name=second")
    source = newest(RunFolder(home / "runs" / "tiny"))
    place = home / "runs" / "second" / "checkpoints" / source.name
    shutil.copytree(source, place)
    forge(place, config_yaml=dump(config))
    runs = [ancestor.run for ancestor in compose(["transfer.init_checkpoint=second"], PROJECT).transfer.lineage]
    assert runs == ["second", "tiny"]


def test_lineage_holds_the_run_in_mlflow(home: Path) -> None:
    RunFolder(home / "runs" / "tiny").remember(mlflow_run_id="abc")
    assert compose([TINY], PROJECT).transfer.lineage[0].mlflow_run_id == "abc"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("overrides", "tied"),
    [
        ([TINY], True),
        ([TINY, "model.tied_head=false"], False),
        ([TINY, "transfer.mode=feature_extraction"], False),
        (["mode=language_model", TINY, "transfer.mode=feature_extraction"], False),
    ],
)
def test_a_head_of_characters_stays_tied_unless_it_is_trained_alone(overrides: list[str], tied: bool) -> None:
    assert compose(overrides, PROJECT).model.tied_head is tied


@pytest.mark.usefixtures("home")
def test_a_tied_head_cannot_be_trained_alone() -> None:
    told = error_of(TINY, "transfer.mode=feature_extraction", "model.tied_head=true")
    assert told.startswith("transfer.mode = feature_extraction: trains only the head") and "model.tied_head=false" in told


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["pretrained_checkpoint_path=tiny"], "init_checkpoint", "tiny"),
        (["init_from_checkpoint=tiny"], "init_checkpoint", "tiny"),
        (["transfer.pretrained_checkpoint_path=tiny", "transfer_learning_mode=feature_extraction"], "mode", "feature_extraction"),
        ([TINY, "transfer.mode=feature_extraction", "unfreeze_at_iteration=7"], "unfreeze_at_iter", 7),
    ],
)
def test_older_names_are_read_and_written_back_under_the_new_ones(overrides: list[str], key: str, value: Any) -> None:
    config = compose(overrides, PROJECT)
    assert getattr(config.transfer, key) == value
    assert config.model.n_embd == 32
    assert "pretrained" not in dump(config) and "transfer_learning" not in dump(config)


def test_an_older_file_may_have_its_names_at_the_top() -> None:
    tree = compose([], PROJECT).model_dump(mode="json")
    del tree["transfer"]
    assert validated(tree | {"pretrained_checkpoint_path": "x"}).transfer.init_checkpoint == "x"
    with pytest.raises(ConfigError, match="two spellings"):
        validated(tree | {"pretrained_checkpoint_path": "x", "transfer": {"init_checkpoint": "y"}})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["transfer.mode=feature_extraction"], "transfer.mode = feature_extraction: freezes weights that nobody has trained"),
        (["transfer.unfreeze_at_iter=3"], "transfer.unfreeze_at_iter = 3: goes with transfer.mode=feature_extraction"),
        (["transfer.unfreeze_lr_factor=0.5"], "transfer.unfreeze_lr_factor = 0.5: has no effect without transfer.unfreeze_at_iter"),
        (["transfer.unfreeze_warmup_iters=2"], "transfer.unfreeze_warmup_iters = 2: has no effect without transfer.unfreeze_at_iter"),
        (["transfer.layer_lr_decay=0"], "transfer.layer_lr_decay = 0: must be above 0"),
        (["transfer_learning_mode=from_scratch"], "transfer_learning_mode = from_scratch: is so unless"),
        (
            ["transfer.lineage=[{run: a, checkpoint: b, manifest_sha256: c, mode: d, iteration: 1, mlflow_run_id: e}]"],
            "transfer.lineage: is",
        ),
    ],
)
def test_keys_that_mean_nothing_are_refused(overrides: list[str], message: str) -> None:
    assert error_of(*overrides).startswith(message)


@pytest.mark.usefixtures("home")
def test_a_decay_by_layer_is_refused_where_the_head_alone_is_trained() -> None:
    frozen = [*SEQUENCES, "transfer.mode=feature_extraction", "transfer.layer_lr_decay=0.5"]
    assert error_of(*frozen).startswith("transfer.layer_lr_decay = 0.5: the head has the full learning rate")
    assert compose([*frozen, "transfer.unfreeze_at_iter=3"], PROJECT).transfer.layer_lr_decay == 0.5


def test_a_reference_that_names_nothing_is_refused_under_its_own_key(home: Path) -> None:
    told = error_of("transfer.init_checkpoint=tinny")
    assert told.startswith("transfer.init_checkpoint = 'tinny': no such run") and "did you mean 'tiny'" in told
    (home / "model.pt").write_bytes(b"\x80\x04N.")
    told = error_of(f"transfer.init_checkpoint={home}/model.pt")
    assert told.startswith("transfer.init_checkpoint = ") and "is a file" in told


def test_an_altered_checkpoint_is_refused(home: Path) -> None:
    path = newest(RunFolder(home / "runs" / "tiny"))
    (path / "vocabulary.json").write_text("{}")
    told = error_of(f"transfer.init_checkpoint={path}")
    assert "vocabulary.json has 2 bytes" in told
