"""Deleting: what is wanted no more, what was replaced, and what stands in the way of a replacement. Here: doing it in order.
Not here: the order itself (graph.py)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from spg99 import faults
from spg99.engine.decide import Goal, Kind, decide, refuse_deletion
from spg99.engine.events import Message
from spg99.engine.failure import OutcomeUnknown, Skipped, StepFailed
from spg99.engine.graph import deletion_waits, dependents, others
from spg99.engine.providers import Providers
from spg99.engine.run import Run
from spg99.engine.state import Resource, copy
from spg99.engine.twins import said_of_a_drop
from spg99.engine.urns import is_provider
from spg99.engine.values import UNKNOWN
from spg99.engine.wanted import Wanted


def delete_all(run: Run, providers: Providers, doomed: Sequence[Resource]) -> None:
    """Deletes resources (given in state order), each after all that need it, as many at a time as allowed.

    After a failure nothing new is begun; what a failed one needs stays, too.
    """
    leaving = {r.urn for r in doomed if not r.delete and not r.retain_on_delete}
    waits = deletion_waits(doomed)
    waiters: dict[int, set[int]] = {place: set() for place in waits}
    for place, before in waits.items():
        for other in before:
            waiters[other].add(place)
    ready = sorted((place for place, before in waits.items() if not before), reverse=True)
    in_flight: dict[Future[bool], int] = {}
    ended: SimpleQueue[Future[bool]] = (
        SimpleQueue()
    )  # `wait` would go through all that are in flight for each that ends
    submitted = 0
    with ThreadPoolExecutor(run.options.parallel, thread_name_prefix="delete") as pool:
        while ready or in_flight:
            for place in ready:
                future = pool.submit(_delete_one, run, providers, doomed[place], leaving)
                in_flight[future] = place
                future.add_done_callback(ended.put)
            submitted += len(ready)
            ready = []
            future = ended.get()
            place = in_flight.pop(future)
            if not future.result():
                continue
            for other in waiters[place]:
                waits[other].discard(place)
                if not waits[other]:
                    ready.append(other)
            ready.sort(reverse=True)
    run.not_begun("", len(doomed) - submitted)


def _delete_one(run: Run, providers: Providers, resource: Resource, leaving: set[str]) -> bool:
    try:
        run.ensure_going()
        kind = Kind.DISCARD if resource.external else Kind.DELETE
        if run.is_own_leaving(resource):
            kind = Kind.DELETE_REPLACED  # told with its replacement; what an earlier run left is told by itself
        elif kind is Kind.DELETE and not refusal_of(run, resource) and _is_held_by_another(run, resource):
            kind = Kind.DISCARD
        with run.step(kind, resource.urn) as outcome:
            outcome.old = resource
            _delete(run, providers, resource, gone_with=resource.deleted_with in leaving)
            run.dirty = True
            run.snapshot.end(resource, instead_of=resource, write=resource.managed)
    except Skipped:
        run.not_begun("")
        return False
    except Exception as error:  # noqa: BLE001 - the edge: one resource's failure must not end the run
        run.fail_by(error, resource.urn)
        return False
    return True


def refusal_of(run: Run, resource: Resource, replaced_by: Wanted | None = None) -> str | None:
    """Why this run may not delete it, or None. `replaced_by` is what the program wants in its place."""
    if replaced_by is not None:
        return refuse_deletion(resource, program_protects=replaced_by.goal.protect)
    says = run.protects.get(resource.urn)
    live = run.olds.get(resource.urn)
    if says is None and resource.delete and live is not None:
        says = live.protect  # without a program (destroy): what it said last of the one in its place
    return refuse_deletion(resource, program_protects=says)


def _is_taken_back(run: Run, leaving: Resource) -> bool:
    """Whether what was to go stands in the state under the same name again: nothing of it goes."""
    live = run.snapshot.resources() if leaving.delete and leaving.managed else []
    return any((r.urn, r.type, r.id) == (leaving.urn, leaving.type, leaving.id) and not r.delete for r in live)


def _is_held_by_another(run: Run, leaving: Resource) -> bool:
    return not leaving.pending_replacement and run.let_go_if_held(leaving) is not None


def _delete(
    run: Run, providers: Providers, resource: Resource, *, gone_with: bool = False, replaced_by: Wanted | None = None
) -> None:
    """The one way to delete anything: asks the guard, then has it deleted by its provider, noted before.

    No call is made when it is not the provider's to delete, is retained, or goes with another. Raises StepFailed.
    """
    if (refusal := refusal_of(run, resource, replaced_by)) and not _is_taken_back(run, resource):
        raise StepFailed(refusal)
    if not resource.pending_replacement and (holder := run.let_go_if_held(resource)):
        if holder.urn != resource.urn:
            run.publish(Message("warning", said_of_a_drop(resource, holder), resource.urn))
        return
    retained = resource.retain_on_delete or (replaced_by is not None and replaced_by.retain_on_delete)
    if retained := retained or run.must_be_kept(resource):
        run.keep(resource)
    if not resource.managed or retained or gone_with or resource.pending_replacement or run.dry_run:
        return
    if not run.is_first_to_delete(resource):
        return  # by now the id may be another object's
    with run.slot():
        provider = providers.get(resource.provider)
        run.snapshot.begin("deleting", resource)
        faults.point("engine.delete.noted")
        try:
            provider.delete(resource, timeout=resource.custom_timeouts.get("delete", 0))
            faults.point("engine.delete.done")
        except OutcomeUnknown:
            run.snapshot.leave_open(resource)
            raise
        except BaseException:
            run.snapshot.end(resource)
            raise


def delete_for_replacement(run: Run, providers: Providers, old: Resource, wanted: Wanted) -> Resource:
    """Deletes a resource that is about to be made anew, and before it all that would be replaced because of it.

    Answers what stands in the state in its place until it is there again. Raises StepFailed, with nothing deleted, when any
    of them may not go.
    """
    going = _replaced_with(run, providers, old)
    for dependent in going:
        if refusal_of(run, dependent):
            raise StepFailed(f"{dependent.urn} would have to be replaced with it, and is protected.")
    if refusal := refusal_of(run, old, wanted):
        raise StepFailed(refusal)
    for dependent in reversed(going):
        with run.step(Kind.DELETE_REPLACED, dependent.urn) as outcome:
            outcome.old = dependent
            _delete_until_made_again(run, providers, dependent)
    with run.step(Kind.DELETE_REPLACED, old.urn) as outcome:
        outcome.old = old
        return _delete_until_made_again(run, providers, old, replaced_by=wanted)


def _delete_until_made_again(
    run: Run, providers: Providers, old: Resource, *, replaced_by: Wanted | None = None
) -> Resource:
    _delete(run, providers, old, replaced_by=replaced_by)
    waiting = copy(old, pending_replacement=True)
    with run.lock:
        run.dirty = True
        run.olds[old.urn] = waiting
    run.snapshot.end(old, marked=(old, waiting))
    return waiting


_dependents_lock = threading.Lock()


def _replaced_with(run: Run, providers: Providers, root: Resource) -> list[Resource]:
    """What is left in the state that would be replaced when `root` is made anew, in state order.

    Found by asking providers: would you replace it if the inputs that come from there were not known?
    """
    with _dependents_lock:
        resources = run.snapshot.resources()
        needing = dependents({root.urn}, resources)
        going = {root.urn}
        found: list[Resource] = []
        for resource in resources:
            unseen = resource.urn in needing and resource.urn not in run.claimed and not resource.delete
            if not unseen or not resource.managed or resource.pending_replacement:
                continue
            keys = _replace_keys(providers, resource, going)
            if keys is not None:
                going.add(resource.urn)
                found.append(resource)
                run.forced[resource.urn] = keys
        return found


def _replace_keys(providers: Providers, resource: Resource, going: set[str]) -> tuple[str, ...] | None:
    if resource.provider.rpartition("::")[0] in going:
        return ("provider",)
    if resource.deleted_with in going:
        return ("deletedWith",)
    touched = {key for key, urns in resource.property_dependencies.items() if set(urns) & going}
    touched &= resource.inputs.keys()
    if not touched:
        return None
    inputs = resource.inputs | dict.fromkeys(touched, UNKNOWN)
    difference = providers.get(resource.provider).diff(resource, inputs, resource.ignore_changes, resource.urn)
    decision = decide(resource, Goal(replace_on_changes=resource.replace_on_changes), difference)
    return decision.replace_keys if decision.kind is Kind.REPLACE else None


def leftovers(run: Run) -> list[Resource]:
    """What a program that ran to its end no longer wants, in state order: unseen old ones, and replaced ones.

    Providers that others are left with stay.
    """
    current = run.snapshot.resources()
    kept_urns = set(run.registered) | run.claimed
    doomed = [r for r in current if r.delete or (r.urn not in kept_urns and r.urn not in run.alias_of)]
    if run.options.targets is not None:
        doomed = [r for r in doomed if run.targeted(r.urn)]
        needed = {r.provider for r in others(current, doomed)}
        doomed = [r for r in doomed if not (is_provider(r.type) and r.reference in needed)]
    return doomed
