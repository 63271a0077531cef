"""Configuration of jobs/prepare.py: that of a training run, of which it uses the dataset and training.block_size, and an older
configuration to import."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from masklab.config.jobs.train import Config
from masklab.io.paths import LONGEST_OF_CURRICULA, checked_name
from masklab.schema import Section


class OlderSettings(Section):
    """A configuration of nanoGPT, or of a masked-training program made from it, to import."""

    file: str | None = None
    """nanoGPT-style configuration file (`name = value` lines). It is parsed, never executed."""
    name: str | None = Field(default=None, max_length=LONGEST_OF_CURRICULA)
    """NAME of the files to write, jobs/conf/experiment/NAME.yaml and curricula/NAME.yaml. If null, the name of the older file."""

    @field_validator("name")
    @classmethod
    def _file_name(cls, name: str | None) -> str | None:
        if name is not None and "." in name:
            raise ValueError("must not hold a '.': files of groups are named without their ending")
        return None if name is None else checked_name(name)


class PrepareConfig(Config):
    """A dataset to prepare, or an older configuration to import."""

    older: OlderSettings = OlderSettings()
    """An older configuration to import."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        """Nothing is trained: any dataset goes with any mode."""
        return self
