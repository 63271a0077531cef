"""Labels of texts by a trained classifier: python jobs/predict.py checkpoint=RUN dataset.path=FILE [key=value ...]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import PREDICT  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.predict import PredictConfig


def run(config: PredictConfig) -> int:
    """Predict and write."""
    from masklab.config.home import home_of
    from masklab.inference.predict import predict

    return predict(config, home_of(PROJECT))


if __name__ == "__main__":
    description = "Predict the label of each text of a file, by a model that was trained with mode=sequence_classifier or token_labeller."
    sys.exit(main("predict", description, run, PROJECT, tree=PREDICT))
