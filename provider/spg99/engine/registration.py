"""A resource that the program registers, from request to settled. Here: the order of things. Not here: rules (decide.py), the
wire (monitor.py), deleting what is wanted no more (deletion.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from spg99 import faults
from spg99.engine import autonaming, paths
from spg99.engine.decide import NOTHING, Decision, Kind, decide, decide_exchange, wants_import
from spg99.engine.deletion import delete_for_replacement
from spg99.engine.failure import OutcomeUnknown, PartlyFailed, Skipped, StepFailed
from spg99.engine.provider import Provider
from spg99.engine.providers import Providers
from spg99.engine.run import Run
from spg99.engine.state import Resource, copy, now
from spg99.engine.twins import refused_import
from spg99.engine.urns import DYNAMIC_PACKAGES, STACK_TYPE, is_provider, package_of
from spg99.engine.values import Props, secret
from spg99.engine.wanted import Wanted, earlier_urns


@dataclass(frozen=True)
class Settled:
    """What the program gets back."""

    urn: str
    id: str = ""
    outputs: Props | None = None
    stables: tuple[str, ...] = ()
    failed: bool = False
    left_out: bool = False
    """not created because it is no target: its outputs are unknown"""


def register(run: Run, providers: Providers, wanted: Wanted) -> Settled:
    """Settles a resource. A failure is recorded in the run and answered as such: the program goes on without it."""
    return claimed(run, wanted, lambda: _settle(run, providers, wanted))


def claimed(run: Run, wanted: Wanted, settle: Callable[[], Settled]) -> Settled:
    """Settles what has not been claimed and whose needs are met; everything that goes wrong ends here."""
    try:
        with run.lock:
            if wanted.urn in run.claimed:
                raise StepFailed("The program registers it twice: give the two different names.")
            run.claimed.add(wanted.urn)
            run.protects[wanted.urn] = wanted.goal.protect
        run.ensure_going()
        if needed := _needs(wanted) & run.unusable:
            raise Skipped(f"It needs {', '.join(sorted(needed))}, which failed.")
        return settle()
    except Skipped:
        run.not_begun(wanted.urn)
    except Exception as error:  # noqa: BLE001 - the edge: one resource's failure must not end the run
        run.fail_by(error, wanted.urn)
    return Settled(wanted.urn, failed=True)


def _needs(wanted: Wanted) -> set[str]:
    return wanted.resource(wanted.provider, {}).needs()


def _settle(run: Run, providers: Providers, wanted: Wanted) -> Settled:
    old = _find_old(run, wanted)
    if is_provider(wanted.type):
        new = providers.settle(wanted.resource("", wanted.inputs), old)
        return Settled(wanted.urn, new.id, new.outputs)
    if not wanted.custom:
        return _component(run, wanted, old)
    reference = wanted.provider or providers.default_for(wanted.type, wanted.version, wanted.plugin_url)
    if not run.targeted(wanted.urn):
        return _untargeted(run, wanted, old)
    if needed := _needs(wanted) & run.left_out:
        raise StepFailed(f"It needs {', '.join(sorted(needed))}, which is not there yet and no target.")
    return _Custom(run, providers, wanted, reference).settle(old)


def _find_old(run: Run, wanted: Wanted) -> Resource | None:
    with run.lock:
        urn = earlier_urns(
            wanted,
            stack=run.stack,
            project=run.project.name,
            taken_over=run.alias_used,
            find=lambda u: u in run.olds and u not in run.alias_of and (u == wanted.urn or u not in run.claimed),
        )
        if urn is None:
            return None
        if urn != wanted.urn:
            # Only remembered: the state takes the new name with the step itself, once that is decided and done.
            run.alias_of[urn], run.alias_used[wanted.urn] = wanted.urn, urn
        return run.olds[urn]


def _component(run: Run, wanted: Wanted, old: Resource | None) -> Settled:
    new = wanted.resource("", wanted.inputs, outputs=old.outputs if old else {})
    if old is not None:
        new = copy(new, created=old.created, modified=old.modified, extra=old.extra)
    kind = Kind.CREATE if old is None else Kind.SAME if old.inputs == new.inputs else Kind.UPDATE
    with run.step(kind, wanted.urn) as outcome:
        outcome.old, outcome.new = old, new
    if wanted.type == STACK_TYPE:
        run.root_urn = wanted.urn
    keep(run, old, new)
    return Settled(wanted.urn)


def _untargeted(run: Run, wanted: Wanted, old: Resource | None) -> Settled:
    """No target: stays as it is, or stays away."""
    if old is None:
        run.left_out.add(wanted.urn)
        return Settled(wanted.urn, left_out=True)
    keep(run, old, copy(old, urn=wanted.urn))
    return Settled(wanted.urn, old.id, old.outputs)


def keep(run: Run, old: Resource | None, new: Resource) -> Resource:
    """Puts an unchanged or merely noted resource into the state; written with the next step that matters."""
    kept = old if old is not None and old == new else new
    run.dirty |= kept is not old
    run.snapshot.end(done=kept, instead_of=old, write=False)
    run.registered[new.urn] = kept
    return kept


class _Custom:
    """One custom resource on its way."""

    def __init__(self, run: Run, providers: Providers, wanted: Wanted, reference: str) -> None:
        self.run, self.providers, self.wanted, self.reference = run, providers, wanted, reference
        self.provider: Provider = providers.get(reference)
        self.seed = os.urandom(32)

    def settle(self, old: Resource | None) -> Settled:
        """Check, compare, decide, act: until the step is decided, nothing is written and nothing changed."""
        wanted = self.wanted
        if wants_import(wanted.goal, old, custom=True):
            return self._settle_import(old)
        known = old if old is not None and not old.external and old.urn not in self.run.forced else None
        inputs = paths.keep_old(wanted.inputs, old.inputs, wanted.ignore_changes) if old else wanted.inputs
        checked = self._check(known, inputs)
        decision = self._decide(old, checked)
        new = wanted.resource(self.reference, checked)
        self._ensure_allowed(decision, old, new)
        if decision.kind is Kind.SAME:
            assert old is not None
            return self._same(old, new, is_reported=False)
        if decision.kind is Kind.REPLACE:
            assert old is not None
            checked = self._check(None, wanted.inputs)
            return self._replace(old, copy(new, inputs=checked), decision)
        if decision.kind is Kind.UPDATE:
            assert old is not None
            return self._update(old, new, decision)
        return self._create(old, new)

    def _ensure_allowed(self, decision: Decision, old: Resource | None, new: Resource) -> None:
        """Raises StepFailed, told as a step, when the decision is a refusal."""
        if decision.refusal:
            with self.run.step(decision.kind, self.wanted.urn, begins=False) as outcome:
                outcome.old, outcome.new = old, new
                outcome.difference, outcome.replace_keys = decision.difference, decision.replace_keys
                raise StepFailed(decision.refusal)

    def _settle_import(self, old: Resource | None) -> Settled:
        """Takes over what the program names by `import_`; what the state has under this name leaves by it, as if replaced."""
        wanted = self.wanted
        found = self._read_import()
        if holder := self.run.claim_import(found, old):
            self._ensure_allowed(Decision(Kind.IMPORT, refusal=refused_import(found, holder)), old, found)
        leaving = old if old is not None and not old.external else None
        if leaving is not None:
            # The same questions as for any replacement: the engine's guard, and the provider's (its Check and Diff refuse
            # where data would be lost).
            self._ensure_allowed(decide_exchange(leaving, wanted.goal), leaving, found)
            self.provider.diff(leaving, self._check(leaving, wanted.inputs), (), wanted.urn)
        inputs = paths.keep_old(wanted.inputs, found.inputs, wanted.ignore_changes)
        checked = self._check(found, inputs)
        decision = self._decide(found, checked)
        new = wanted.resource(self.reference, checked)
        self._ensure_allowed(decision, found, new)
        self._take_over(found, instead_of=None if leaving is not None else old, leaving=leaving)
        if decision.kind is Kind.SAME:
            return self._same(found, new, is_reported=True)
        return self._update(found, new, decision)

    def _check(self, old: Resource | None, inputs: Props) -> Props:
        run, wanted = self.run, self.wanted
        named = autonaming.proposal(run.config, wanted.type, wanted.name, run.stack, run.project.name, self.seed)
        return self.provider.check(wanted.urn, old.inputs if old else {}, inputs, self.seed, named)

    def _decide(self, old: Resource | None, checked: Props) -> Decision:
        wanted, run = self.wanted, self.run
        if old is None or old.external:
            return decide(old, wanted.goal, NOTHING)
        forced = list(run.forced.get(old.urn, ()))
        if wanted.deleted_with and wanted.deleted_with in run.replaced:
            forced.append("deletedWith")
        if self._provider_exchanged(old):
            forced.append("provider")
        difference = self.provider.diff(old, checked, wanted.ignore_changes, wanted.urn)
        if forced:
            # Whether both can stand side by side the provider knows, whatever the reason is.
            difference = replace(NOTHING, delete_before_replace=difference.delete_before_replace)
        return decide(old, wanted.goal, difference, forced=forced)

    def _provider_exchanged(self, old: Resource) -> bool:
        """Whether another provider serves it now and says that its resources cannot move to it."""
        if not old.provider or old.provider == self.reference:
            return False
        before, after = self.providers.resource(old.provider), self.providers.resource(self.reference)
        if before is None or after is None or self.run.alias_of.get(before.urn) == after.urn:
            return False
        if before.type != after.type:
            return False  # another package's type took it over by an alias: its Diff decides
        difference = self.provider.diff_config(after.urn, before, after.inputs)
        return difference is not None and bool(difference.replaces)

    def _same(self, old: Resource, new: Resource, *, is_reported: bool) -> Settled:
        new = copy(
            new,
            id=old.id,
            outputs=self._sealed(old.outputs),
            created=old.created,
            modified=old.modified,
            extra=old.extra,
        )
        if not is_reported:
            with self.run.step(Kind.SAME, self.wanted.urn, begins=False) as outcome:
                outcome.old, outcome.new = old, new
        keep(self.run, old, new)
        return Settled(new.urn, new.id, new.outputs)

    def _create(self, old: Resource | None, new: Resource) -> Settled:
        with self.run.step(Kind.CREATE, new.urn) as outcome:
            outcome.new = new
            done = self._make(new, instead_of=old)
            outcome.new = done
        return Settled(done.urn, done.id, done.outputs)

    def _make(self, new: Resource, *, instead_of: Resource | None, leaving: Resource | None = None) -> Resource:
        """The provider's Create, between the two notes in the state. `leaving` is deleted later, in favour of the new one."""
        run, snapshot = self.run, self.run.snapshot
        with run.slot():
            snapshot.begin("creating", new)
            faults.point("engine.create.noted")
            try:
                id_, outputs = self.provider.create(
                    new.urn, new.inputs, timeout=new.custom_timeouts.get("create", 0), preview=run.dry_run
                )
                faults.point("engine.create.made")
            except PartlyFailed as partial:
                self._keep_partial(new, partial, instead_of=instead_of, leaving=leaving)
                raise
            except OutcomeUnknown:
                snapshot.leave_open(new)
                raise
            except BaseException:
                snapshot.end(new)
                raise
            done = copy(new, id=id_, outputs=self._sealed(outputs), created=now(), modified=now())
            run.registered[new.urn], run.dirty = done, True
            snapshot.end(new, done=done, instead_of=instead_of, marked=self._marked(leaving))
            return done

    def _update(self, old: Resource, new: Resource, decision: Decision) -> Settled:
        run, snapshot = self.run, self.run.snapshot
        new = copy(new, id=old.id, created=old.created, extra=old.extra)
        with run.step(Kind.UPDATE, new.urn) as outcome, run.slot():
            outcome.old, outcome.new, outcome.difference = old, new, decision.difference
            snapshot.begin("updating", new)
            faults.point("engine.update.noted")
            try:
                outputs = self.provider.update(
                    new.urn,
                    old,
                    new.inputs,
                    self.wanted.ignore_changes,
                    timeout=new.custom_timeouts.get("update", 0),
                    preview=run.dry_run,
                )
            except PartlyFailed as partial:
                self._keep_partial(new, partial, instead_of=old)
                raise
            except OutcomeUnknown:
                snapshot.leave_open(new)
                raise
            except BaseException:
                snapshot.end(new)
                raise
            faults.point("engine.update.made")
            done = outcome.new = copy(new, outputs=self._sealed(outputs), modified=now())
            run.registered[new.urn], run.dirty = done, True
            snapshot.end(new, done=done, instead_of=old)
        return Settled(done.urn, done.id, done.outputs, decision.difference.stables)

    def _replace(self, old: Resource, new: Resource, decision: Decision) -> Settled:
        run = self.run
        with run.step(Kind.REPLACE, new.urn) as outcome:
            outcome.old, outcome.new = old, new
            outcome.difference, outcome.replace_keys = decision.difference, decision.replace_keys
            if old.pending_replacement:
                done = self._make(new, instead_of=old)
            elif decision.delete_first:
                gone = delete_for_replacement(run, self.providers, old, self.wanted)
                run.replaced.add(new.urn)
                done = self._make(new, instead_of=gone)
            else:
                run.replaced.add(new.urn)
                done = self._make(new, instead_of=None, leaving=old)
            outcome.new = done
        return Settled(done.urn, done.id, done.outputs)

    def _keep_partial(
        self, new: Resource, partial: PartlyFailed, *, instead_of: Resource | None, leaving: Resource | None = None
    ) -> None:
        """What exists half-way belongs into the state, with the reasons; the next run continues it."""
        done = copy(
            new,
            id=partial.id or new.id,
            inputs=partial.inputs or new.inputs,
            outputs=self._sealed(partial.properties),
            init_errors=partial.reasons,
            created=new.created or now(),
            modified=now(),
        )
        self.run.dirty = True
        self.run.snapshot.end(new, done=done, instead_of=instead_of, marked=self._marked(leaving))

    def _read_import(self) -> Resource:
        """What the program wants to take over, as it is. Changes nothing."""
        run, wanted = self.run, self.wanted
        id_ = wanted.goal.import_id
        # A dynamic provider cannot be found without its `__provider`; Pulumi's engine does not send it and fails there.
        hint = {"__provider": wanted.inputs["__provider"]} if self.provider.package in DYNAMIC_PACKAGES else None
        with run.slot():
            found = self.provider.read(wanted.urn, id_, hint, None, timeout=wanted.timeouts.get("read", 0))
        if found is None:
            raise StepFailed(f"There is nothing to import with the id '{id_}'.")
        real_id, inputs, outputs = found
        if inputs is None:
            raise StepFailed(f"The provider '{package_of(wanted.type)}' cannot import a {wanted.type}.")
        resource = wanted.resource(self.reference, inputs, id=real_id, created=now(), modified=now())
        return copy(resource, outputs=self._sealed(outputs))

    def _take_over(self, found: Resource, *, instead_of: Resource | None, leaving: Resource | None) -> None:
        """Puts what was read, checked and decided into the state."""
        run = self.run
        with run.step(Kind.IMPORT, found.urn) as outcome:
            outcome.old, outcome.new = leaving, found
            run.dirty = True
            run.registered[found.urn] = found
            run.snapshot.end(done=found, instead_of=instead_of, marked=self._marked(leaving, by_import=True))

    def _marked(self, old: Resource | None, *, by_import: bool = False) -> tuple[Resource, Resource] | None:
        """A resource that another takes the place of, and how it looks while it waits for its deletion."""
        if old is None:
            return None
        wanted = self.wanted
        waiting = self.run.superseded(
            old, protect=wanted.goal.protect, retain_on_delete=wanted.retain_on_delete, by_import=by_import
        )
        return old, waiting

    def _sealed(self, outputs: Props) -> Props:
        """The outputs with those marked secret that the program declares to be."""
        return outputs | {k: secret(outputs[k]) for k in self.wanted.secret_outputs if k in outputs}
