"""The report of a comparison, written from its records alone: a page for a reader, and the same in Markdown.

All of it follows from the files in the comparison's folder, so that writing it again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from masklab.io.atomic_file import write_text
from masklab.reporting.comparison.answer import summary
from masklab.reporting.comparison.blocks import Block, Folded, Picture
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.comparison.html import page
from masklab.reporting.comparison.markdown import markdown
from masklab.reporting.comparison.report import chapters

PAGE, TEXT, PICTURES = "report.html", "report.md", "report"


def write_report(folder: Path) -> tuple[Path, ...]:
    """Write `report.html`, `report.md` and the pictures in `report/` into the comparison's folder, and return their paths.

    Raises RunError when the folder holds no comparison, or a damaged one.
    """
    findings = Findings.read(folder)
    blocks = chapters(findings)
    texts = {PAGE: page(blocks, f"Comparison {findings.record.name}"), TEXT: markdown(blocks, PICTURES)}
    texts |= {f"{PICTURES}/{picture.name}.svg": picture.svg for picture in _pictures(blocks)}
    for earlier in set((folder / PICTURES).glob("*.svg")) - {folder / name for name in texts}:
        earlier.unlink()
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def summary_markdown(folder: Path) -> str:
    """The answer and the table of verdicts, for a run's description. Raises RunError like `write_report`."""
    return markdown(summary(Findings.read(folder)), PICTURES)


def _pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Folded):
            yield from _pictures(block.blocks)
