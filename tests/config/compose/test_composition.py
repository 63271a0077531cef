"""Files, presets and overrides make one configuration, and every mistake in them one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masklab.config.compose.composition import compose, group_names
from masklab.config.compose.overrides import Overrides
from masklab.config.compose.validation_messages import sections_in
from masklab.config.compose.yaml_io import dump, load, validated
from masklab.config.jobs.registry import FLATTENED
from masklab.config.jobs.train import Config
from masklab.errors import ConfigError, UserError

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's configuration files."""
    for folder in ("curricula", "datasets", "jobs/conf"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    return tmp_path


def error_of(*overrides: str, root: Path = PROJECT) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(overrides, root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_default_is_the_annealed_curriculum_on_the_embedded_text_with_the_tiny_model() -> None:
    config = compose([], PROJECT)
    assert (config.curriculum.name, config.dataset.source, config.model.n_layer) == ("annealed", "python_docs", 4)


def test_a_key_that_stands_in_no_file_can_be_overridden() -> None:
    config = compose(
        ["curriculum.stages.1.mask_ratio=0.45", "training.max_iters=7", "run.name=x", "curriculum.stages[0].patience=2"], PROJECT
    )
    assert config.curriculum.stages[1].model_dump()["mask_ratio"] == 0.45
    assert (config.training.max_iters, config.run.name, config.curriculum.stages[0].patience) == (7, "x", 2)


def test_the_last_of_two_overrides_wins() -> None:
    assert compose(["training.max_iters=7", "training.max_iters=8"], PROJECT).training.max_iters == 8


def test_a_stage_given_as_a_whole_replaces_the_old_one() -> None:
    stage = compose(["curriculum=sticky", "curriculum.stages.1={type: random, max_ratio: 0.5}"], PROJECT).curriculum.stages[1]
    assert stage.masking.type == "random"


def test_a_stage_and_a_key_can_be_taken_away() -> None:
    config = compose(["curriculum=sticky", "~curriculum.stages.0", "~curriculum.stages.0.max_share"], PROJECT)
    assert len(config.curriculum.stages) == 2
    assert config.curriculum.stages[0].max_share is None


def test_experiment_is_found_with_and_without_its_plus_sign() -> None:
    assert compose(["experiment=smoke"], PROJECT) == compose(["+experiment=smoke"], PROJECT)


def test_a_curriculum_file_sets_the_objective_and_the_command_line_wins(project: Path) -> None:
    (project / "curricula/mine.yaml").write_text(
        "stages: [{type: diffusion}]\nobjective: {weighting: elbo, label_smoothing: 0.1}\n", encoding="utf-8"
    )
    chosen = compose(["curriculum=mine", "objective.label_smoothing=0.2"], project)
    assert (chosen.objective.weighting, chosen.objective.label_smoothing) == ("elbo", 0.2)
    assert chosen.curriculum.name == "mine"
    assert compose(["curriculum=uniform"], project).objective.weighting == "none"


def test_files_of_another_project_are_forgotten(project: Path) -> None:
    shutil.copy(project / "curricula/uniform.yaml", project / "curricula/mine.yaml")
    compose(["curriculum=mine"], project)
    assert "no such curriculum" in error_of("curriculum=mine")


@pytest.mark.parametrize("content", [b"stages: [", b"- 1\n", b"\xff\xfe\x00", b"stages: {a: b: c}"])
def test_a_file_that_cannot_be_read_is_an_error_only_when_it_is_chosen(project: Path, content: bytes) -> None:
    (project / "curricula/broken.yaml").write_bytes(content)
    compose([], project)
    assert error_of("curriculum=broken", root=project).startswith("curricula/broken.yaml: ")


def test_a_project_without_configuration_files_is_told_so(tmp_path: Path) -> None:
    assert error_of(root=tmp_path).startswith("jobs/conf")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_iter=3", "training.max_iter: unknown key (did you mean 'max_iters'?)"),
        ("trainin.max_iters=3", "trainin: unknown key (did you mean 'training'?)"),
        ("max_iters=3", "max_iters: unknown key (did you mean 'training.max_iters'?)"),
        ("training.n_layer=3", "training.n_layer: unknown key (did you mean 'model.n_layer'?)"),
        ("curriculum.stages.0.mask_ration=0.3", "curriculum.stages.0.mask_ration: unknown key (did you mean 'mask_ratio'?)"),
        ("curriculum.stages.0.patiense=3", "curriculum.stages.0.patiense: unknown key (did you mean 'patience'?)"),
        ("curriculum.stages.0.replacement.maks=1", "curriculum.stages.0.replacement.maks: unknown key (did you mean 'mask'?)"),
        ("dataset._target_=os.getcwd", "dataset._target_: unknown key"),
        ("training.beta1=2", "training.beta1 = 2: must be below 1.0"),
        ("training.max_iters=0", "training.max_iters = 0: must be at least 1"),
        ("training.max_iters=a", "training.max_iters = 'a': must be a whole number"),
        ("training.learning_rate=nan", "training.learning_rate = nan: must be a finite number"),
        ("system.dtype=bf16", "system.dtype = 'bf16': must be one of auto, float32, bfloat16, float16 (did you mean 'bfloat16'?)"),
        ("system.compile=3", "system.compile = 3: must be true or false"),
        ("training=3", "training = 3: must be a mapping of keys"),
        ("curriculum.stages=[]", "curriculum.stages: no stages; give at least 1"),
        ("curriculum.stages=3", "curriculum.stages = 3: must be a list"),
        ("curriculum.stages=[3]", "curriculum.stages.0 = 3: must be a mapping of keys"),
        ("curriculum.stages=[{type: random}]", "curriculum.stages.0.max_ratio: must be given"),
        ("curriculum.stages=[{max_ratio: 0.3}]", "curriculum.stages.0.type: must be given"),
        ("dataset=text", "give dataset.path=FILE"),
        ("run.name=???", "run.name: must be given"),
        ("training.batch_size=1,2", "several values for one key"),
        ("training.batch_size", "write KEY=VALUE"),
        ("training.batch_size=a=b", "quote a value with special characters"),
        ("training.batch_size=${nothing.here}", "training.batch_size: ${nothing.here}: there is no such key"),
        ("--max_iters=3", "keys are written without dashes"),
        ("hydra.run.dir=x", "unknown key 'hydra.run.dir'"),
        ("hydra/launcher=basic", "unknown key 'hydra/launcher'"),
        ("training@here=x", "unknown key 'training'"),
        ("~training.max_iters", "nothing to take away"),
        ("~model", "model takes the name of one file; there are medium, small, tiny"),
        ("model=null", "model takes the name of one file; there are medium, small, tiny"),
        ("model=tinny", "model = 'tinny': no such model; there are medium, small, tiny (did you mean 'tiny'?)"),
        ("+experiment=smok", "(did you mean 'smoke'?)"),
        ("run.name=a/b", "a name, not a path"),
        ("scaling.num_workers=3", "scaling.num_workers = 3: a global batch of 16 sequences"),
        ("training.min_lr=1", "training.min_lr = 1: must be at most training.learning_rate"),
        ("sampling.step=3", "sampling.step: unknown key (did you mean 'steps'?)"),
        ("steps=3", "steps: unknown key (did you mean 'sampling.steps'?)"),
        ("sampling.n_layer=3", "sampling.n_layer: unknown key (did you mean 'model.n_layer'?)"),
        ("sampling.steps=0", "sampling.steps = 0: must be at least 1"),
        ("sampling.strategy=stochastik", "sampling.strategy = 'stochastik': must be one of stochastic, first_hitting"),
        ("sampling.strategy=stochastik", "(did you mean 'stochastic'?)"),
        ("sampling.length=129", "sampling.length=129 is more than the model's block_size=128"),
        ("sampling.prompt=" + 128 * "a", "sampling.prompt has 128 characters, which leaves nothing"),
        ("sampling.prompt=[0]", "a gap of no characters"),
        ("training.lr_decay_iters=3", "training.lr_decay_iters = 3: must be at least training.warmup_iters"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(override: str, message: str) -> None:
    assert message in error_of(override)


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ("0.5", "sampling.ratios = 0.5: must be one of linear, cosine, a list"),
        ("cosin", "sampling.ratios = 'cosin': must be one of linear, cosine, a list (did you mean 'cosine'?)"),
        ("[0.5,2]", "sampling.ratios.1 = 2: must be below 1.0"),
        ("[a]", "sampling.ratios.0 = 'a': must be a number"),
        ("[]", "sampling.ratios: no ratios; give at least 1"),
    ],
)
def test_a_word_or_a_list_is_asked_for_once(ratios: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["sampling.strategy=remask", f"sampling.ratios={ratios}"], PROJECT)
    assert str(caught.value) == message


def test_a_wrong_curriculum_lists_those_there_are_and_the_nearest() -> None:
    message = error_of("curriculum=stiky")
    assert all(name in message for name in group_names(PROJECT)["curriculum"])
    assert message.endswith("(did you mean 'sticky'?)")


def test_a_wrong_strategy_lists_those_there_are_and_the_nearest() -> None:
    message = error_of("curriculum.stages=[{type: stiky, mask_ratio: 0.2}]")
    assert message.startswith("curriculum.stages.0.type = 'stiky': must be one of random, sticky, ")
    assert message.endswith("(did you mean 'sticky'?)")


@pytest.mark.parametrize("value", ["1.4", "-0.1"])
def test_a_probability_outside_its_range_is_refused_with_key_and_value(value: str) -> None:
    message = error_of(f"curriculum.stages.1.mask_ratio={value}")
    assert message.startswith(f"curriculum.stages.1.mask_ratio = {value}: ")


def test_a_stage_number_that_is_not_there_is_refused_with_the_numbers_there_are() -> None:
    expected = "curriculum.stages.9: the stages are numbered 0 to 3; to add one give the whole list, curriculum.stages=[...]"
    assert error_of("curriculum.stages.9.mask_ratio=0.4") == expected


def test_an_unreachable_sticky_target_is_refused_with_its_stage() -> None:
    assert error_of("curriculum.stages.0.p_start=0").startswith("curriculum.stages.0: ")
    assert error_of("curriculum.stages.0.mask_ratio=0.95").startswith("curriculum.stages.0: ")


def test_a_key_of_another_kind_is_refused_with_the_kinds_that_have_it() -> None:
    message = error_of("sampling.strategy=first_hitting", "sampling.steps=3")
    assert message.startswith("sampling.steps: unknown key for first_hitting; it belongs to stochastic")
    message = error_of("curriculum.stages=[{type: random, max_ratio: 0.5, spans_count: 3}]")
    assert message == "curriculum.stages.0.spans_count: unknown key for random; it belongs to span"


@pytest.mark.parametrize("prompt", ["To be, or", "[5] and [*]", "${training.max_iters}", "???", "12", "null", "a=b: {c}", "'tis", "é\n#"])
def test_a_prompt_stands_for_itself(prompt: str) -> None:
    assert compose([f"sampling.prompt={prompt}"], PROJECT).sampling.prompt == prompt


def test_a_quoted_prompt_is_its_content() -> None:
    assert compose(["sampling.prompt='To be, or'"], PROJECT).sampling.prompt == "To be, or"
    assert compose(['sampling.prompt="\'tis"'], PROJECT).sampling.prompt == "'tis"


def test_several_mistakes_are_told_together() -> None:
    assert error_of("training.max_iters=0", "system.dtype=x").count("; ") == 1


def test_the_resolved_configuration_loads_back_to_itself(tmp_path: Path) -> None:
    config = compose(["curriculum=mixed", "training.max_iters=null", "training.max_minutes=1.5", "training.weight_decay=1e-5"], PROJECT)
    (tmp_path / "config.yaml").write_text(dump(config), encoding="utf-8")
    assert load(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("text", ["training: [", "3", "training: {max_iter: 3}"])
def test_a_configuration_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load(tmp_path / "config.yaml")


KEYS = [
    f"{section}.{key}"
    for section, field in Config.model_fields.items()
    for key in sections_in(field.annotation)[0].model_fields
    if key not in FLATTENED
]
VALUES = ["true", "false", "2", "4", "256", "0.5", "0.01", "other", "number", "[0]", "[{type: exact_count}]"]
"""Some value is fit for any key but those with names of their own to choose from."""
ONLY_VALUE = {"mode.type", "transfer.lineage"}
"""What has one value only, or is filled in."""
LABELLED = {
    "dataset": {"source": "labelled", "path": "some/file"},
    "mode": {"type": "sequence_classifier"},
    "curriculum": {"name": "none", "stages": [{"type": "none"}]},
}
UNTIED = {"model": {"tied_head": False}}
BESIDE = {
    **dict.fromkeys(("dataset.text_column", "dataset.label_column", "dataset.label_type", "dataset.max_rows"), LABELLED),
    "transfer.mode": {**UNTIED, "transfer": {"init_checkpoint": "given"}},
    "transfer": {**UNTIED, "transfer": {"init_checkpoint": "given", "mode": "feature_extraction", "unfreeze_at_iter": 8}},
}
"""Values without which a key, or some keys of a section, mean nothing."""


@pytest.fixture(scope="module")
def resolved() -> Config:
    return compose(["dataset=shakespeare_char", "dataset.path=some/file"], PROJECT)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ONLY_VALUE])
