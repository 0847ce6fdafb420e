"""A part of a report: what it means, its figures and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from da.report.tables import Sheet

Figure = Mapping[str, Any]
"""A plotly figure as plain data: "data" and "layout"."""


@dataclass(frozen=True)
class Section:
    """Paragraphs of plain text, then figures, then tables; `name` is its anchor."""

    name: str
    title: str
    text: Sequence[str]
    figures: Sequence[Figure] = field(default_factory=tuple)
    sheets: Sequence[Sheet] = field(default_factory=tuple)
