"""Progress is counted by what networks are given, whoever asks them."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from masklab.inference import progress
from masklab.inference.progress import row_progress
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer


def test_lines_tell_the_share_of_the_rows_that_both_networks_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.0)
    models = [Transformer(ModelConfig(n_layer=1, n_head=1, n_embd=4), 3, 16) for _ in range(2)]
    out = io.StringIO()
    with row_progress(Console(file=out), "scoring", 8, models):
        for model in models:
            model.hidden(torch.zeros(2, 5, dtype=torch.int64))
            model(torch.zeros(2, 5, dtype=torch.int64))
    assert [line.partition(",")[0] for line in out.getvalue().splitlines()] == [f"scoring: {share}%" for share in (25, 50, 75, 100)]
    models[0](torch.zeros(2, 5, dtype=torch.int64))
    assert len(out.getvalue().splitlines()) == 4