def test_every_key_can_be_overridden_and_changes_the_configuration(key: str, resolved: Config) -> None:
    section, name = key.split(".")
    own = type(getattr(resolved, section)).model_json_schema()["properties"][name]
    resolved = validated(resolved.model_dump(mode="json") | BESIDE.get(key, BESIDE.get(section, {})))
    for value in [*own.get("enum", []), *VALUES]:
        tree = resolved.model_dump(mode="json")
        asked = Overrides.parse([f"{key}={value}"], {})
        asked.apply(tree)
        asked.apply_literal(tree)
        try:
            changed = validated(tree)
        except ConfigError as error:
            assert "unknown key" not in str(error)
        else:
            if getattr(changed, section) != getattr(resolved, section):
                return
    pytest.fail(f"no value changes {key}")


WORDS = [
    "training",
    "max_iters",
    "curriculum",
    "stages",
    "0",
    "1",
    "mask_ratio",
    "dataset",
    "path",
    "model",
    "tiny",
    "type",
    "sticky",
    "null",
    "run",
]
PIECES = st.sampled_from(
    [*WORDS, ".", ".", "=", "=", "+", "~", "@", "/", ",", "[", "]", "{", "}", ":", "$", "${", "'", '"', "\\", " ", "-3", "1e400", "\n", "é"]
)


