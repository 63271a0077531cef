"""The weights of a run that begins with another's, as a table at the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from masklab.training.events import RunStarted


def transfer_table(event: RunStarted) -> RenderableType:
    """Parameters in all, trained and frozen; below, what was loaded, what is new and what was left, and what else has changed."""
    trainable = event.parameters if event.trainable is None else event.trainable
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify)
    for name, count in (("total", event.parameters), ("trained", trainable), ("frozen", event.parameters - trainable)):
        table.add_row(f"  {name}", f"{count:,}", _share(count / event.parameters), "parameters")
    if event.transfer is not None:
        for name in ("loaded", "new", "left"):
            for part in getattr(event.transfer, name):
                table.add_row(f"  {name}", f"{part.parameters:,}", "", Text(part.what))
    lines: list[RenderableType] = [Text(f"  {note}", style="dim") for note in (event.transfer.notes if event.transfer else ())]
    return Group(*_origin(event), table, *lines)


def _share(share: float) -> str:
    """As per cent, in which neither a few nor all but a few round to none or all."""
    if 0 < share < 0.0005:
        return "< 0.1%"
    return "> 99.9%" if 0.9995 < share < 1 else f"{share:.1%}"


def _origin(event: RunStarted) -> list[RenderableType]:
    """E.g. `begins with bard, iteration 1,000 (token_classifier), which began with ...`."""
    if not event.lineage:
        return []
    words = [f"{a.name}, iteration {a.iteration:,} ({a.mode})" for a in event.lineage]
    return [Text(f"  begins with {', which began with '.join(words)}")]
