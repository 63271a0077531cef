"""Write text with a trained model: python jobs/sample.py checkpoint=RUN [prompt="ROMEO:"] [key=value ...]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import SAMPLE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.sample import SampleConfig


def run(config: SampleConfig) -> int:
    """Generate, show and save texts."""
    from masklab.config.home import home_of
    from masklab.inference.sample import sample

    return sample(config, home_of(PROJECT))


if __name__ == "__main__":
    sys.exit(main("sample", "Write text with a trained model: from nothing, after a prompt, or in its gaps.", run, PROJECT, tree=SAMPLE))
