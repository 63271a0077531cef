"""Errors that a user can correct. Each is printed as one line and ends a job with exit status 2; a defect of masklab keeps its traceback.

Also here: the functions that build such a line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """Root of the errors that a user can correct. Its message names the key or file, the value, and what to do."""


class ConfigError(UserError):
    """A key or value of the configuration."""


class DataError(UserError):
    """A text, corpus or label file."""


class CheckpointError(UserError):
    """A checkpoint that is damaged or does not fit the model asked for."""


class RunError(UserError):
    """A run folder or a run's name."""


class InstabilityError(UserError):
    """Training whose loss or gradients cannot be kept finite."""


class ResourceError(UserError):
    """Resources that the cluster or the machine does not have."""


class TrackingError(UserError):
    """The tracking server."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the nearest of `choices`, or an empty string when none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type where the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; what the system says of a file, without its path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())


def shown(value: Any, longest: int = 60) -> str:
    """`value` for a message, in at most `longest` characters: null, true and false as YAML spells them, anything else as its repr."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return shortened(repr(value), longest)


def shortened(text: str, longest: int = 60) -> str:
    """`text`, or its beginning and `...` where it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put the configuration key `key` before the message of a UserError from the block, in place of `checkpoint`."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{key}: {str(error).removeprefix('checkpoint = ')}") from error
