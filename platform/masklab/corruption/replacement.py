"""What a selected position becomes: the mask token, a random character, or itself."""

from __future__ import annotations

from masklab.schema import Section


class Replacement(Section):
    """Shares of selected positions (placeholder until its strategy lands)."""

    mask: float = 1.0
    """Share that becomes the mask token."""
