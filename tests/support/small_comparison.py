"""A small comparison on a file of text, as the tests of the job and of its plan need it."""

from __future__ import annotations

from pathlib import Path

from masklab.cluster.compare.plan import ComparisonPlan
from masklab.config.compose.composition import compose_tree
from masklab.config.jobs.compare import CompareConfig
from masklab.config.jobs.registry import COMPARE

CHARS_PER_STEP = 4 * 32


def words(home: Path, *overrides: str) -> list[str]:
    """The command line: one layer of 16 channels on blocks of 32 characters, 20 steps unless `overrides` say otherwise."""
    text = home / "text.txt"
    return [
        *("dataset=text", f"dataset.path={text}", "run.seed=1"),
        *("model.n_layer=1", "model.n_head=2", "model.n_embd=16"),
        *("training.batch_size=4", "training.block_size=32", "training.eval_interval=2", "training.warmup_iters=2"),
        *("validation.sequences=6", "validation.nelbo_sequences=16", "validation.final_nelbo_sequences=32"),
        *("sampling.steps=4", "compare.curve_levels=4", "compare.curve_sequences=8", "compare.seeds=2"),
        *([] if any(o.startswith("compare.budget") for o in overrides) else [f"compare.budget.max_chars={20 * CHARS_PER_STEP}"]),
        *overrides,
    ]


def plan(home: Path, root: Path, *overrides: str) -> ComparisonPlan:
    """The plan of that command."""
    line = words(home, *overrides)
    config = compose_tree(COMPARE, line, root)
    assert isinstance(config, CompareConfig)
    return ComparisonPlan.of(config, line, root, home, 0.0)
