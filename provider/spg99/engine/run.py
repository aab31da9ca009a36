"""One run over a stack: what all its parts share. Here: memory and counting. Not here: decisions (decide.py), steps (registration.py)."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spg99.engine.decide import NOTHING, Difference, Kind
from spg99.engine.entries import Entries
from spg99.engine.events import Event, Failure, Listener, Message, Result, StepEnded, StepStarted
from spg99.engine.failure import Skipped
from spg99.engine.project import Project
from spg99.engine.snapshot import Snapshot
from spg99.engine.state import Resource, copy
from spg99.engine.twins import holds_object_of, is_same_object
from spg99.engine.urns import is_default_provider
from spg99.errors import Spg99Error, kind_and_place

DEFAULT_PARALLEL = 64
"""Steps at once."""


@dataclass(frozen=True)
class Options:
    """How a run is to be done."""

    dry_run: bool = False
    parallel: int = DEFAULT_PARALLEL
    targets: Callable[[str], bool] | None = None
    target_dependents: bool = False
    debug: bool = False
    clear_pending_creates: bool = False


@dataclass(eq=False)
class _Step:
    """A step that a thread is at, or waits to begin."""

    kind: Kind
    urn: str
    begins: bool
    """Whether its start is told."""
    started: float
    begun: bool = False


@dataclass
class Run:
    """Shared memory of one run. `lock` guards everything mutable in it."""

    project: Project
    stack: str
    options: Options
    config: dict[str, Any]
    environment: dict[str, str]
    snapshot: Snapshot
    olds: dict[str, Resource]
    listener: Listener
    cwd: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    result: Result = field(default_factory=Result)
    registered: dict[str, Resource] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    """URNs that the program has registered, whatever became of them"""
    protects: dict[str, bool] = field(default_factory=dict)
    """URN -> whether the program protects it"""
    unusable: set[str] = field(default_factory=set)
    """URNs whose step failed or was skipped: what needs them is skipped too"""
    left_out: set[str] = field(default_factory=set)
    """URNs that were not created because they are no target"""
    alias_of: dict[str, str] = field(default_factory=dict)
    """old URN -> the URN that took it over"""
    alias_used: dict[str, str] = field(default_factory=dict)
    """URN -> the old URN it took over"""
    replaced: set[str] = field(default_factory=set)
    forced: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """URNs that were deleted for the sake of another's replacement, with the reason"""
    own_leavings: list[Resource] = field(default_factory=list)
    """what this run itself has replaced: deleted when all else is done, and told with the replacement"""
    let_go: list[tuple[Resource, Resource]] = field(default_factory=list)
    """what leaves the state without a deletion, and the entry that holds the same object"""
    deleting: Entries = field(default_factory=Entries)
    """what this run has had deleted, or is about to"""
    kept: Entries = field(default_factory=Entries)
    """what left the state in this run while its object stays, because it is retained"""
    imported: Entries = field(default_factory=Entries)
    """what this run takes into the state, from the decision on"""
    whole: bool = False
    """The program has said that it registered everything it wants."""
    heard_at: float = field(default_factory=time.monotonic)
    """when the program last asked for something, or was answered"""
    dirty: bool = False
    root_urn: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.slots = threading.Semaphore(self.options.parallel)
        self._steps_begun = 0
        self._thread = threading.local()

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be changed."""
        return self.options.dry_run

    def publish(self, event: Event) -> None:
        """Passes an event on; messages that stay are kept for the result."""
        if isinstance(event, Message) and not event.ephemeral:
            with self.lock:
                self.result.messages.append(event)
        self.listener(event)

    def superseded(self, old: Resource, *, protect: bool, retain_on_delete: bool, by_import: bool = False) -> Resource:
        """How a replaced resource looks while it waits for its deletion. The options are what the program says now: it was
        asked whether a protected one may go, and whoever retains it from this run on means this one, too.

        `by_import`: another object was taken in by its name. Then no step says "replace", and its deletion is told by itself."""
        leaving = copy(
            old,
            delete=True,
            protect=old.protect and protect,
            retain_on_delete=old.retain_on_delete or retain_on_delete,
        )
        if not by_import:
            with self.lock:
                self.own_leavings.append(leaving)
        return leaving

    def is_own_leaving(self, resource: Resource) -> bool:
        """Whether this run has replaced it and said so; else an earlier run did and never came to deleting it, or an import."""
        with self.lock:
            return any(leaving is resource for leaving in self.own_leavings)

    def let_go_if_held(self, leaving: Resource) -> Resource | None:
        """The entry of the state that holds the same object as `leaving` and stays; None: there is none, so it is to be deleted.

        Of two entries of one object that are to go at once only one is let go: the other is the last that holds it.
        """
        with self.lock:
            for gone, holder in self.let_go:
                if gone is leaving:
                    return holder
            for resource in self.snapshot.entries_of(leaving.type, leaving.id):
                if holds_object_of(leaving, resource) and not any(gone is resource for gone, _ in self.let_go):
                    self.let_go.append((leaving, resource))
                    return resource
            return None

    def claim_import(self, found: Resource, instead_of: Resource | None = None) -> Resource | None:
        """Notes that `found` is taken into the state; answers another entry that holds the same object already, if there is one."""
        with self.lock:
            same_id = (
                *self.snapshot.entries_of(found.type, found.id),
                *self.imported.of(found.type, found.id),
            )
            for resource in same_id:
                is_another = resource.urn != found.urn and resource is not instead_of
                if is_another and holds_object_of(found, resource):
                    return resource
            self.imported.add(found)
            return None

    def is_first_to_delete(self, resource: Resource) -> bool:
        """Whether no other entry of the same object is or was being deleted in this run; from now on this one is."""
        with self.lock:
            if any(is_same_object(other, resource) for other in self.deleting.of(resource.type, resource.id)):
                return False
            self.deleting.add(resource)
            return True

    def must_be_kept(self, resource: Resource) -> bool:
        """Whether an entry of the same object says that it is retained: one in the state, also if it was there only when the run
        began, one that this run let go, or one that it has taken out of the state already."""
        with self.lock:
            type_, id_ = resource.type, resource.id
            if any(is_same_object(r, resource) for r in self.kept.of(type_, id_)):
                return True
            others = (
                *self.snapshot.before.of(type_, id_),
                *self.snapshot.entries_of(type_, id_),
                *(gone for gone, _ in self.let_go),
            )
            return any(r.retain_on_delete and is_same_object(r, resource) for r in others)

    def keep(self, resource: Resource) -> None:
        """Notes that an entry goes and its object stays: whatever other name it has, it stays to the end of the run."""
        with self.lock:
            self.kept.add(resource)

    def note_call(self, method: str, seconds: float) -> None:
        """Counts a call to a provider."""
        self.result.provider_calls.append((method, seconds))

    def fail(self, message: str, urn: str = "") -> None:
        """Records a failure; nothing new is begun from now on."""
        with self.lock:
            self.result.failures.append(Failure(message, urn))
            if urn:
                self.unusable.add(urn)
        if not self.dry_run:
            # A preview goes on, to show every problem at once.
            self.stop.set()

    def fail_by(self, error: Exception, urn: str) -> None:
        """Records what an exception says about a resource. For a bug of this engine: what and where, with --debug."""
        if isinstance(error, Spg99Error):
            detail = getattr(error, "detail", "")
            self.fail(error.message, urn)
        else:
            detail = "".join(traceback.format_exception(error))
            self.fail(
                f"The embedded engine failed here, which is its own fault: {kind_and_place(error)}. --debug tells more.",
                urn,
            )
        if detail and detail != str(error):
            self.publish(Message("debug", detail, urn))

    def cancel(self) -> None:
        """The user asked to stop."""
        self.result.cancelled = True
        self.stop.set()

    def ensure_going(self) -> None:
        """Raises Skipped when nothing new may begin."""
        if self.stop.is_set():
            raise Skipped("The run is ending.")

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place among the calls that may be under way at once. With it the steps begin that this thread is about to do: what
        waits for a place has not begun. Raises Skipped when by then nothing new may begin."""
        with self.slots:
            self.ensure_going()
            for step in self._steps_of_thread():
                if not step.begun:
                    step.started = time.perf_counter()
                self._begin(step)
            yield

    def _steps_of_thread(self) -> list[_Step]:
        """From the outermost to the innermost."""
        found: list[_Step] = self._thread.__dict__.setdefault("steps", [])
        return found

    def _begin(self, step: _Step) -> None:
        if step.begun:
            return
        step.begun = True
        if step.begins and not is_default_provider(step.urn):
            self.publish(StepStarted(step.kind, step.urn))

    def not_begun(self, urn: str, count: int = 1) -> None:
        """Counts what was skipped; `urn` (if one) cannot be used by others."""
        with self.lock:
            if urn:
                self.unusable.add(urn)
            self.result.not_begun += count

    def in_flight(self) -> bool:
        """Whether any step has begun and not ended."""
        return self._steps_begun > 0

    def targeted(self, urn: str) -> bool:
        """Whether the user's `--target` covers it."""
        return self.options.targets is None or self.options.targets(urn)

    @contextmanager
    def step(self, kind: Kind, urn: str, *, begins: bool = True) -> Iterator[StepOutcome]:
        """Tells the start (with its first `slot`) and the end of a step, and counts it. One that is skipped before it has
        begun is not told."""
        outcome = StepOutcome()
        step = _Step(kind, urn, begins, time.perf_counter())
        with self.lock:
            self._steps_begun += 1
        self._steps_of_thread().append(step)
        error: str | None = None
        shows = True
        try:
            yield outcome
        except Skipped as caught:
            error, shows = str(caught), step.begun
            raise
        except Exception as caught:
            error = str(caught)
            raise
        finally:
            self._steps_of_thread().remove(step)
            if shows:
                self._begin(step)
            ended = StepEnded(
                kind,
                urn,
                time.perf_counter() - step.started,
                error,
                outcome.difference,
                outcome.replace_keys,
                outcome.old,
                outcome.new,
            )
            with self.lock:
                self._steps_begun -= 1
            # Default providers are the engine's own business, as with Pulumi.
            if shows and not is_default_provider(urn):
                with self.lock:
                    self.result.steps.append(ended)
                self.publish(ended)


@dataclass
class StepOutcome:
    """What a step fills in for those who watch."""

    old: Resource | None = None
    new: Resource | None = None
    difference: Difference = NOTHING
    replace_keys: tuple[str, ...] = ()