PLACES = [
    *KEYS,
    "curriculum.stages.0.mask_ratio",
    "curriculum.stages.1.replacement.mask",
    "curriculum.stages.3",
    "dataset",
    "model",
    "training",
]
ANY_VALUE = st.recursive(
    st.sampled_from([*VALUES, "null", "-1", "1e400", "nan", "''", "'a b'", "${training.max_iters}", "???", "tiny"]),
    lambda inner: st.lists(inner, max_size=2).map(lambda items: f"[{','.join(items)}]") | inner.map(lambda item: f"{{type: {item}}}"),
    max_leaves=4,
)
WELL_FORMED = st.builds("{}{}={}".format, st.sampled_from(["", "", "+", "++", "~"]), st.sampled_from(PLACES), ANY_VALUE)
RAW = st.lists(PIECES, max_size=9).map("".join) | st.text(max_size=12)


@settings(max_examples=40, deadline=None)
@example(["curriculum.stages=[{type: {a: b}}]"])
@example(["curriculum.stages=[{1: 2}]", "dataset={true: 3}"])
@example(["dataset={null: 3}"])
@example(["training.max_iters=" + "9" * 5000])
@example(["training.max_iters=" + "[" * 300])
@example(["training.max_iters=${training.max_iters}"])
@example(["training=???"])
@example(["curriculum.stages=[3]", "curriculum.stages.0.type.x=3"])
@example(["curriculum={a: 1}", "curriculum.description={b: 1}"])
@given(st.lists(WELL_FORMED | RAW, max_size=2))
def test_no_override_raises_anything_but_a_users_mistake(overrides: list[str]) -> None:
    try:
        compose(overrides, PROJECT)
    except UserError as error:
        assert str(error)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
        max_leaves=12,
    )
)
def test_no_tree_raises_anything_but_a_users_mistake(value: object) -> None:
    for tree in (value, {"dataset": value, "curriculum": value}, {"dataset": {"source": "text"}, "curriculum": {"stages": [value]}}):
        if isinstance(tree, dict):
            try:
                validated(tree)
            except UserError as error:
                assert str(error)


