"""Figures of a trained model: python jobs/evaluate.py checkpoint=RUN [against=OTHER] [key=value ...]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line import main  # noqa: E402
from masklab.config.job_tree import EVALUATE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.evaluate_tree import EvaluateConfig


def run(config: EvaluateConfig) -> int:
    """Score a model."""
    from masklab.config.checkpoint_reference import find_checkpoint
    from masklab.config.home import home_of

    home = home_of(PROJECT)
    mode = find_checkpoint(config.checkpoint, home).config().mode
    if mode.labels_of:
        from masklab.tracking.label_evaluation import evaluate_labels

        return evaluate_labels(config, home)
    if mode.type in ("replaced_token_detector", "sequence_classifier"):
        from masklab.tracking.detector_evaluation import evaluate_detector

        return evaluate_detector(config, home)
    from masklab.tracking.evaluation_run import evaluate

    return evaluate(config, home)


if __name__ == "__main__":
    description = "Measure a trained model: bounds on its likelihood, its loss by stage and mask ratio, and the text of its samplers."
    sys.exit(main("evaluate", description, run, PROJECT, tree=EVALUATE))
