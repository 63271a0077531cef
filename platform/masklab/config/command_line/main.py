"""The command line of every job: `--help`, `--cfg job`, one line for a user's mistake, and exit statuses."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from masklab.config.jobs.registry import FOLDERS, REFERENCE, TRAIN, JobTree
from masklab.errors import ConfigError, UserError
from masklab.io.redaction import redact
from masklab.training.stop import INTERRUPTED, terminating_as_interrupt

DEFECT = 1
"""Exit status of a fault of masklab itself, which keeps its traceback."""
USER_MISTAKE = 2
LONGEST_LINE = 4000
"""Characters of a message, which may quote a file or the command line."""


Run = Callable[[Any], int | None]
"""A job: takes its configuration, the root section of its tree, and may return an exit status."""


def main(job: str, description: str, run: Run, root: Path, argv: Sequence[str] | None = None, tree: JobTree = TRAIN) -> int:
    """Compose the configuration `tree` of the project `root` from `argv` and hand it to `run`. Returns the exit status.

    `job` is the file's name without `.py`. Nothing heavy is imported before the arguments ask for it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if logging.lastResort:
        logging.lastResort.setFormatter(_WithoutSecrets())
    try:
        with terminating_as_interrupt():
            return _dispatch(job, description, run, root, arguments, tree)
    except UserError as error:
        print(f"masklab: error: {_line(str(error))}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
        return DEFECT


class _WithoutSecrets(logging.Formatter):
    """Formats log records without secrets, in messages and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _line(message: str) -> str:
    """`message` as one line without secrets and without control characters."""
    line = " ".join(redact(message).split())
    shown = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in line)
    return shown if len(shown) <= LONGEST_LINE else f"{shown[:LONGEST_LINE]}..."


def _dispatch(job: str, description: str, run: Run, root: Path, arguments: list[str], tree: JobTree) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(manual(job, description, root, tree), end="")
        return 0
    overrides, show = _without_cfg(arguments)

    try:
        from masklab.config.compose.composition import compose_tree
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this Python ({sys.executable}) lacks the package {error.name}; run 'make venv', then 'source .venv/bin/activate'"
        ) from error

    config = compose_tree(tree, overrides, root)
    if show:
        from masklab.config.compose.yaml_io import dump

        print(dump(config), end="")
        return 0
    return run(config) or 0


def _without_cfg(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without `--cfg job`, and whether it was there."""
    rest: list[str] = []
    show = False
    words = iter(arguments)
    for word in words:
        if word == "--cfg" or word.startswith("--cfg="):
            what = next(words, "") if word == "--cfg" else word.removeprefix("--cfg=")
            if what != "job":
                raise ConfigError(f"{word} {what}".rstrip() + ": only --cfg job is supported")
            show = True
        else:
            rest.append(word)
    return rest, show


def manual(job: str, description: str, root: Path, tree: JobTree = TRAIN) -> str:
    """The help of a job of the project `root`."""
    files = {group: sorted(file.stem for file in (root / FOLDERS[group]).glob("*.yaml")) for group in tree.groups}
    group = "[GROUP=NAME ...] " if tree.groups else ""
    lines = [
        f"usage: python jobs/{job}.py {group}[SECTION.KEY=VALUE ...] [--cfg job] [--help]",
        "",
        description,
        "",
        "  --cfg job   print the resolved configuration and stop",
        "  --help      print this text and stop",
        "",
    ]
    if tree.groups:
        lines += ["Groups (a file each; the keys of a file can be overridden):"]
        lines += [*(f"  {group + '=':<12} {', '.join(names)}" for group, names in files.items()), ""]
    lines += ["Examples:", *(f"  python jobs/{job}.py {example}".rstrip() for example in tree.examples), ""]
    if tree.shorthands:
        lines += ["Other names:", *(f"  {short + '=':<12} means {whole}=" for short, whole in tree.shorthands.items()), ""]
    if tree.inherited:
        lines += [f"From the run that checkpoint= names, unless given: {', '.join(tree.inherited)}.", ""]
    lines.append("Keys (the chosen files may set other values than these defaults):" if tree.groups else "Keys:")
    for block in blocks(tree):
        lines += ["", *(f"  {key:<38} {default:<16} {text}".rstrip() for key, default, text in block)]
    return "\n".join([*lines, ""])


def blocks(tree: JobTree) -> Iterator[list[tuple[str, str, str]]]:
    """For each section of a job its keys, with their defaults and help lines; the keys outside of sections first."""
    content = json.loads(REFERENCE.read_text(encoding="utf-8"))
    for section, block in content["jobs"][tree.module]:
        prefix = f"{section}." if section else ""
        keys = content["blocks"][block]
        yield [(prefix + key, default, f"{text} ({kind})" if " | " in kind else text) for key, kind, default, text in keys]
