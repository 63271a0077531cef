"""Shapes that cannot be built are refused when the configuration is read; the presets are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from masklab.model.config import ModelConfig

PRESETS = Path(__file__).parents[2] / "jobs" / "conf" / "model"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"n_embd": 130}, "n_embd=130 is not a multiple of n_head=4"),
        ({"n_embd": 12}, "heads of 3 channels.*make n_embd a multiple of 8"),
        ({"n_layer": 0}, "n_layer"),
        ({"n_head": 0}, "n_head"),
        ({"n_embd": 0}, "n_embd"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"norm": "batch"}, "norm"),
        ({"activation": "relu"}, "activation"),
        ({"rope_base": 1.0}, "rope_base"),
        ({"heads": 4}, "heads"),
    ],
)
def test_impossible_shapes_are_refused_with_the_key(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModelConfig.model_validate(keys)


@pytest.mark.parametrize(("name", "shape"), [("tiny", (4, 4, 128)), ("small", (6, 6, 384)), ("medium", (12, 12, 768))])
def test_presets_load(name: str, shape: tuple[int, int, int]) -> None:
    config = ModelConfig.model_validate(yaml.safe_load((PRESETS / f"{name}.yaml").read_text()))
    assert (config.n_layer, config.n_head, config.n_embd) == shape


def test_tiny_is_the_default() -> None:
    assert ModelConfig.model_validate(yaml.safe_load((PRESETS / "tiny.yaml").read_text())) == ModelConfig()
