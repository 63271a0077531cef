"""Imports an older configuration: a Python file of assignments becomes an experiment, and a curriculum if it has stages.

The result is composed in a copy of the project's configuration before it is written; what today's sections refuse is left out and
listed. The files appear together or not at all, and never replace others.
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

from masklab.config.compose.aliases import disagreement
from masklab.config.compose.composition import compose, group_names
from masklab.config.compose.validation_messages import InvalidConfigError
from masklab.config.compose.yaml_io import dump_values
from masklab.config.jobs.registry import FOLDERS
from masklab.config.legacy.names import GONE, KNOWN, STAGE_LISTS, Keys, NotImportedError, Older, meaning
from masklab.config.legacy.python_literals import read_assignments
from masklab.errors import ConfigError, one_line, shown
from masklab.io.paths import LONGEST_OF_CURRICULA, is_name

BESIDE = "(its folder)"
"""In place of a name, if a dataset's own file says which dataset by the folder it is in."""
PLAIN = "(no masks)"
"""In place of a name, if a file asks for a language model by not mentioning masks."""
SAY_OF_MASKS = ("training_type", "model_mode", "attention_type", "switch_to_binary", "num_token_classes", "unmasking_model_checkpoint")
"""Parameters that choose what is trained, beside lists of stages."""


class Entry(NamedTuple):
    """A parameter of the older file: its name and value there, and today's keys for it."""

    name: str
    value: Any
    keys: Keys


class Left(NamedTuple):
    """A parameter that was not imported, and why; `value` is None if there is none."""

    name: str
    value: Any
    reason: str


@dataclass
class Import:
    """The import of `file`: the entries that were imported, the parameters that were not, and the texts of the files by their paths."""

    file: Path
    name: str
    entries: list[Entry] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)


def import_config(file: Path, name: str | None, root: Path) -> Import:
    """Write the older configuration `file` as files of the project `root`. Raises ConfigError, and then writes nothing."""
    made = Import(file, name or _own_name(file))
    _read(made, root)
    while refused := _refused(made, root):
        made.entries = [entry for entry in made.entries if entry.name not in refused]
    if not any(entry.keys for entry in made.entries if entry.name not in (BESIDE, PLAIN)):
        raise ConfigError(f"{str(file)!r}: sets nothing that masklab knows; give a Python file of assignments, such as batch_size = 12")
    _write(root, made.texts)
    return made


def _own_name(file: Path) -> str:
    """The name of the file, or of its folder for a dataset's `training_config.py`."""
    stem = file.absolute().parent.name if file.stem == "training_config" else file.stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:LONGEST_OF_CURRICULA]
    if not is_name(name):
        raise ConfigError(f"{str(file)!r}: gives no name for the files to be written; choose one as name=NAME")
    return name


def _read(made: Import, root: Path) -> None:
    """Fill in the entries, and the parameters that have no counterpart."""
    assignments = read_assignments(made.file)
    found = list(_parameters(assignments.values))
    older = Older({name: value for _, name, value in found}, made.file, group_names(root, ["dataset"])["dataset"])
    for written, name, value in found:
        try:
            made.entries.append(Entry(written, value, _plain(meaning(name, value, older))))
        except NotImportedError as reason:
            _leave(made, written, name, value, str(reason))
    folder = made.file.absolute().parent
    if "dataset" not in older.given and all((folder / name).is_file() for name in ("train.bin", "val.bin", "meta.pkl")):
        made.entries.append(Entry(BESIDE, None, _plain({"/dataset": "nanogpt", "dataset.path": str(folder)})))
    if not any(older.given.get(name) for name in (*SAY_OF_MASKS, *STAGE_LISTS)):
        made.entries.append(Entry(PLAIN, None, {"mode.type": "language_model"}))
    for name, why in assignments.unread.items():
        _leave(made, name, name.lower(), None, GONE.get(name.lower(), why))
    if lines := assignments.statements:
        numbers = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
        made.left.append(Left(f"line{'s' if len(lines) > 1 else ''} {numbers}", None, "is not an assignment, and nothing is run"))


def _leave(made: Import, written: str, name: str, value: Any, reason: str) -> None:
    """List a parameter as not imported. Raises ConfigError for a list of stages: without it another curriculum would be trained."""
    if name in STAGE_LISTS:
        raise ConfigError(f"{str(made.file)!r}: {name}: {reason}; write the stages out, each as a dictionary")
    made.left.append(Left(written, value, reason))


def _parameters(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str, Any]]:
    """Each parameter as it is written, its lower-case name, and its value; the items of a dictionary are parameters themselves."""
    for key, value in values.items():
        name = key.lower()
        if isinstance(value, dict) and name not in KNOWN:
            yield from _parameters(value, f"{within}{key}.")
            continue
        if name not in KNOWN and isinstance(value, list) and value and all(isinstance(item, dict) and "type" in item for item in value):
            name = "validation_stages" if name.startswith("val") else "stages"
        yield f"{within}{key}", name, value


