"""Files and words made to harm: each would make the canary, or carry a planted secret out, if anything ran or looked it up."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "pl4nted-password-one",
    "MLFLOW_TRACKING_TOKEN": "pl4nted-token-two",
    "AWS_SECRET_ACCESS_KEY": "pl4nted/three+secret=",
    "HF_TOKEN": "hf_pl4ntedFOUR",
    "MASKLAB_PRIVATE_KEY": "pl4nted-five-key",
}
IN_ADDRESSES = ("pl4nted-six", "pl4nted-seven", "pl4nted-eight")
"""Password, token and query of the addresses below."""
ADDRESSES = (
    "http://me:pl4nted-six@127.0.0.1:9/x",
    "http://pl4nted-seven@127.0.0.1:9/",
    "http://127.0.0.1:9/?token=pl4nted-eight&x=1",
    "https://me:pl4nted-six@127.0.0.1:9/?api_key=pl4nted-eight",
    "postgresql://me:pl4nted-six@127.0.0.1:9/mlflow",
)


class Running:
    """What a pickle of runs as it is read: it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def pickles(canary: Path) -> dict[str, bytes]:
    """Pickles that run something, or take too much, by what they are."""
    running = {f"protocol {number}": pickle.dumps(Running(canary), number) for number in range(pickle.HIGHEST_PROTOCOL + 1)}
    saved = io.BytesIO()
    torch.save({"state": Running(canary)}, saved)
    older = io.BytesIO()
    torch.save({"state": Running(canary)}, older, _use_new_zipfile_serialization=False)
    return running | {
        "nested": pickle.dumps({"itos": {0: Running(canary)}, "stoi": {}}),
        "names a module": b"cposix\nsystem\n(S'touch " + os.fsencode(canary) + b"'\ntR.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x05touch\x85R.",
        "far memo": b"\x80\x04]r\xff\xff\xff\x7f.",
        "long bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "deep": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "empty": b"",
        "cut": pickle.dumps({"itos": {0: "a"}})[:-3],
        "torch": saved.getvalue(),
        "torch of before": older.getvalue(),
        "packed": _packed(),
    }


def _packed() -> bytes:
    """An archive as `torch.save` makes it, but for 64 MB of zeros in a few kilobytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(1 << 26))
    return out.getvalue()


def safetensors(entries: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, whatever it says."""
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _entry(shape: Any, place: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


WEIGHTS = {
    "empty": b"",
    "short": b"\x00\x01",
    "header beyond the file": safetensors({}, length=1 << 62),
    "header of 100 MB": safetensors({}, length=100 << 20),
    "header no JSON": safetensors(b"\xff\xfe{"),
    "header deep": safetensors(b"[" * 100_000),
    "header a list": safetensors([]),
    "header a number": safetensors(b"1" * 5000),
    "overlap": safetensors({"a": _entry([4], [0, 16]), "b": _entry([4], [8, 24])}, bytes(24)),
    "gap": safetensors({"a": _entry([1], [0, 4]), "b": _entry([1], [8, 12])}, bytes(12)),
    "beyond the end": safetensors({"a": _entry([1 << 40], [0, 1 << 42])}, bytes(16)),
    "more than it says": safetensors({"a": _entry([1], [0, 4])}, bytes(400)),
    "shape too large": safetensors({"a": _entry([1 << 62, 1 << 62], [0, 4])}, bytes(4)),
    "shape negative": safetensors({"a": _entry([-1], [0, 4])}, bytes(4)),
    "shape of words": safetensors({"a": _entry(["4"], [0, 4])}, bytes(4)),
    "shape true": safetensors({"a": _entry([True], [0, 4])}, bytes(4)),
    "shape no list": safetensors({"a": _entry({"x": 1}, [0, 4])}, bytes(4)),
    "place turned": safetensors({"a": _entry([1], [4, 0])}, bytes(4)),
    "place of three": safetensors({"a": _entry([1], [0, 4, 8])}, bytes(4)),
    "dtype unknown": safetensors({"a": _entry([1], [0, 4], "OBJECT")}, bytes(4)),
    "dtype a list": safetensors({"a": _entry([1], [0, 4], ["F32"])}, bytes(4)),
    "of another model": safetensors({"a": _entry([1], [0, 4])}, bytes(4)),
    "name too long": safetensors({"a" * 100_000: _entry([1], [0, 4])}, bytes(4)),
}
"""Files of weights that are none, by what is wrong with them."""


def texts(canary: Path) -> dict[str, str]:
    """Configurations that would run something, or look something up, if YAML or Hydra could."""
    touch = f"touch {canary}"
    return {
        "python/object/apply": f"stages: !!python/object/apply:os.system ['{touch}']",
        "python/object/new": f"stages: !!python/object/new:os.system ['{touch}']",
        "python/name": "name: !!python/name:os.system",
        "python/module": "name: !!python/module:os",
        "python/object": f"!!python/object:subprocess.Popen {{args: '{touch}'}}",
        "_target_": f"_target_: os.system\ncommand: {touch}",
        "_target_ in a stage": f"stages: [{{_target_: os.system, _args_: ['{touch}']}}]",
        "oc.env": "name: ${oc.env:HF_TOKEN}",
        "oc.env in text": "description: 'it is ${oc.env:AWS_SECRET_ACCESS_KEY}'",
        "oc.env with a default": "description: ${oc.env:NOBODY,${oc.env:HF_TOKEN}}",
        "a name made up": "description: ${oc.${curriculum.name}:HF_TOKEN}",
        "oc.decode": "description: ${oc.decode:${oc.env:HF_TOKEN}}",
        "hydra": "description: ${hydra:runtime.cwd}",
        "now": "description: ${now:%Y}",
        "quoted": 'description: "\\x24{oc.env:HF_TOKEN}"',
        "path": "name: ../../../canary",
        "absolute": f"name: {canary}",
        "defaults": "defaults: [{/model: '${oc.env:HF_TOKEN}'}]",
    }


HTML = (
    "<script>alert(1)</script>",
    "</title></style><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "\"'><iframe src=javascript:alert(1)>",
    "]]><!--<script>",
)
