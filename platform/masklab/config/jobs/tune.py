"""Configuration of jobs/tune.py: that of a training run, and the section `sweep`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from masklab.config.jobs.train import Config
from masklab.config.search.search_space import Distribution, distribution, why_fixed
from masklab.errors import ConfigError
from masklab.schema import Section

FIXED = {
    "sweep": "a sweep does not vary its own settings",
    "run.name": "trials are named by their numbers",
    "run.folder": "trials are kept in the sweep's folder",
    "dataset": "NELBOs of two texts cannot be compared",
    "validation": "the NELBO must be measured alike in all trials",
    "curriculum.validation_stages": "validation stages are never searched over",
    "training.block_size": "the NELBO is measured on windows of that length",
    "training.max_iters": "trials are compared at one budget",
    "training.max_chars": "trials are compared at one budget",
    "training.max_masked_chars": "trials are compared at one budget",
    "training.max_minutes": "trials are compared at one budget",
    "tracking": "it does not change the metrics",
    "scaling": "it does not change the metrics",
    "batches": "it does not change the metrics",
}
"""Keys, or sections, that cannot be searched over, and why."""


class SweepSettings(Section):
    """What is searched, and how."""

    space: dict[str, str] = Field(default={})
    """Searched keys, each with a distribution: log(LOW, HIGH), uniform(LOW, HIGH), int(LOW, HIGH) or choice(A, B)."""
    search: Literal["grid", "random", "optuna"] = "random"
    """How the values of each trial are chosen: all combinations (grid), at random, or by the results of earlier trials (optuna, with
    TPE)."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """What happens to trials that fall behind: nothing (none), they end early (asha: successive halving by characters), or they copy the
    weights of better trials and change their values (pbt: population based training)."""
    grace: float = Field(default=0.25, gt=0, le=1)
    """Share of the budget that each trial trains before asha may stop it."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """Reduction factor (eta) of ASHA: at each rung the best 1/eta of the trials continue, and each rung is eta times later than the one
    before."""
    interval: float = Field(default=0.1, gt=0, le=0.5)
    """Share of the budget between two exploit steps of pbt, in which the worst trials copy the weights of the best."""
    quantile: float = Field(default=0.25, gt=0, le=0.5)
    """Bottom fraction of the population that copies weights, and top fraction that is copied (pbt exploit)."""
    resample: float = Field(default=0.25, ge=0, le=1)
    """Probability that a copied hyperparameter is resampled instead of multiplied by 0.8 or 1.2 (pbt explore)."""
    num_trials: int | None = Field(default=None, ge=1)
    """Number of trials. If null, 8, or all combinations of a grid."""
    grid_points: int = Field(default=3, ge=2)
    """Values per numeric key in a grid, evenly spaced between its ends."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Random seed of the chosen values. The trials themselves use run.seed."""
    parallel: int | None = Field(default=None, ge=1)
    """Maximum number of trials at a time. If null, as many as the cluster has room for."""
    gpus_per_trial: float | None = Field(default=None, gt=0, le=1)
    """Share of a GPU per trial, e.g. 0.5 for two trials on one GPU. If null, a whole GPU if there are enough."""

    @field_validator("space")
    @classmethod
    def _spells_distributions(cls, space: dict[str, str]) -> dict[str, str]:
        for key, text in space.items():
            if reason := next((why for fixed, why in FIXED.items() if key == fixed or key.startswith(f"{fixed}.")), None):
                raise ValueError(f"{key}: cannot be searched over; {reason}")
            try:
                distribution(text)
            except ConfigError as error:
                raise ValueError(f"{key} = {text!r}: {error}") from error
        return space

    @property
    def distributions(self) -> dict[str, Distribution]:
        return {key: distribution(text) for key, text in self.space.items()}


class TuneConfig(Config):
    """A search for the configuration with the lowest NELBO at one budget."""

    sweep: SweepSettings = SweepSettings()
    """What is searched, and how."""

    @model_validator(mode="after")
    def _ranks_by_a_likelihood(self) -> Self:
        if self.mode.yardstick is None:
            raise ValueError(
                f"mode = {self.mode.type}: has no likelihood, and trials are ranked by it; take mode=token_classifier or "
                "mode=language_model"
            )
        return self

    @model_validator(mode="after")
    def _searches_something(self) -> Self:
        if not self.sweep.space:
            raise ValueError(
                "sweep.space: nothing to search over; choose a file with sweep=NAME, or give "
                "'sweep.space={training.learning_rate: \"log(1e-4, 1e-2)\"}'"
            )
        if self.sweep.scheduler != "none" and self.training.max_iters is None and self.training.max_chars is None:
            raise ValueError(
                f"sweep.scheduler = '{self.sweep.scheduler}': trials are compared at equal numbers of characters; "
                "give the budget as training.max_chars or max_iters"
            )
        if self.sweep.scheduler == "pbt":
            self._is_a_population()
        for key in ("training.batch_size", "training.gradient_accumulation_steps"):
            if key in self.sweep.space and self.training.max_iters is not None:
                raise ValueError(
                    f"sweep.space: {key}: training.max_iters = {self.training.max_iters} steps are other numbers of characters in each "
                    "trial, and trials are compared at one budget; give it as training.max_chars"
                )
        if self.scaling.is_elastic:
            raise ValueError(
                f"scaling.num_workers = {[self.scaling.fewest, self.scaling.most]}: each trial of a sweep has the same number of "
                "workers throughout; give one number"
            )
        if self.scaling.most > 1 and (self.sweep.gpus_per_trial or 1) < 1:
            raise ValueError(
                f"sweep.gpus_per_trial = {self.sweep.gpus_per_trial:g}: with scaling.num_workers = {self.scaling.num_workers} each worker "
                "takes a whole GPU; drop gpus_per_trial, or give a trial one worker"
            )
        return self

    def _is_a_population(self) -> None:
        for key in self.sweep.space:
            if reason := why_fixed(key):
                raise ValueError(f"sweep.space: {key}: cannot be varied with sweep.scheduler=pbt; {reason}")
        if self.sweep.search == "optuna":
            raise ValueError(
                "sweep.search = 'optuna': a population chooses its values itself once it has begun; "
                "sweep.scheduler=pbt goes with random or grid"
            )
        if self.scaling.most > 1:
            raise ValueError(
                f"scaling.num_workers = {self.scaling.num_workers}: each trial of a population has one worker; see sweep.parallel"
            )
