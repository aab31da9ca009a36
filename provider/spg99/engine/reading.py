"""A resource that the program only reads (`.get()`): known to the state, never changed or deleted. Not here: what it owns
(registration.py)."""

from __future__ import annotations

from spg99.engine.decide import Kind
from spg99.engine.failure import StepFailed
from spg99.engine.providers import Providers
from spg99.engine.registration import Settled, claimed, keep
from spg99.engine.run import Run
from spg99.engine.values import has_unknown, secret
from spg99.engine.wanted import Wanted


def read(run: Run, providers: Providers, wanted: Wanted, id_: str) -> Settled:
    """Reads a resource by its id. A failure is recorded in the run and answered as such."""
    return claimed(run, wanted, lambda: _read(run, providers, wanted, id_))


def _read(run: Run, providers: Providers, wanted: Wanted, id_: str) -> Settled:
    reference = wanted.provider or providers.default_for(wanted.type, wanted.version, wanted.plugin_url)
    provider = providers.get(reference)
    old = run.olds.get(wanted.urn)
    if old is not None and not old.external:
        # It was the stack's own until now; what the program now only reads must not be deleted with it.
        raise StepFailed(
            "The state has it as the stack's own. Remove it from the program first, with `retain_on_delete=True`."
        )
    if has_unknown(id_) or not provider.configured:
        return Settled(wanted.urn, "", {})
    with run.step(Kind.READ, wanted.urn) as outcome, run.slot():
        found = provider.read(wanted.urn, id_, wanted.inputs, wanted.inputs)
        if found is None:
            raise StepFailed(f"There is no such resource: nothing has the id '{id_}'.")
        real_id, _, outputs = found
        outputs = outputs | {k: secret(outputs[k]) for k in wanted.secret_outputs if k in outputs}
        new = wanted.resource(reference, wanted.inputs, id=real_id, outputs=outputs, external=True)
        outcome.old, outcome.new = old, new
    keep(run, old, new)
    return Settled(wanted.urn, real_id, outputs)
