"""Score a trained model: python jobs/evaluate.py checkpoint=RUN [against=OTHER] [key=value ...]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import EVALUATE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.evaluate import EvaluateConfig


def run(config: EvaluateConfig) -> int:
    """Score a model."""
    from masklab.config.home import home_of
    from masklab.inference.evaluate import evaluate

    return evaluate(config, home_of(PROJECT))


if __name__ == "__main__":
    description = (
        "Measure a trained model: bounds on its likelihood, its loss by stage and mask ratio, and statistics of the text that each\n"
        "sampler generates."
    )
    sys.exit(main("evaluate", description, run, PROJECT, tree=EVALUATE))
