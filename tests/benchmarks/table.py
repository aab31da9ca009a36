"""A table of measured figures and how it is printed. Not here: measuring."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median


@dataclass
class Table:
    """Rows of text under a heading, with what they say below."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """One more row."""
        self.rows.append(tuple(str(cell) for cell in cells))

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"## {self.title}", "", "| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += [""] + [f"{note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ms(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1000:.1f} ms"


def ratio(value: float, base: float, *, goal: float | None = None, at_most: bool = True) -> str:
    """value/base, and whether it meets the goal."""
    seen = value / base if base else float("inf")
    if goal is None:
        return f"{seen:.2f}"
    met = seen <= goal if at_most else seen >= goal
    return f"{seen:.2f} (goal {'<=' if at_most else '>='} {goal}: {'met' if met else 'missed'})"


def mid(values: list[float]) -> float:
    """The median."""
    return median(values)
