"""How a run looks: live on a terminal, plain lines elsewhere. Here: text. Not here: what happened (events.py)."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.text import Text

from spg99.engine.decide import Kind
from spg99.engine.difference import Line, lines_of
from spg99.engine.events import Event, Message, Outputs, Result, StepEnded, StepStarted
from spg99.engine.urns import name_of, type_of
from spg99.engine.values import UNKNOWN, Props, Value, redact, reveal

# Pulumi's signs and words
_SIGNS = {
    Kind.SAME: "  ",
    Kind.CREATE: "+ ",
    Kind.UPDATE: "~ ",
    Kind.REPLACE: "+-",
    Kind.DELETE: "- ",
    Kind.DELETE_REPLACED: "--",
    Kind.READ: "> ",
    Kind.IMPORT: "= ",
    Kind.REFRESH: "~ ",
    Kind.DISCARD: "< ",
}
_COLORS = {
    Kind.CREATE: "green",
    Kind.UPDATE: "yellow",
    Kind.REPLACE: "magenta",
    Kind.DELETE: "red",
    Kind.DELETE_REPLACED: "red",
    Kind.READ: "cyan",
    Kind.IMPORT: "cyan",
    Kind.REFRESH: "yellow",
}
_DOING = {
    Kind.CREATE: "creating",
    Kind.UPDATE: "updating",
    Kind.REPLACE: "replacing",
    Kind.DELETE: "deleting",
    Kind.DELETE_REPLACED: "deleting original",
    Kind.READ: "reading",
    Kind.IMPORT: "importing",
    Kind.DISCARD: "forgetting",
    Kind.REFRESH: "refreshing",
}
_DONE = {
    Kind.SAME: "unchanged",
    Kind.CREATE: "created",
    Kind.UPDATE: "updated",
    Kind.REPLACE: "replaced",
    Kind.DELETE: "deleted",
    Kind.DELETE_REPLACED: "deleted original",
    Kind.READ: "read",
    Kind.IMPORT: "imported",
    Kind.DISCARD: "discarded",
    Kind.REFRESH: "refreshed",
}
_SUMMARY = (Kind.CREATE, Kind.UPDATE, Kind.DELETE, Kind.REPLACE, Kind.DISCARD, Kind.IMPORT)
_LIVE_ROWS = 15  # more in flight is said, not shown
_STATUS_SECONDS = 5.0  # between two lines on what a resource waits for, where lines stay
_SEVERITY_COLORS = {"warning": "yellow", "error": "red"}


class Display:
    """Listens to a run and shows it. On a terminal what is in flight stays below, what is done scrolls above."""

    def __init__(self, console: Console, *, preview: bool, diff: bool = False, debug: bool = False) -> None:
        self._console = console
        self._preview, self._diff, self._debug = preview, diff, debug
        self._lock = threading.Lock()
        self._in_flight: dict[str, tuple[Kind, float, str]] = {}
        self._outputs: Outputs | None = None
        self._printed_at: dict[str, float] = {}
        self._live = (
            Live(console=console, get_renderable=self._rows, refresh_per_second=8, transient=True)
            if console.is_terminal and not preview
            else None
        )

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Shows an event."""
        with self._lock:
            if isinstance(event, StepStarted):
                self._started(event)
            elif isinstance(event, StepEnded):
                self._ended(event)
            elif isinstance(event, Message):
                self._message(event)
            else:
                self._outputs = event

    def _started(self, event: StepStarted) -> None:
        if event.kind is Kind.SAME:
            return
        self._in_flight[event.urn] = (event.kind, time.monotonic(), "")
        if self._live is None and not self._preview:
            self._line(event.kind, event.urn, f"{_DOING[event.kind]} (0s)")

    def _ended(self, event: StepEnded) -> None:
        self._in_flight.pop(event.urn, None)
        if event.error is not None:
            self._line(event.kind, event.urn, "failed", style="red")
            return
        if event.kind is Kind.SAME:
            return
        if self._preview:
            if event.kind is Kind.DELETE_REPLACED:
                return
            keys = sorted({line.path.split(".")[0].split("[")[0] for line in lines_of(event)})
            about = f"  [diff: {','.join(keys)}]" if keys and event.kind in (Kind.UPDATE, Kind.REPLACE) else ""
            self._line(event.kind, event.urn, event.kind + about + _pending(event))
        else:
            self._line(event.kind, event.urn, f"{_DONE[event.kind]} ({event.seconds:.2f}s){_pending(event)}")
        if self._diff:
            for line in lines_of(event):
                self._console.print(_difference_text(line), soft_wrap=True)

    def _message(self, event: Message) -> None:
        if event.severity == "debug" and not self._debug:
            return
        if event.ephemeral:
            if event.urn in self._in_flight:
                kind, began, _ = self._in_flight[event.urn]
                self._in_flight[event.urn] = (kind, began, event.text)
                now = time.monotonic()
                if self._live is None and now - self._printed_at.get(event.urn, -math.inf) >= _STATUS_SECONDS:
                    self._printed_at[event.urn] = now
                    self._line(kind, event.urn, event.text)
            return
        if event.severity == "error" and not event.urn:
            return  # told at the end, with everything else that failed
        about = f"{type_of(event.urn)} ({name_of(event.urn)}): " if event.urn else ""
        prefix = f"{event.severity}: " if event.severity != "info" else ""
        style = _SEVERITY_COLORS.get(event.severity, "")
        self._console.print(Text(f"    {prefix}{about}{event.text.rstrip()}", style=style), soft_wrap=True)

    def _line(self, kind: Kind, urn: str, word: str, *, style: str | None = None) -> None:
        text = Text(f" {_SIGNS[kind]} ", style=_COLORS.get(kind, ""))
        text.append(f"{type_of(urn)} ", style="")
        text.append(f"{name_of(urn)} ", style="bold")
        text.append(word, style=_COLORS.get(kind, "") if style is None else style)
        self._console.print(text, soft_wrap=True)

    def _rows(self) -> Text:
        now = time.monotonic()
        rows = list(self._in_flight.items())
        text = Text()
        for urn, (kind, began, status) in rows[:_LIVE_ROWS]:
            text.append(f" {_SIGNS[kind]} ", style=_COLORS.get(kind, ""))
            text.append(f"{type_of(urn)} {name_of(urn)} {_DOING[kind]} ({now - began:.0f}s)")
            text.append(f" {status}\n" if status else "\n", style="dim")
        if len(rows) > _LIVE_ROWS:
            text.append(f"    and {len(rows) - _LIVE_ROWS} more\n", style="dim")
        return text

    def finish(self, result: Result) -> None:
        """What remains to be said at the end: what failed, the outputs, the numbers."""
        if result.failures:
            self._console.print()
            self._console.print(Text("Diagnostics:", style="bold"))
            for failure in result.failures:
                about = f"{type_of(failure.urn)} ({name_of(failure.urn)})" if failure.urn else "the run"
                self._console.print(Text(f"  {about}:", style="bold"), soft_wrap=True)
                for line in failure.message.splitlines():
                    self._console.print(Text(f"    error: {line}", style="red"), soft_wrap=True)
        if self._outputs is not None:
            self._show_outputs(self._outputs)
        self._console.print()
        self._console.print(Text("Resources:", style="bold"))
        for sign, color, text in summary(result, preview=self._preview):
            self._console.print(Text(f"    {sign}{text}", style=color))
        if not self._preview:
            self._console.print(f"\n[bold]Duration:[/bold] {duration(result.seconds)}")

    def _show_outputs(self, outputs: Outputs) -> None:
        lines = []
        for key in sorted(outputs.old.keys() | outputs.new.keys()):
            if key not in outputs.old:
                lines.append(("+ ", "green", f"{key}: {shown(outputs.new[key])}"))
            elif key not in outputs.new:
                lines.append(("- ", "red", f"{key}: {shown(outputs.old[key])}"))
            elif reveal(outputs.old[key]) != reveal(outputs.new[key]):
                lines.append(("~ ", "yellow", f"{key}: {shown(outputs.old[key])} => {shown(outputs.new[key])}"))
            else:
                lines.append(("  ", "", f"{key}: {shown(outputs.new[key])}"))
        if lines:
            self._console.print()
            self._console.print(Text("Outputs:", style="bold"))
            for sign, color, text in lines:
                self._console.print(Text(f"  {sign}{text}", style=color), soft_wrap=True)


