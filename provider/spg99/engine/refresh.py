"""Refresh: the state is brought to what really is. Here: reading everything, then deciding. Not here: the run around it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from spg99.engine.decide import NOTHING, Difference, Kind
from spg99.engine.events import Message
from spg99.engine.failure import PartlyFailed, Skipped
from spg99.engine.graph import without
from spg99.engine.provider import Provider
from spg99.engine.providers import Providers
from spg99.engine.run import Run
from spg99.engine.state import Resource, copy, now
from spg99.engine.values import changed_keys, reveal, secret


@dataclass(frozen=True)
class Seen:
    """What a provider said of a resource: `new` None means it is gone."""

    old: Resource
    new: Resource | None
    difference: Difference = NOTHING


def refresh_all(run: Run, providers: Providers) -> None:
    """Reads every resource; only when all could be read does the state change."""
    resources = run.snapshot.resources()
    wanted = [r for r in resources if _readable(r) and run.targeted(r.urn)]
    with ThreadPoolExecutor(run.options.parallel, thread_name_prefix="refresh") as pool:
        seen = {id(s.old): s for s in pool.map(lambda r: _refresh_one(run, providers, r), wanted) if s is not None}
    if run.result.failures or run.stop.is_set():
        return
    kept: list[Resource] = []
    gone: set[str] = set()
    for resource in resources:
        found = seen.get(id(resource))
        if found is None:
            kept.append(resource)
        elif found.new is None:
            if not resource.delete:
                gone.add(resource.urn)
            run.dirty = True
        else:
            kept.append(found.new)
            run.dirty |= found.new is not resource
    # the interrupted create's own question is answered by the next `up`, not here
    run.snapshot.rewrite(without(kept, gone))


def _readable(resource: Resource) -> bool:
    return resource.custom and not resource.pending_replacement and (resource.managed or resource.external)


def _refresh_one(run: Run, providers: Providers, old: Resource) -> Seen | None:
    try:
        with run.slot():
            provider = providers.get(old.provider)
            seen = read_back(run, provider, old)
        kind = Kind.DELETE if seen.new is None else Kind.UPDATE if seen.difference.changed else Kind.SAME
        with run.step(kind, old.urn, begins=False) as outcome:
            outcome.old, outcome.new, outcome.difference = old, seen.new, seen.difference
        return seen
    except Skipped:
        return None
    except Exception as error:  # noqa: BLE001 - the edge: every resource's answer is wanted, good or bad
        run.fail_by(error, old.urn)
        return None


def read_back(run: Run, provider: Provider, old: Resource) -> Seen:
    """How a resource of the state is now. Raises StepFailed when its provider cannot read it."""
    reasons: list[str] = []
    try:
        found = provider.read(old.urn, old.id, old.inputs, old.outputs, timeout=old.custom_timeouts.get("read", 0))
    except PartlyFailed as partial:
        found = partial.id or old.id, partial.inputs or None, partial.properties
        reasons = partial.reasons
        run.publish(Message("warning", "\n".join(["It is unhealthy:", *reasons]), old.urn))
    if found is None:
        return Seen(old, None)
    id_, inputs, outputs = found
    outputs = outputs | {k: secret(outputs[k]) for k in old.additional_secret_outputs if k in outputs}
    new = copy(old, id=id_, inputs=old.inputs if inputs is None else inputs, outputs=outputs, init_errors=reasons)
    if new == old:
        return Seen(old, old)
    difference = _difference(provider, old, new)
    return Seen(old, copy(new, modified=now() if difference.changed else old.modified), difference)


def _difference(provider: Provider, old: Resource, new: Resource) -> Difference:
    """What changed outside, as the provider sees it.

    Asked backwards (what is now as the past, what was wanted as the desired state), so that its Diff can tell drift from noise.
    """
    if old.external:
        keys = changed_keys(old.outputs, new.outputs)
        return Difference(changed=bool(keys), keys=tuple(keys))
    difference = provider.diff(new, old.inputs, old.ignore_changes, old.urn)
    if not difference.changed and (secrets := _changed_secrets(old, new)):
        # A Diff compares inputs. A state of health that moves by itself is noise; a password that the state now has anew is not.
        return replace(difference, changed=True, keys=secrets)
    return difference


def _changed_secrets(old: Resource, new: Resource) -> tuple[str, ...]:
    """Keys of outputs that hold secrets and differ."""
    before = {key: old.outputs.get(key) for key in new.outputs}
    return tuple(
        key
        for key in changed_keys(before, new.outputs)
        if any(reveal(value) != value for value in (before[key], new.outputs[key]))
    )