def test_a_schedule_is_a_name_a_mapping_or_a_name_with_keys_of_its_own(root: Path) -> None:
    def schedule(*overrides: str) -> dict[str, object]:
        return compose(["curriculum=uniform", *overrides], root).curriculum.model_dump()["stages"][0]["schedule"]

    place = "curriculum.stages.0.schedule"
    assert schedule(f"{place}=polynomial") == {"type": "polynomial", "power": 2.0}
    assert schedule(f"{place}=polynomial", f"{place}.power=3") == {"type": "polynomial", "power": 3.0}
    assert schedule(f"{place}={{type:cosine,offset:0.1}}", f"{place}={{type:polynomial,power:3}}") == {"type": "polynomial", "power": 3.0}
    assert schedule(f"{place}={{type:cosine,offset:0.1}}", f"{place}={{clip:0.9}}") == {"type": "cosine", "offset": 0.1, "clip": 0.9}


def test_a_runs_own_sample_has_no_detector(root: Path) -> None:
    with pytest.raises(ConfigError, match="no second network"):
        compose(["sampling.strategy=remask", "sampling.remask_by=detector", "sampling.detector_checkpoint=x"], root)


def test_a_runs_own_sample_must_fit_the_model(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.block_length=32 is more than the model's block_size=16"):
        compose(["training.block_size=16", "sampling.strategy=semi_autoregressive"], root)


@pytest.mark.parametrize(("override", "job"), [("sweep.num_trials=4", "jobs/tune.py"), ("compare.seeds=2", "jobs/compare.py")])
def test_a_key_of_another_job_is_told_as_such(override: str, job: str) -> None:
    with pytest.raises(ConfigError, match=f"belongs to {job}"):
        compose([f"+{override}"], PROJECT)
