"""What a run tells whoever watches, and what it leaves behind. Here: the facts. Not here: how they look (display.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from spg99.engine.decide import NOTHING, Difference, Kind
from spg99.engine.state import Resource
from spg99.engine.values import Props


@dataclass(frozen=True)
class StepStarted:
    """Work on a resource begins."""

    kind: Kind
    urn: str


@dataclass(frozen=True)
class StepEnded:
    """Work on a resource ended; `error` is a sentence when it failed."""

    kind: Kind
    urn: str
    seconds: float = 0.0
    error: str | None = None
    difference: Difference = NOTHING
    replace_keys: tuple[str, ...] = ()
    old: Resource | None = None
    new: Resource | None = None


@dataclass(frozen=True)
class Message:
    """A line from a program, a provider or the engine. `urn` empty: about the run; `ephemeral`: only worth while it lasts."""

    severity: str
    """debug, info, warning or error"""
    text: str
    urn: str = ""
    ephemeral: bool = False


@dataclass(frozen=True)
class Outputs:
    """The stack's outputs, before and after."""

    old: Props
    new: Props


Event: TypeAlias = StepStarted | StepEnded | Message | Outputs
Listener: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True)
class Failure:
    """Something that kept the run from success. `urn` empty: not a resource's fault."""

    message: str
    urn: str = ""


@dataclass
class Result:
    """What a run did."""

    steps: list[StepEnded] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    outputs: Props = field(default_factory=dict)
    seconds: float = 0.0
    provider_calls: list[tuple[str, float]] = field(default_factory=list)
    """(method, seconds) of every call to a provider"""
    cancelled: bool = False
    not_begun: int = 0
    """Resources that were left alone because the run ended before their turn, or because of what they need."""

    @property
    def ok(self) -> bool:
        """Whether all went as asked."""
        return not self.failures and not self.cancelled

    @property
    def changes(self) -> dict[str, int]:
        """How many steps of each kind succeeded, as Pulumi counts them."""
        counts: dict[str, int] = {}
        for step in self.steps:
            if step.error is None and step.kind not in (Kind.DELETE_REPLACED,):
                counts[str(step.kind)] = counts.get(str(step.kind), 0) + 1
        return counts

    @property
    def changed(self) -> bool:
        """Whether anything differs from before."""
        return any(kind not in (Kind.SAME, Kind.READ) for kind in self.changes)
