"""Runs that share a process, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from masklab.cluster import trial as module
from masklab.training.settings import SystemSettings


@pytest.fixture
def compiler() -> Iterator[Any]:
    import torch._dynamo

    torch.compiler.reset()
    yield torch._dynamo
    torch.compiler.reset()
    torch.set_flush_denormal(False)


def test_every_run_of_a_process_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: Any) -> None:
    """Torch gives up on a function that it has compiled for some models before, and runs it as it is."""
    compiled: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Any:
        compiled.append(graph)
        return graph.forward

    def built(*_: Any) -> None:
        torch.compile(torch.nn.Linear(2 + len(compiled), 1).forward, backend=backend)(torch.ones(1, 2 + len(compiled)))

    monkeypatch.setattr(module, "build_loop", built)
    monkeypatch.setattr(module, "_reported", lambda *_: None)
    spec = SimpleNamespace(recipe=SimpleNamespace(system=SystemSettings(compile=True)), threads=1, use_gpu=False, tracking=None)
    for _ in range(compiler.config.recompile_limit + 3):
        module.run_trial(SimpleNamespace(spec=spec, info=SimpleNamespace(folder=tmp_path)))  # type: ignore[arg-type]
    assert len(compiled) == compiler.config.recompile_limit + 3
