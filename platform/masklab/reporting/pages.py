"""Pages as single HTML files that fetch nothing. Their templates, styles and scripts lie in `templates/`.

Whatever a template is given is escaped, unless it is Markup of our own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from masklab.reporting.tables import one_line
from masklab.reporting.unmasking.glyphs import plain

FOLDER = Path(__file__).parent / "templates"


def render(template: str, filters: dict[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """Render a template of `templates/`; `filters` are added to those that every template has."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    own: dict[str, Callable[..., Any]] = {
        "line": one_line,
        "plain": plain,
        "kind": lambda value: type(value).__name__,
        "digest": digest,
        "own_file": lambda name: Markup(own_file(name)),
    }
    environment.filters.update(own | (filters or {}))
    return environment.get_template(template).render(values)


def own_file(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def digest(source: str) -> str:
    """The hash of a style or a script in the form that a content security policy takes."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
