"""The table of metric names in the docstring of masklab.tracking.metrics, as patterns that real names are held against."""

from __future__ import annotations

import re
from collections.abc import Iterable

from masklab.tracking import metrics

PLACES = {
    "stage": r"\d\d",
    "bound": "(nelbo|nll|continuous_time|orders_together|orders_one_by_one)",
    "run": r"\d{3,}-[A-Za-z0-9._-]+",
    "sampler": r"[\w.-]+",
    "arm": "[^/]+",
    "key": r"[\w.\-]+",
}


def rows() -> list[tuple[str, str, str]]:
    """Name, unit and remark of each row of the table."""
    assert metrics.__doc__
    found = [re.split(r" {2,}", line.strip(), maxsplit=2) for line in metrics.__doc__.splitlines() if line.startswith("    ")]
    return [(name, unit, remark) for name, unit, remark in found]


def patterns() -> dict[str, re.Pattern[str]]:
    """Each row of MLflow names as a pattern; what is at `val/` is at `final/` too. Rows without a slash are the modes' own names."""
    modes = [name for name, _, _ in rows() if "/" not in name]
    places = PLACES | {"metric": f"({'|'.join(modes)})"}
    made = {}
    for name, _, _ in rows():
        if "/" in name:
            text = re.sub(r"<(\w+)>", lambda place: places[place[1]], re.sub(r"^val/", "(val|final)/", name.replace(".", r"\.")))
            made[name] = re.compile(text)
    return made


def unlisted(names: Iterable[str]) -> set[str]:
    """Those of `names` that no row of the table allows."""
    known = patterns().values()
    return {name for name in names if not any(pattern.fullmatch(name) for pattern in known)}
