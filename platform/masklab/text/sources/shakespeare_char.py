"""Tiny Shakespeare, the text that character models are compared on (Karpathy, char-rnn, 2015)."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from pathlib import Path
from typing import Literal

from masklab.errors import DataError
from masklab.io.atomic_file import atomic_file
from masklab.text.sources.origin import TextOrigin
from masklab.text.sources.text_file import files_state, read_bytes, text_files

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SIZE = 1_115_394
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TIMEOUT = 20
"""Seconds without an answer after which a download is given up."""
DOWNLOAD = "tinyshakespeare.txt"


class ShakespeareChar(TextOrigin):
    """The one known text, downloaded once, or read from a file that must be the same."""

    source: Literal["shakespeare_char"] = "shakespeare_char"
    """Kind of source."""
    path: str | None = None
    """The file, where there is no way to the network; downloaded when not given."""

    def state(self) -> str:
        return SHA256 if self.place is None else files_state([_file(self.place)], self.place)

    def text(self, folder: Path) -> str:
        """The text. Raises DataError when it cannot be fetched, or is another."""
        if self.place is None:
            return _downloaded(folder / DOWNLOAD).decode("utf-8")
        content = read_bytes(_file(self.place))
        if (found := hashlib.sha256(content).hexdigest()) != SHA256:
            raise DataError(
                f"{self.place}: not tiny Shakespeare ({len(content):,} bytes with SHA-256 {found[:12]}..., expected {SIZE:,} with "
                f"{SHA256[:12]}...); for a text of your own use dataset=text (source: text) with the same path"
            )
        return content.decode("utf-8")


def _file(place: Path) -> Path:
    if place.is_dir():
        raise DataError(f"{place}: is a folder; give tiny Shakespeare's file as dataset.path=FILE")
    return text_files(place)[0]


def _downloaded(file: Path) -> bytes:
    if file.is_file():
        content = read_bytes(file)
        if hashlib.sha256(content).hexdigest() == SHA256:
            return content
    content = _fetch()
    with atomic_file(file) as temporary:
        temporary.write_bytes(content)
    return content


def _fetch() -> bytes:
    remedy = f"give a copy of the file with dataset.path=FILE ({SIZE:,} bytes, SHA-256 {SHA256})"
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(SIZE + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise DataError(f"{URL}: cannot be downloaded ({reason}); {remedy}") from error
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DataError(f"{URL}: the download has {len(content):,} bytes or more with SHA-256 {found[:12]}..., a wrong checksum; {remedy}")
    return content
