"""The command line of every job: `--help`, `--cfg job`, one line for a user's mistake, and exit statuses."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from masklab.config.jobs.registry import FOLDERS, REFERENCE, TRAIN, JobTree
from masklab.errors import ConfigError, UserError
from masklab.io.redaction import redact
from masklab.training.stop import INTERRUPTED, terminating_as_interrupt

DEFECT = 1
"""Exit status of a fault of masklab itself, which keeps its traceback."""
USER_MISTAKE = 2
LONGEST_LINE = 4000
"""Characters of a message, which may quote a file or the command line."""
REQUIRED = "(required)"
"""Stands for the default of a key that has none."""


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


class HelpLine(NamedTuple):
    """A key as `--help` shows it. `condition`: the kinds that have the key, as `mode.type=token_labeller`; empty for all."""

    key: str
    default: str
    text: str
    condition: str = ""


def manual(job: str, description: str, root: Path, tree: JobTree = TRAIN) -> str:
    """The help of a job of the project `root`."""
    groups = [group for group in tree.groups if not tree.used or group in tree.used]
    lines = [
        f"usage: python jobs/{job}.py {'[GROUP=NAME ...] ' if groups else ''}[SECTION.KEY=VALUE ...] [--cfg job] [--help]",
        "",
        description,
        "",
        "  --cfg job   print the resolved configuration and stop",
        "  --help      print this text and stop",
        "",
    ]
    if groups:
        defaults = default_files(root, tree)
        lines.append("Groups (each NAME is one YAML file; any key in it can be overridden):")
        for group in groups:
            names = sorted(file.stem for file in (root / FOLDERS[group]).glob("*.yaml"))
            shown = [f"{name} (default)" if name == defaults.get(group) else name for name in names]
            lines.append(f"  {group + '=':<12} {', '.join(shown)}")
        lines.append("")
    lines += ["Examples:", *(f"  python jobs/{job}.py {example}".rstrip() for example in tree.examples), ""]
    if tree.shorthands:
        lines += ["Alternative names:", *(f"  {short}= is another name for {whole}=" for short, whole in tree.shorthands.items()), ""]
    if tree.inherited:
        lines += [f"Taken from the checkpoint's run unless set: {', '.join(tree.inherited)}.", ""]
    if tree.used:
        lines += ["Only the groups and keys that matter here are listed; the other ones of train are accepted too.", ""]
    lines.append("Keys (the chosen files may set other values than these defaults):" if groups else "Keys:")
    for block in blocks(tree):
        condition = ""
        for line in block:
            if line.condition != condition:
                condition = line.condition
                lines += ["", f"  with {condition}:"]
            elif line is block[0]:
                lines.append("")
            key = f"    {line.key:<36}" if condition else f"  {line.key:<38}"
            lines.append(f"{key} {line.default:<16} {line.text}".rstrip())
    return "\n".join([*lines, ""])


def default_files(root: Path, tree: JobTree) -> Mapping[str, str]:
    """The file of each group that a job takes unless another is named: those of `jobs/conf/config.yaml`, then the job's own."""
    if tree.inherited:
        return {}
    text = (root / "jobs/conf/config.yaml").read_text(encoding="utf-8")  # a regular expression, since yaml takes long to import
    return {**dict(re.findall(r"^ *- (\w+): (\w+)", text, re.MULTILINE)), **tree.choices}


def blocks(tree: JobTree) -> Iterator[list[HelpLine]]:
    """For each section of a job its keys; the keys outside of sections first. Keys that only some kinds have come last, by kind."""
    content = json.loads(REFERENCE.read_text(encoding="utf-8"))
    for section, block in content["jobs"][tree.module]:
        prefix = f"{section}." if section else ""
        lines = []
        for key, kind, default, text, condition in content["blocks"][block]:
            if not tree.used or section in tree.used or prefix + key in tree.used:
                shown = default_in(tree, section, default)
                words = f"{text} ({kind})" if " | " in kind else text
                lines.append(HelpLine(prefix + key, shown, words, prefix + condition if condition else ""))
        if lines:
            yield lines


def default_in(tree: JobTree, section: str, default: str) -> str:
    """The default of a key in `section`: a required key of a group is set by the group's file, or by the checkpoint's run."""
    if default != REQUIRED or section not in tree.groups:
        return default
    return "(from the run)" if section in tree.inherited else "(from the group's file)"
