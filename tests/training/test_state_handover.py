"""One run's state in another's folder: byte by byte, in place of all that was there, and under the other's own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from masklab.errors import CheckpointError
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.optimizer import restore


def saved(folder: Path, *iterations: int) -> CheckpointStore:
    store = CheckpointStore(folder, {"config.yaml": f"name: {folder.name}\n"})
    for iteration in iterations:
        store.save(iteration, nn.Linear(3, 2), {"optimizer": {}}, {"iteration": iteration})
    return store


def test_what_is_taken_over_replaces_all_that_was_there(tmp_path: Path) -> None:
    donor, own = saved(tmp_path / "donor", 4, 8).newest(), saved(tmp_path / "own", 4, 8)
    assert donor is not None
    taken = own.adopt(donor)
    assert [path.name for path in own.folder.iterdir()] == ["step_000000008"]
    assert {file.name: file.read_bytes() for file in taken.path.iterdir()} == {
        file.name: file.read_bytes() for file in donor.path.iterdir()
    }
    assert own.newest() == taken and taken.weights_sha256 == donor.weights_sha256


def test_what_is_damaged_is_not_taken_over(tmp_path: Path) -> None:
    donor, own = saved(tmp_path / "donor", 8).newest(), saved(tmp_path / "own", 8)
    assert donor is not None
    before = own.newest()
    (donor.path / "optimizer.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"cannot be copied: optimizer\.pt has 7 bytes"):
        own.adopt(donor)
    assert own.newest() == before and [path.name for path in own.folder.iterdir()] == ["step_000000008"]


def test_restored_moments_go_on_under_the_settings_in_force() -> None:
    model = nn.Linear(3, 2)
    old = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    model(torch.ones(1, 3)).sum().backward()
    old.step()
    new = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.8, 0.95), weight_decay=0.3)
    restore(new, old.state_dict())
    (group,) = new.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.95), 0.3)
    for moments in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(new.state[model.weight][moments], old.state[model.weight][moments])
