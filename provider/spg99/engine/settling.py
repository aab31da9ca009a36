"""What an interrupted run left open is settled before anything else. Here: what is asked of the providers, and what their answers
mean for the state. Not here: the notes themselves (snapshot.py), how a bridge finds its answer (bridges)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from spg99.engine.decide import Kind
from spg99.engine.events import Message
from spg99.engine.failure import Skipped
from spg99.engine.graph import without
from spg99.engine.provider import CannotSay, Made
from spg99.engine.providers import Providers
from spg99.engine.refresh import read_back
from spg99.engine.run import Run
from spg99.engine.state import Operation, Resource, copy, now
from spg99.errors import Spg99Error


@dataclass(frozen=True)
class Answer:
    """What became of one operation. Neither `made`, `gone` nor `seen`: nothing of it happened, or nothing that matters."""

    operation: Operation
    sentence: str
    made: Resource | None = None
    """a create that happened"""
    held: Resource | None = None
    """what the state holds of an updated or deleted resource"""
    seen: Resource | None = None
    """how that is now; None: it is gone"""
    open: bool = False
    """nobody can say: the note stays"""


def settle_interrupted(run: Run, providers: Providers) -> None:
    """Asks what became of every operation whose end nobody recorded, and brings the state to that in one change.

    A preview asks the same and shows it; it asks so that a create under way is not disturbed.
    """
    operations = run.snapshot.unresolved()
    if not operations:
        return
    with ThreadPoolExecutor(min(len(operations), run.options.parallel), thread_name_prefix="settle") as pool:
        answers = list(pool.map(lambda operation: _ask(run, providers, operation), operations))
    for answer in answers:
        urn = answer.operation.resource.urn
        if answer.open:
            run.publish(Message("warning", answer.sentence, urn))
            continue
        with run.step(Kind.REFRESH, urn, begins=False) as outcome:
            outcome.old, outcome.new = answer.held, answer.made or answer.seen
        run.publish(Message("info", answer.sentence, urn))
    resources, gone = settled(run.snapshot.resources(), answers)
    run.snapshot.rewrite(without(resources, gone))
    run.snapshot.keep_unresolved([a.operation for a in answers if a.open])
    run.olds = {r.urn: r for r in run.snapshot.resources() if not r.delete}
    run.dirty = True
    if not run.dry_run:
        run.snapshot.save()  # before anything else: whatever becomes of this run, it is not asked again


def settled(resources: Sequence[Resource], answers: Sequence[Answer]) -> tuple[list[Resource], set[str]]:
    """The state's resources after the answers, and the URNs that are gone. Pure."""
    exchanged: dict[int, Resource | None] = {id(a.held): a.seen for a in answers if a.held is not None and not a.open}
    gone = {a.held.urn for a in answers if a.held is not None and not a.open and a.seen is None and not a.held.delete}
    added: list[Resource] = []
    for made in (a.made for a in answers if a.made is not None):
        live = next((r for r in resources if r.urn == made.urn and not r.delete), None)
        if any((r.type, r.id) == (made.type, made.id) and not r.delete for r in resources):
            continue  # the state has it already
        if live is None:
            added.append(made)
        elif live.pending_replacement or live.external:
            exchanged[id(live)] = made  # it was being made in the place of this one
        else:
            # Half of a replacement. The old one stays what it is: it is for the next program to decide again. The new one waits
            # for its deletion, unless that program makes it once more and so gets this very one.
            added.append(copy(made, delete=True))
    kept = [exchanged.get(id(r), r) for r in resources]
    return [*(r for r in kept if r is not None), *added], gone


def _ask(run: Run, providers: Providers, operation: Operation) -> Answer:
    urn, kind = operation.resource.urn, operation.type
    was = f"An earlier run was interrupted while {kind} it"
    try:
        with run.slot():
            if kind == "creating":
                return _ask_create(run, providers, operation, was)
            if kind in ("updating", "deleting"):
                return _ask_change(run, providers, operation, was)
    except Skipped:
        return Answer(operation, f"{was}; this run is ending, too.", open=True)
    except Spg99Error as error:
        return Answer(operation, f"{was}. What became of it cannot be asked now: {error.message}", open=True)
    return Answer(operation, f"An earlier run was interrupted while {kind} {urn}; nothing is left of that.")


def _ask_create(run: Run, providers: Providers, operation: Operation, was: str) -> Answer:
    wanted = operation.resource
    try:
        made: Made | None = providers.get(wanted.provider).was_made(wanted, withdraw=not run.dry_run)
    except CannotSay:
        return Answer(
            operation,
            f"{was}. Its provider cannot be asked whether it was made: it may exist although the state does not know it. It is "
            "created again under the same name if the program declares it.",
            open=True,
        )
    if made is None:
        return Answer(operation, f"{was}: it was not made, and its note is gone.")
    resource = copy(
        wanted,
        id=made.id,
        inputs=made.inputs,
        outputs=made.outputs,
        init_errors=[made.unfinished] if made.unfinished else [],
        created=now(),
        modified=now(),
    )
    return Answer(operation, f"{was}: it was made ('{made.id}'), and is in the state now.", made=resource)


def _ask_change(run: Run, providers: Providers, operation: Operation, was: str) -> Answer:
    asked = operation.resource
    held = next((r for r in run.snapshot.resources() if r.urn == asked.urn and r.id == asked.id), None)
    if held is None:  # renamed by an alias in the interrupted run, or gone from the state since
        held = next((r for r in run.snapshot.resources() if r.type == asked.type and r.id == asked.id), None)
    if held is None or held.pending_replacement or not held.managed:
        return Answer(operation, f"{was}; the state does not hold it any more.")
    seen = read_back(run, providers.get(held.provider), held).new
    if seen is None:
        return Answer(operation, f"{was}: it is gone, and out of the state now.", held=held)
    what = (
        "it is there as before, and deleted again if it is still not wanted"
        if operation.type == "deleting"
        else "read back"
    )
    return Answer(operation, f"{was}: {what}.", held=held, seen=seen)
