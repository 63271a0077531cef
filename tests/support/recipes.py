"""Small recipes for the tests of the loop."""

from __future__ import annotations

from typing import Any

from masklab.curriculum.curriculum import Curriculum
from masklab.model.config import ModelConfig
from masklab.modes.token_classifier import TokenClassifier
from masklab.sampling.settings import SamplingSettings
from masklab.training.loss_spikes import StabilitySettings
from masklab.training.recipe import Recipe
from masklab.training.settings import ObjectiveSettings, SystemSettings, TrainingSettings, ValidationSettings

STICKY = {"type": "sticky", "mask_ratio": 0.2, "p_start": 0.2, "p_extend": 0.3, "max_iters": 8}


def recipe(**sections: dict[str, Any]) -> Recipe:
    """Two layers of 32 channels on blocks of 32 characters; `sections` change keys of a section."""
    training = {"max_iters": 20, "batch_size": 4, "block_size": 32, "eval_interval": 4, "log_interval": 2, "warmup_iters": 2}
    validation = {"sequences": 6, "nelbo_sequences": 16, "final_nelbo_sequences": 32}
    return Recipe(
        seed=7,
        windows="anywhere",
        curriculum=Curriculum.model_validate({"stages": [STICKY, {"type": "diffusion"}]} | sections.get("curriculum", {})),
        mode=TokenClassifier(),
        model=ModelConfig.model_validate({"n_layer": 2, "n_head": 2, "n_embd": 32} | sections.get("model", {})),
        objective=ObjectiveSettings.model_validate(sections.get("objective", {})),
        training=TrainingSettings.model_validate(training | sections.get("training", {})),
        validation=ValidationSettings.model_validate(validation | sections.get("validation", {})),
        system=SystemSettings.model_validate({"device": "cpu"} | sections.get("system", {})),
        sampling=SamplingSettings.model_validate({"steps": 4} | sections.get("sampling", {})),
        stability=StabilitySettings.model_validate(sections.get("stability", {})),
    )
