"""An older configuration carried over: a Python file of assignments becomes an experiment, and a curriculum where it has stages.

Nothing of the file is run. What is written was composed before, in a copy of the project's configuration; whatever the sections of today
refuse is left out and listed. The files appear together or not at all, and never in the place of others.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from masklab.config.compose.composition import compose, group_names
from masklab.config.compose.yaml_io import dump_values, one_line
from masklab.config.jobs.registry import FOLDERS
from masklab.config.legacy.aliases import disagreement
from masklab.config.legacy.conversions import KNOWN, Keys, NotCarriedError, Older, carried, modern_stages
from masklab.config.legacy.names import GONE, STAGE_LISTS
from masklab.config.legacy.python_literals import read_assignments
from masklab.errors import ConfigError, did_you_mean
from masklab.io.paths import LONGEST_OF_CURRICULA, is_name

BESIDE = "(its folder)"
"""In place of the name, where a dataset's own file says which dataset by where it lies."""
PLAIN = "(no masks)"
"""In place of the name, where a file asks for a language model by saying nothing of masks."""
PROBLEM = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+)*)( = |: )")
"""How each problem of a composed configuration begins: the key, and its value where it has one."""


@dataclass(frozen=True)
class Entry:
    """A parameter of the older file: its name and value there, and what it means today."""

    name: str
    value: Any
    keys: Keys


class Left(NamedTuple):
    """What was not carried over, and why; `value` is None where there is none."""

    name: str
    value: Any
    reason: str


@dataclass
class Carriage:
    """What the import of `file` comes to: the entries that were carried over, what was left, and the texts of the files by their paths."""

    file: Path
    name: str
    entries: list[Entry] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)


def carry_over(file: Path, name: str | None, root: Path) -> Carriage:
    """Write the older configuration `file` as files of the project `root`. Raises ConfigError, and then writes nothing."""
    carriage = Carriage(file, name or _own_name(file))
    _read(carriage, _names(root, "dataset"))
    _settle(carriage, root)
    if not any(entry.keys for entry in carriage.entries if entry.name not in (BESIDE, PLAIN)):
        raise ConfigError(f"{str(file)!r}: sets nothing that masklab knows; give a Python file of assignments, such as batch_size = 12")
    _write(root, carriage.texts)
    return carriage


def _own_name(file: Path) -> str:
    """The name of the file; of its folder, for a dataset's `training_config.py`."""
    stem = file.absolute().parent.name if file.stem == "training_config" else file.stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:LONGEST_OF_CURRICULA]
    if not is_name(name):
        raise ConfigError(f"{str(file)!r}: gives no name for the files to be written; choose one as name=NAME")
    return name


def _read(carriage: Carriage, datasets: list[str]) -> None:
    """Fill in the entries and what is left of them."""
    assignments = read_assignments(carriage.file)
    found = list(_parameters(assignments.values))
    older = Older({name: value for _, name, value in found}, carriage.file, datasets)
    for written, name, value in found:
        try:
            carriage.entries.append(Entry(written, value, _checked(_meaning(name, value, older))))
        except NotCarriedError as reason:
            _require_no_stages(carriage.file, name, str(reason))
            carriage.left.append(Left(written, value, str(reason)))
    folder = carriage.file.absolute().parent
    if "dataset" not in older.given and all((folder / name).is_file() for name in ("train.bin", "val.bin", "meta.pkl")):
        carriage.entries.append(Entry(BESIDE, None, _checked({"/dataset": "nanogpt", "dataset.path": str(folder)})))
    if not _says_of_masks(older):
        carriage.entries.append(Entry(PLAIN, None, {"mode.type": "language_model"}))
    for name, why in assignments.unread.items():
        _require_no_stages(carriage.file, name.lower(), why)
        carriage.left.append(Left(name, None, GONE.get(name.lower(), why)))
    if lines := assignments.statements:
        shown = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
        carriage.left.append(Left(f"line{'s' if len(lines) > 1 else ''} {shown}", None, "is no assignment, and nothing is run"))


def _require_no_stages(file: Path, name: str, reason: str) -> None:
    """Raise ConfigError for a list of stages that cannot be read: without it another curriculum would be trained."""
    if name in STAGE_LISTS:
        raise ConfigError(f"{str(file)!r}: {name}: {reason}; write the stages out, each as a dictionary")


def _parameters(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str, Any]]:
    """Each parameter as it is written, its lower-case name, and its value; the items of a dictionary are parameters themselves."""
    for key, value in values.items():
        name = key.lower()
        if isinstance(value, dict) and name not in KNOWN:
            yield from _parameters(value, f"{within}{key}.")
        elif name not in KNOWN and _are_stages(value):
            yield f"{within}{key}", "validation_stages" if name.startswith("val") else "stages", value
        else:
            yield f"{within}{key}", name, value


def _are_stages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "type" in item for item in value)


def _meaning(name: str, value: Any, older: Older) -> Keys:
    if name in STAGE_LISTS:
        return {STAGE_LISTS[name]: modern_stages(value)} if value else {}
    if name not in KNOWN:
        raise NotCarriedError(f"unknown name{did_you_mean(name, KNOWN)}")
    return carried(name, value, older)


