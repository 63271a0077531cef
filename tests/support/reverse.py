"""Running one sampler on a process that can be enumerated, or on a small network, without a prompt's text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from enumerated_denoiser import EnumeratedDenoiser, random_joint

from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer
from masklab.sampling.canvas import Canvas
from masklab.sampling.denoiser import Denoiser
from masklab.sampling.generation import Generation, Watcher, run
from masklab.sampling.sampler import Judge, ReverseProcess
from masklab.sampling.settings import SamplingSettings
from masklab.text.vocabulary import Vocabulary

LETTERS = Vocabulary.of_text("abcdefgh")
V, T = 3, 4
JOINT = random_joint(V, T, seed=4)


def settings_of(**keys: Any) -> SamplingSettings:
    """Settings as a configuration file has them."""
    return SamplingSettings.model_validate(keys)


def network(seed: int = 3, vocabulary: Vocabulary = LETTERS, causal: bool = False, **keys: Any) -> Transformer:
    """A small network with opinions: a new one is nearly uniform."""
    config = ModelConfig(n_layer=2, n_head=2, n_embd=16, **keys)
    model = Transformer(config, vocabulary.size, vocabulary.extended_size, seed=seed, causal=causal)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.08 * torch.randn(p.shape, generator=generator))
    return model


def run_sampler(
    model: Any,
    start_T: np.ndarray,
    mask_id: int,
    settings: SamplingSettings,
    *,
    block_size: int | None = None,
    judge: Judge | None = None,
    watch: Watcher | None = None,
    reuse: bool = True,
) -> Generation:
    """Fill the masked positions of `start` (T,) in `settings.num_samples` copies."""
    start_T = np.asarray(start_T, np.int64)
    canvas = Canvas.of(start_T, start_T != mask_id, mask_id, settings.seed, settings.num_samples)
    denoiser = Denoiser(model, settings.num_samples, settings.batch_size, reuse=reuse)
    return run(ReverseProcess(canvas, denoiser, settings, block_size or len(start_T), judge), settings, watch)


def joint_counts(samples: int, **keys: Any) -> np.ndarray:
    """How often each of the V ** T sequences of JOINT is generated from all masked by its exact denoiser: (V ** T,)."""
    settings = settings_of(num_samples=samples, seed=11, batch_size=4096, **keys)
    tokens = run_sampler(EnumeratedDenoiser(JOINT, V, T), np.full(T, V), V, settings).tokens
    return np.bincount(tokens @ V ** np.arange(T - 1, -1, -1), minlength=V**T)
