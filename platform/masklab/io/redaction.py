"""Removes secrets from text that is printed, logged or kept: credentials in URLs, and the values of secret environment variables.

Each secret is replaced by `***`. A URL keeps its host and path, so that the reader still knows which server is meant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from masklab.errors import first_line

HIDDEN = "***"
SHORTEST = 6
"""Characters of the shortest environment value that is searched for; shorter ones are parts of ordinary words."""
_USER = re.compile(r"://(?:[^\s/?#'\"<>]*@|[^\s/@:'\"<>]*:[^\s@'\"<>]*@)")
"""`://user:password@`, `://token@`; a password may hold a slash."""
_WORD = r"(?:token|secret|passw(?:or)?d|passphrase|pwd|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|signature|sig)"
_PARAMETER = re.compile(rf"([?&;](?:[\w.-]*[_.-])?{_WORD}=)[^\s&#;'\"<>]+", re.IGNORECASE)
"""`?token=...` in the query of a URL."""
_BEARER = re.compile(r"\b(authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)\s+|bearer\s+(?=\S{16}))[^\s'\",;]+", re.IGNORECASE)
"""`Authorization: Bearer ...`."""
_NAME = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|(?:^|_)KEY(?:_|$)")
"""Names of environment variables whose values are secrets."""
_PLAIN = re.compile(r"(?:true|false|none|token|disabled?|enabled?|[\d.]+|~?/[\w./-]*|[A-Za-z]:\\.*)", re.IGNORECASE)
"""Values that are not secret: switches, numbers, and paths of files."""


def redact(words: str) -> str:
    """`words` without the secrets in them."""
    if "://" in words:
        words = _USER.sub(f"://{HIDDEN}@", words)
    if "=" in words:
        words = _PARAMETER.sub(rf"\1{HIDDEN}", words)
    words = _BEARER.sub(rf"\1{HIDDEN}", words)
    for value in _secret_values(os.environ):
        words = _without(words, value)
    return words


def _without(words: str, value: str) -> str:
    """`words` with `value` hidden. A value of letters only is hidden where it is a whole word: not `postgres` in `postgresql://`."""
    if value not in words or not value.isalpha():
        return words.replace(value, HIDDEN)
    return re.sub(rf"(?<![A-Za-z0-9]){value}(?![A-Za-z0-9])", HIDDEN, words)


def redacted(value: Any) -> Any:
    """Nested mappings and lists with every string in them redacted; keys stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def first_line_redacted(error: BaseException) -> str:
    """The first line of an error's message without secrets, at most 300 characters."""
    return redact(first_line(error))[:300]


def is_redacted(address: str) -> bool:
    """Whether `redact` has removed something from `address`, so that it can no longer be used."""
    return f"://{HIDDEN}@" in address or f"={HIDDEN}" in address


def _secret_values(environment: Mapping[str, str]) -> list[str]:
    """The secrets in `environment`, as they are and as a URL spells them, the longest first."""
    values = {
        value
        for name, value in environment.items()
        if len(value) >= SHORTEST and _NAME.search(name.upper()) and not _PLAIN.fullmatch(value)
    }
    return sorted({form for value in values for form in (value, quote(value, safe=""), quote_plus(value))}, key=len, reverse=True)
