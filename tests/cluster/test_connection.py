"""What a run takes of a cluster, and the numbers it is refused with."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import ray

from masklab.cluster.connection import RAY_SETTINGS, Share, connect, put, share_of
from masklab.errors import ResourceError
from masklab.training.settings import ScalingSettings


def test_the_cores_are_shared_evenly_and_gpus_are_used_where_there_are_enough() -> None:
    assert share_of(ScalingSettings(num_workers=2), [{"CPU": 5}]) == Share(2, 2, 0)
    assert share_of(ScalingSettings(num_workers=2), [{"CPU": 8, "GPU": 2}]) == Share(2, 4, 1)
    assert share_of(ScalingSettings(num_workers=2), [{"CPU": 8, "GPU": 1}]) == Share(2, 4, 0)
    assert share_of(ScalingSettings(cpus_per_worker=3, use_gpu=False), [{"CPU": 8, "GPU": 1}]) == Share(1, 3, 0)


def test_a_worker_must_fit_on_one_node() -> None:
    two_nodes = [{"CPU": 8.0}, {"CPU": 8.0}]
    assert share_of(ScalingSettings(), two_nodes) == Share(1, 8, 0)
    assert share_of(ScalingSettings(num_workers=3), two_nodes) == Share(3, 4, 0)
    with pytest.raises(ResourceError, match="at most 8 on one node"):
        share_of(ScalingSettings(cpus_per_worker=12), two_nodes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_workers": 4}, r"num_workers=4 with 1 CPU core\(s\) each needs 4, but the cluster has 2"),
        ({"cpus_per_worker": 3}, r"needs 3, but the cluster has 2"),
        ({"use_gpu": True}, r"needs 1 GPU\(s\), but the cluster has 0"),
    ],
)
def test_a_cluster_that_is_too_small_is_refused_with_the_numbers(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ResourceError, match=words):
        share_of(ScalingSettings.model_validate(settings), [{"CPU": 2.0}])


@pytest.mark.parametrize("full", ["ObjectStoreFullError", "OutOfDiskError"])
def test_a_store_without_room_is_told_in_a_line(full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(value: object) -> None:
        raise getattr(ray.exceptions, full)("no room")

    monkeypatch.setattr(ray, "put", refuse)
    with pytest.raises(ResourceError, match=f"no room for the text and the pools \\({full}\\); give it more"):
        put([1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_no_more_is_told_in_a_line_and_at_once(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def init(address: str, **_: Any) -> None:
        asked.append(address)

    for name in RAY_SETTINGS:
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert connect(Path("platform"), ray_logs=False)
    with pytest.raises(ResourceError, match=rf"no Ray cluster at RAY_ADDRESS={address} \(.*refused\); start it, or unset RAY_ADDRESS"):
        connect(Path("platform"), ray_logs=False)
    assert asked == [address]
