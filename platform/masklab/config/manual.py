"""The text of `--help`, read from the source of the sections: nothing heavy is imported, and nothing is said twice.

A section class is found by the import in `tree.py`; its keys, defaults and lines of documentation stand in its body.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
GROUPS = {"curriculum": "curricula", "dataset": "datasets", "model": "jobs/conf/model", "experiment": "jobs/conf/experiment"}

EXAMPLES = """\
Examples:
  python jobs/{job}.py
  python jobs/{job}.py dataset=shakespeare_char dataset.path=FILE
  python jobs/{job}.py curriculum=sticky curriculum.stages.1.mask_ratio=0.5 model=small
  python jobs/{job}.py +experiment=smoke --cfg job
"""


def manual(job: str, description: str, root: Path) -> str:
    """Usage, groups with their files, examples, and each section's keys with their defaults."""
    lines = [
        f"usage: python jobs/{job}.py [GROUP=NAME ...] [SECTION.KEY=VALUE ...] [--cfg job] [--help]",
        "",
        description,
        "",
        "  --cfg job   print the resolved configuration and stop",
        "  --help      print this text and stop",
        "",
        "Groups (a file each; the keys of a file can be overridden):",
        *(
            f"  {group + '=':<12} {', '.join(sorted(file.stem for file in (root / folder).glob('*.yaml')))}"
            for group, folder in GROUPS.items()
        ),
        "",
        EXAMPLES.format(job=job),
        "Keys (the chosen files may set other values than these defaults):",
    ]
    for section, source, name in sections():
        lines += ["", *(f"  {section + '.' + key:<38} {default:<14} {text}" for key, default, text in keys(source, name))]
    return "\n".join([*lines, ""])


def sections() -> Iterator[tuple[str, Path, str]]:
    """Name, source file and class of each section of the tree."""
    module = ast.parse((PACKAGE / "config" / "tree.py").read_text(encoding="utf-8"))
    origin = {
        alias.asname or alias.name: PACKAGE.parent.joinpath(*node.module.split(".")).with_suffix(".py")
        for node in module.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for name, annotation, _, _ in _fields(module, "Config"):
        yield name, origin[annotation], annotation


def keys(source: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """Key, default as YAML has it, and documentation (with the choices, where there are some) of each field of the class `name`."""
    for key, annotation, value, text in _fields(ast.parse(source.read_text(encoding="utf-8")), name):
        yield key, _default(value), f"{text}{_choices(annotation)}"


def _fields(module: ast.Module, name: str) -> Iterator[tuple[str, str, ast.expr | None, str]]:
    """Name, annotation, value and documentation of each field that the body of the class `name` declares."""
    body = next(node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    for node, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            line = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            yield node.target.id, ast.unparse(node.annotation), node.value, " ".join(str(line).split())


def _default(value: ast.expr | None) -> str:
    if isinstance(value, ast.Call):
        value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    if value is None:
        return "(required)"
    text = ast.unparse(value)
    return {"None": "null", "True": "true", "False": "false"}.get(text, text.strip("'") or "''")


def _choices(annotation: str) -> str:
    if not annotation.startswith("Literal["):
        return ""
    return f" ({annotation.removeprefix('Literal[').removesuffix(']').replace(chr(39), '').replace(', ', ' | ')})"