def summary(result: Result, *, preview: bool) -> list[tuple[str, str, str]]:
    """The lines under `Resources:` as (sign, colour, text), in Pulumi's words."""
    changes = {Kind(kind): count for kind, count in result.changes.items()}
    lines = []
    for kind in _SUMMARY:
        if count := changes.get(kind):
            lines.append((_SIGNS[kind], _COLORS.get(kind, ""), f"{count} {'to ' + kind if preview else _DONE[kind]}"))
    pieces = []
    if len(lines) > 1:
        pieces.append(f"{sum(changes.get(kind, 0) for kind in _SUMMARY)} changes")
    if same := changes.get(Kind.SAME):
        pieces.append(f"{same} unchanged")
    if pieces:
        lines.append(("", "", ". ".join(pieces)))
    if failed := len({f.urn for f in result.failures if f.urn}):
        lines.append(("", "red", f"{failed} errored"))
    if result.not_begun and not preview:
        lines.append(("", "yellow", f"{result.not_begun} not begun"))
    return lines


def duration(seconds: float) -> str:
    """Whole seconds, rounded up, as Go writes durations."""
    whole = math.ceil(seconds)
    hours, minutes = divmod(whole // 60, 60)
    text = f"{whole % 60}s"
    if whole >= 60:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def shown(value: Value) -> str:
    """A value for people: JSON, secrets and unknowns by name."""
    if value == UNKNOWN:
        return "output<string>"
    visible = redact(value)
    return "[secret]" if visible == "[secret]" else json.dumps(visible, ensure_ascii=False)


def _pending(event: StepEnded) -> str:
    """What tells the deletion of what something else has replaced from one of what the program no longer wants, and one that
    leaves the object alone from one that does not."""
    said = ""
    if event.old is not None and event.kind in (Kind.DELETE, Kind.DELETE_REPLACED):
        if event.kind is Kind.DELETE and event.old.delete:
            said += f"  [id {event.old.id}: another one has taken its place, its deletion is pending]"
        if event.old.retain_on_delete:
            said += "  [retained: it leaves the state and is not deleted]"
    return said


def _difference_text(line: Line) -> Text:
    colors: Mapping[str, str] = {"+": "green", "-": "red", "~": "yellow", " ": ""}
    text = Text(f"      {line.sign} {line.path}: ", style=colors.get(line.sign, ""))
    if line.sign == "~":
        text.append(f"{shown(line.old)} => {shown(line.new)}")
    else:
        text.append(shown(line.new if line.sign == "+" else line.old))
    if line.replaces:
        text.append("  (forces replacement)", style="magenta")
    return text


def outputs_json(outputs: Props, *, show_secrets: bool) -> Props:
    """Outputs for `--json`."""
    return {key: reveal(value) if show_secrets else redact(value) for key, value in outputs.items()}