def _checked(keys: Keys) -> Keys:
    """`keys` as plain values that share nothing. Raises NotCarriedError for text that a configuration would not take as it stands."""
    text = json.dumps(keys, ensure_ascii=False)
    if "${" in text:
        raise NotCarriedError("holds '${', which a configuration would take for a reference to another value")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise NotCarriedError("holds half a character")
    fresh: Keys = json.loads(text)
    return fresh


def _says_of_masks(older: Older) -> bool:
    """Whether the file says what is trained, by a mode or by masks; nanoGPT's own files do not."""
    modes = ("training_type", "model_mode", "attention_type", "switch_to_binary", "num_token_classes", "unmasking_model_checkpoint")
    return any(older.given.get(name) for name in (*modes, *STAGE_LISTS))


def _settle(carriage: Carriage, root: Path) -> None:
    """Compose what there is until today's sections accept it, without what they refuse. Raises ConfigError where that cannot be."""
    while True:
        carriage.texts = _texts(carriage, root)
        if clash := next((path for path in carriage.texts if (root / path).exists() or (root / path).is_symlink()), None):
            raise ConfigError(f"{clash}: is there already, and is not overwritten; choose another name as name=NAME")
        try:
            _compose(carriage, root)
        except ConfigError as error:
            refused = _refused(carriage.entries, str(error))
            if not refused:
                raise ConfigError(f"{str(carriage.file)!r}: cannot be carried over: {error}") from error
            carriage.entries = [entry for entry in carriage.entries if entry not in [entry for entry, _ in refused]]
            carriage.left += [Left(entry.name, entry.value, reason) for entry, reason in refused]
        else:
            return


def _refused(entries: list[Entry], message: str) -> list[tuple[Entry, str]]:
    """The entries that a composed configuration's problems name, and the problem of each; none where something else is wrong.

    A stage cannot be left out: without it the curriculum would be another.
    """
    problems: list[tuple[str, str]] = []
    for part in message.split("; "):
        if match := PROBLEM.match(part):
            problems.append((match[1], part))
        elif problems:  # the rest of what the last one said
            problems[-1] = (problems[-1][0], f"{problems[-1][1]}; {part}")
    refused: list[tuple[Entry, str]] = []
    for entry in entries:
        for place, problem in problems:
            unknown = "unknown key" in problem and any(key.startswith(f"{place}.") for key in entry.keys)
            if place in entry.keys or unknown:
                refused.append((entry, problem))
                break
    mode = [(entry, message) for entry in entries if "mode.type" in entry.keys]
    return refused or mode


def _compose(carriage: Carriage, root: Path) -> None:
    """Compose the experiment in a copy of the project's configuration. Raises ConfigError for what is wrong with it."""
    try:
        with TemporaryDirectory() as folder:
            copy = Path(folder)
            for place in ("jobs/conf", FOLDERS["curriculum"], FOLDERS["dataset"]):
                shutil.copytree(root / place, copy / place)
            _write(copy, carriage.texts)
            compose([f"+experiment={carriage.name}"], copy)
    except OSError as error:
        raise ConfigError(f"the project's configuration cannot be copied to compose it ({one_line(error)})") from error


def _texts(carriage: Carriage, root: Path) -> dict[Path, str]:
    """The files by their paths in the project: the curriculum, where there are stages, then the experiment."""
    keys = _merged(carriage.entries)
    name, texts = carriage.name, {}
    choices = {key.removeprefix("/"): keys.pop(key) for key in list(keys) if key.startswith("/")}
    if "curriculum.stages" in keys:
        body = {key.partition(".")[2]: keys.pop(key) for key in list(keys) if key.startswith("curriculum.")}
        texts[Path(FOLDERS["curriculum"], f"{name}.yaml")] = dump_values({"description": f"Carried over from {name}."} | body)
        choices["curriculum"] = name
    elif keys.get("mode.type") == "language_model" and "none" in _names(root, "curriculum"):
        choices["curriculum"] = "none"
    if keys.get("mode.type") in _names(root, "mode"):
        choices["mode"] = keys.pop("mode.type")
    tree: dict[str, Any] = {"defaults": [{f"override /{group}": choice} for group, choice in choices.items()]} if choices else {}
    for key, value in keys.items():
        section, _, rest = key.partition(".")
        tree.setdefault(section, {})[rest] = value
    texts[Path(FOLDERS["experiment"], f"{name}.yaml")] = f"# @package _global_\n# Carried over from {name}.\n{dump_values(tree)}"
    return texts


def _names(root: Path, group: str) -> list[str]:
    """The files of a group; none where there is no such group."""
    return group_names(root, [group])[group] if group in FOLDERS else []


def _merged(entries: list[Entry]) -> Keys:
    """All keys. Raises ConfigError for one that two parameters give different values."""
    keys: Keys = {}
    givers: dict[str, Entry] = {}
    for entry in entries:
        for key, value in entry.keys.items():
            if key in keys and keys[key] != value:
                raise disagreement((key,), givers[key].name, givers[key].value, entry.name, entry.value)
            keys[key], givers[key] = value, entry
    return keys


def _write(root: Path, texts: Mapping[Path, str]) -> None:
    """Write new files, all of them or none. Raises ConfigError for one that is there already or cannot be written."""
    written: list[Path] = []
    try:
        for path, text in texts.items():
            with (root / path).open("x", encoding="utf-8") as file:
                written.append(root / path)
                file.write(text)
    except BaseException as error:
        for done in written:
            done.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another name as name=NAME") from error
        raise
