"""What is compared with what, and that nothing but the arm differs between the runs of one seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from jobs_of_tests import job_function
from small_comparison import CHARS_PER_STEP, plan, words

from masklab.cluster.compare.plan import ComparisonPlan, PlannedRun, resolved
from masklab.config.command_line.main import main
from masklab.config.compose.yaml_io import dump_values
from masklab.config.jobs.registry import COMPARE
from masklab.errors import RunError
from masklab.model.size import flops_per_char
from masklab.model.transformer import Transformer
from masklab.training.data.batch import BatchKey


@pytest.fixture(scope="module")
def made(home: Path, root: Path) -> ComparisonPlan:
    return plan(home, root, "compare.curricula=[sticky,random]", "run.name=plan")


def windows(made: ComparisonPlan, run: PlannedRun) -> bytes:
    maker = run.config.recipe.batch_maker(made.corpus)
    return b"".join(maker.make(BatchKey(0, step)).targets.tobytes() for step in range(3))


def weights(made: ComparisonPlan, run: PlannedRun) -> bytes:
    vocabulary, recipe = made.corpus.vocabulary, run.config.recipe
    model = Transformer(recipe.model, vocabulary.size, vocabulary.extended_size, seed=recipe.seed)
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().tobytes()


@pytest.mark.parametrize("digest", [windows, weights])
def test_all_arms_of_a_seed_begin_alike_and_read_the_same_text(made: ComparisonPlan, digest: object) -> None:
    by_seed = {seed: {digest(made, run) for run in made.runs if run.seed == seed} for seed in (1, 2)}  # type: ignore[operator]
    assert all(len(digests) == 1 for digests in by_seed.values())
    assert by_seed[1] != by_seed[2]


def test_all_runs_are_judged_by_the_same_pools(made: ComparisonPlan) -> None:
    assert {run.config.recipe.pools(made.corpus).digest for run in made.runs} == {made.pools.digest}
    assert len(made.pools.stages) == 5, "three sticky stages and two random ones"


def test_whole_seeds_come_one_after_another_and_every_run_has_a_folder(made: ComparisonPlan) -> None:
    arms = [arm.name for arm in made.arms.arms]
    assert arms[0] == made.arms.baseline == "uniform"
    assert {"sticky", "sticky-shuffled", "sticky-reversed", "sticky-mixture", "sticky-last_only", "sticky-uniform_tail"} < set(arms)
    assert [(run.arm.name, run.seed) for run in made.runs] == [(arm, seed) for seed in (1, 2) for arm in arms]
    assert len({run.folder.path for run in made.runs}) == len(made.runs)
    assert made.runs[0].folder.path == made.folder.path / "arms" / "uniform" / "seed-1"


def test_each_arm_has_the_objective_of_its_curriculums_file(home: Path, root: Path) -> None:
    made = plan(home, root, "compare.curricula=[weighted,random]", "compare.controls=[uniform,reversed]", "run.name=weighted")
    objectives = {run.arm.name: run.config.objective for run in made.runs}
    assert objectives["weighted"].weighting == objectives["weighted-reversed"].weighting == "elbo"
    assert objectives["random"].weighting == objectives["uniform"].weighting == "none"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The project with one more curriculum, which brings an objective of its own."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("curricula", "datasets", "jobs"):
        (copy / folder).mkdir()
        for file in (root / folder).rglob("*.yaml"):
            target = copy / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    stages = "stages: [{type: random, max_ratio: 0.3, max_share: 0.5}, {type: random, max_ratio: 0.6}]\n"
    (copy / "curricula" / "weighted.yaml").write_text("objective: {weighting: elbo, normalisation: per_token}\n" + stages)
    return copy


@pytest.mark.parametrize("unit", ["max_chars", "max_masked_chars", "max_minutes"])
def test_the_budget_takes_the_place_of_trainings_own(home: Path, root: Path, unit: str) -> None:
    made = plan(home, root, "compare.curricula=[random]", f"compare.budget.{unit}=4000", "training.max_iters=7", f"run.name={unit}")
    for run in made.runs:
        training = run.config.training.model_dump()
        assert training[unit] == 4000
        assert [training[key] for key in ("max_iters", "max_chars", "max_masked_chars", "max_minutes") if key != unit] == [None] * 3


def test_floating_point_operations_are_characters_of_one_model(home: Path, root: Path) -> None:
    made = plan(home, root, "compare.curricula=[random]", "compare.budget.max_flops=1e9", "run.name=flops")
    config = made.runs[0].config
    each = flops_per_char(config.model, made.corpus.vocabulary.size, 32)
    assert config.training.max_chars == int(1e9 // each)


def test_a_command_line_speaks_of_every_arm_but_for_the_baselines_curriculum(home: Path, root: Path) -> None:
    words = ["compare.curricula=[random]", "curriculum=cosine", "objective.label_smoothing=0.1", "training.learning_rate=0.01"]
    made = plan(home, root, *words, "run.name=spoken")
    assert made.arms.baseline == "cosine"
    assert {run.config.objective.label_smoothing for run in made.runs} == {0.1}
    assert {run.config.training.learning_rate for run in made.runs} == {0.01}


def test_another_seed_may_be_added_and_nothing_else_may_change(home: Path, root: Path, made: ComparisonPlan) -> None:
    made.folder.begin(dump_values(resolved(made.config, made.arms)))
    again = plan(home, root, "compare.curricula=[sticky,random]", "run.name=plan", "compare.seeds=3", "compare.parallel=1")
    assert again.seeds == (1, 2, 3)
    with pytest.raises(RunError, match=r"compare\.margin: 0\.0 -> 0\.1"):
        plan(home, root, "compare.curricula=[sticky,random]", "run.name=plan", "compare.margin=0.1")
    file = root / "curricula" / "random.yaml"
    before = file.read_text()
    file.write_text(before.replace("0.7", "0.8"))
    with pytest.raises(RunError, match=r"arms\.random.*curriculum.*max_ratio: 0\.7 -> 0\.8"):
        plan(home, root, "compare.curricula=[sticky,random]", "run.name=plan")
    file.write_text(before)


def test_the_budget_holds_the_evaluation_that_it_must(home: Path, root: Path) -> None:
    least = 5 * CHARS_PER_STEP
    assert plan(home, root, "compare.curricula=[random]", f"compare.budget.max_chars={least}", "run.name=least").runs
    assert np.isclose(plan(home, root, "compare.curricula=[random]", "compare.budget.max_minutes=0.01", "run.name=m").budget.amount, 0.01)


MISTAKES = {
    "no curricula": (["compare.curricula=[]"], "compare.curricula: no curricula"),
    "unknown curriculum": (["compare.curricula=[stiky]"], "no such curriculum: 'stiky'"),
    "a curriculum twice": (["compare.curricula=[random,random]"], "names random twice"),
    "unknown control": (["compare.controls=[uniform,shufled]"], "shuffled"),
    "one seed": (["compare.seeds=1"], "compare.seeds = 1: must be at least 2"),
    "no budget": (["compare.budget=null"], "compare.budget: must be given"),
    "two budgets": (["compare.budget.max_minutes=1", "compare.budget.max_chars=9999"], "exactly one of"),
    "a budget without an evaluation": (["compare.budget.max_chars=100"], "give at least 256"),
    "masked characters without an evaluation": (["compare.budget={max_masked_chars: 30}"], "before the first evaluation"),
    "operations without a character": (["compare.budget={max_flops: 10}"], "compare.budget.max_flops = 10"),
    "a stage that no evaluation reaches": (["compare.budget.max_chars=256"], "stage 1 of random would never begin"),
    "a baseline of several stages": (["curriculum=sticky"], "the baseline has one stage"),
    "several workers": (["scaling.num_workers=2"], "scaling.num_workers = 2"),
    "a wrong key of one arm": (["training.max_iter=5"], "max_iters"),
    "an own validation stage": (["compare.curricula=[own,random]"], "own advances on its current stage's own"),
    "no such report": (["report=nothing"], "no such comparison"),
    "a text that is too short": (["training.block_size=100000", "compare.budget.max_minutes=1"], "fewer than one block of 100,000"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    mistake: str, tmp_path: Path, text: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given, expected = MISTAKES[mistake]
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    (root / "curricula" / "own.yaml").write_text("advance_on: current_stage\nstages: [{type: exact_count}, {type: diffusion}]\n")
    line = words(tmp_path, "compare.curricula=[random]", *given, "run.name=x")
    if any(word.startswith("compare.budget={") for word in given):
        line = [word for word in line if not word.startswith("compare.budget.")]
    status = main("compare", "", lambda config: job_function(root, "compare")(config, line), root, line, tree=COMPARE)
    out, err = capsys.readouterr()
    assert status == 2
    assert err.startswith("masklab: error: ") and err.count("\n") == 1 and "Traceback" not in out + err
    assert expected in err
    assert not (tmp_path / "home" / "runs").exists() and not (tmp_path / "home" / "mlflow.db").exists()
