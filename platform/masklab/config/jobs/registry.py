"""The jobs: the root section of each one's configuration, its groups of files, the short names of some keys, and its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masklab.schema import Section


FOLDERS = {
    "curriculum": "curricula",
    "dataset": "datasets",
    "mode": "jobs/conf/mode",
    "model": "jobs/conf/model",
    "experiment": "jobs/conf/experiment",
    "sweep": "jobs/conf/sweep",
}
"""The project's folder of each group's files."""
REFERENCE = Path(__file__).resolve().parents[1] / "command_line/reference.json"
"""The keys of all jobs with their help lines, which `make reference` generates."""
RUN_GROUPS = ("curriculum", "dataset", "mode", "model", "experiment")
"""The groups of a training run."""


@dataclass(frozen=True)
class JobTree:
    """`module` of masklab.config.jobs holds the class `root`, which is imported only when a configuration is read.

    `inherited` are the keys whose values come from the configuration of the run that `checkpoint=` names; a tree that has some, or no
    `groups`, is not composed from `jobs/conf/config.yaml`. `choices` are the files of groups that are taken unless others are named.
    `shorthands` stand for another key. `used` are the sections and keys that matter, the only ones that `--help` shows; empty for
    all.
    """

    module: str
    root: str
    groups: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    shorthands: Mapping[str, str] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    examples: tuple[str, ...] = ("",)

    def root_class(self) -> type[Section]:
        """The root section."""
        root: type[Section] = getattr(import_module(f"masklab.config.jobs.{self.module}"), self.root)
        return root


TRAIN = JobTree(
    "train",
    "Config",
    groups=RUN_GROUPS,
    examples=(
        "",
        "dataset=shakespeare_char dataset.path=FILE",
        "curriculum=sticky curriculum.stages.1.mask_ratio=0.5 model=small",
        "+experiment=smoke --cfg job",
    ),
)
SAMPLE = JobTree(
    "sample",
    "SampleConfig",
    inherited=("tracking.uri",),
    shorthands={"prompt": "sampling.prompt", "num_samples": "sampling.num_samples"},
    examples=(
        "checkpoint=RUN",
        'checkpoint=RUN prompt="ROMEO:" num_samples=4 sampling.steps=32 sampling.temperature=0.8',
        'checkpoint=runs/RUN/checkpoints/step_000001000 prompt="To be[20]not to be" watch.html=true',
    ),
)
EVALUATE = JobTree(
    "evaluate",
    "EvaluateConfig",
    groups=("curriculum", "dataset"),
    inherited=("dataset", "curriculum", "tracking.uri"),
    examples=(
        "checkpoint=RUN",
        "checkpoint=RUN against=OTHER",
        "checkpoint=RUN curriculum=sticky evaluation.sequences=4096",
    ),
)
PREDICT = JobTree(
    "predict",
    "PredictConfig",
    inherited=("tracking.uri",),
    examples=(
        "checkpoint=RUN dataset.path=FILE",
        "checkpoint=RUN dataset.path=new.tsv dataset.text_column=review output=labelled.tsv",
    ),
)
COMPARE = JobTree(
    "compare",
    "CompareConfig",
    groups=RUN_GROUPS,
    choices={"curriculum": "uniform"},
    examples=(
        "compare.curricula=[sticky,progressive,random] compare.budget.max_chars=1000000 compare.seeds=5 run.name=NAME",
        "compare.curricula=[mine] compare.controls=[uniform,last_only] compare.budget.max_minutes=3",
        "report=NAME",
    ),
)
TUNE = JobTree(
    "tune",
    "TuneConfig",
    groups=tuple(FOLDERS),
    shorthands={"scaling.gpus_per_trial": "sweep.gpus_per_trial"},
    examples=(
        "sweep=learning_rate curriculum=sticky training.max_chars=1000000 run.name=NAME",
        "sweep=ramp sweep.num_trials=32 training.max_chars=1000000",
        '\'sweep.space={curriculum: "choice(uniform,sticky)", training.learning_rate: "log(1e-3,1e-2)"}\' sweep.search=grid',
    ),
)
SYNC = JobTree(
    "sync",
    "SyncConfig",
    examples=(
        "",
        "run=NAME",
        "run=NAME tracking.uri=http://host:5000",
    ),
)
PREPARE = JobTree(
    "prepare",
    "PrepareConfig",
    groups=RUN_GROUPS,
    shorthands={"import": "older.file", "name": "older.name"},
    used=("dataset", "training.block_size", "older"),
    examples=(
        "dataset=shakespeare_char",
        "import=config/train_shakespeare_char.py",
        "import=data/mine/training_config.py name=mine",
    ),
)
BENCHMARK = JobTree(
    "train",
    "Config",
    groups=RUN_GROUPS,
    used=(
        "run.seed",
        *("dataset", "curriculum.stages", "curriculum.mixing", "model", "mode", "objective"),
        *("training.batch_size", "training.gradient_accumulation_steps", "training.block_size"),
        *("batches", "scaling.use_gpu", "scaling.cpus_per_worker", "scaling.ray_logs", "system"),
    ),
    examples=("", "model=small curriculum=sticky"),
)
JOBS = {"train": TRAIN, "sample": SAMPLE, "evaluate": EVALUATE, "predict": PREDICT, "compare": COMPARE, "tune": TUNE, "sync": SYNC}
"""The trees of the jobs by name, all that have one in this package."""


FLATTENED = ("masking", "sampler")
"""Each holds one section of a closed union, whose kind is itself one of the keys: `type: sticky`, `strategy: confidence`."""