def _plain(keys: Keys) -> Keys:
    """Copy `keys` as plain values that share nothing. Raises NotImportedError for text that a configuration would not take literally."""
    text = json.dumps(keys, ensure_ascii=False)
    if "${" in text:
        raise NotImportedError("holds '${', which a configuration would take for a reference to another value")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise NotImportedError("holds half a character")
    fresh: Keys = json.loads(text)
    return fresh


def _refused(made: Import, root: Path) -> set[str]:
    """Write the texts and compose them. Returns the names of the entries that today's sections refuse, which are listed as left.

    Raises ConfigError for a problem that belongs to no entry. A stage is never left out: without it the curriculum would be another.
    """
    made.texts = _texts(made, root)
    if clash := next((path for path in made.texts if (root / path).exists() or (root / path).is_symlink()), None):
        raise ConfigError(f"{clash}: is there already, and is not overwritten; choose another name as name=NAME")
    try:
        with TemporaryDirectory() as folder:
            copy = Path(folder)
            for place in ("jobs/conf", FOLDERS["curriculum"], FOLDERS["dataset"]):
                shutil.copytree(root / place, copy / place)
            _write(copy, made.texts)
            compose([f"+experiment={made.name}"], copy)
    except OSError as error:
        reason = f"the project's configuration cannot be copied to compose it ({one_line(error)})"
        raise ConfigError(f"{str(made.file)!r}: cannot be imported: {reason}") from error
    except ConfigError as error:
        problems = error.problems if isinstance(error, InvalidConfigError) else ()
        reasons = {key: problem.line for problem in reversed(problems) for key in problem.keys}
        refused = [(entry, reasons[key]) for entry in made.entries for key in [*entry.keys][::-1] if key in reasons]
        refused = refused or [(entry, str(error)) for entry in made.entries if "mode.type" in entry.keys]
        if not refused:
            raise ConfigError(f"{str(made.file)!r}: cannot be imported: {error}") from error
        made.left += {entry.name: Left(entry.name, entry.value, reason) for entry, reason in refused}.values()
        return {entry.name for entry, _ in refused}
    return set()


def _texts(made: Import, root: Path) -> dict[Path, str]:
    """The files by their paths in the project: the curriculum, if there are stages, then the experiment."""
    keys, name, texts = _merged(made.entries), made.name, {}
    names = group_names(root, ["curriculum", "mode"])
    choices = {key.removeprefix("/"): keys.pop(key) for key in list(keys) if key.startswith("/")}
    if "curriculum.stages" in keys:
        body = {key.partition(".")[2]: keys.pop(key) for key in list(keys) if key.startswith("curriculum.")}
        texts[Path(FOLDERS["curriculum"], f"{name}.yaml")] = dump_values({"description": f"Imported from {name}."} | body)
        choices["curriculum"] = name
    elif keys.get("mode.type") == "language_model" and "none" in names["curriculum"]:
        choices["curriculum"] = "none"
    if keys.get("mode.type") in names["mode"]:
        choices["mode"] = keys.pop("mode.type")
    tree: dict[str, Any] = {"defaults": [{f"override /{group}": choice} for group, choice in choices.items()]} if choices else {}
    for key, value in keys.items():
        section, _, rest = key.partition(".")
        tree.setdefault(section, {})[rest] = value
    texts[Path(FOLDERS["experiment"], f"{name}.yaml")] = f"# @package _global_\n# Imported from {name}.\n{dump_values(tree)}"
    return texts


def _merged(entries: list[Entry]) -> Keys:
    """All keys. Raises ConfigError for one that two parameters give different values."""
    givers: dict[str, Entry] = {}
    for entry in entries:
        for key, value in entry.keys.items():
            if (giver := givers.setdefault(key, entry)).keys[key] != value:
                raise disagreement((key,), giver.name, giver.value, entry.name, entry.value)
    return {key: giver.keys[key] for key, giver in givers.items()}


def _write(root: Path, texts: Mapping[Path, str]) -> None:
    """Write new files, all of them or none. Raises ConfigError for one that exists or cannot be written."""
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


def table(made: Import) -> list[str]:
    """The import as lines of text: what was imported, what was not and why, and what was written."""
    rows = [("older name", "its value", "today")]
    for name, value, keys in made.entries:
        today = " ".join(f"{key.removeprefix('/')}={_value(new)}" for key, new in keys.items())
        rows.append((_value(name), _value(value), today or "(always so)"))
    lines = [*_columns(rows), ""]
    if made.left:
        left = [(_value(name), _value(value), reason) for name, value, reason in made.left]
        lines += [*_columns([("not imported", "its value", "why"), *left]), ""]
    lines += [f"wrote {path}" for path in made.texts]
    return [*lines, f"train it: python jobs/train.py +experiment={made.name}", "What the file leaves open has masklab's defaults."]


def _value(value: Any) -> str:
    """The value, shortened; a list of dictionaries by its length."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return f"{len(value)} stages" if len(value) > 1 else "1 stage"
    if isinstance(value, str) and value.isprintable() and value.strip() == value and 0 < len(value) <= 60:
        return value
    return "" if value is None else shown(value)


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]
