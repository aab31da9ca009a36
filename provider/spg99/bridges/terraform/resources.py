"""Managed resources: Terraform's calls to plans (planning.py) and operations (bridges/shared/operations.py), for any noun.

Here: which call means what, and which state is answered when something fails. Not here: rules of a plan, requests, words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spg99.bridges.shared.unknown import Unknown
from spg99.bridges.terraform import planning
from spg99.bridges.terraform.json_values import Values, from_terraform, plain
from spg99.bridges.terraform.schema import SECRETS_IN_STATE, TIMEOUTS, VERSION, Block
from spg99.bridges.terraform.session import Session, decoded, encoded, noun_of
from spg99.errors import Spg99Error
from tfplugin.interface import attribute_path, error, warning
from tfplugin.values import from_json

if TYPE_CHECKING:
    from spg99.errors import Spg99Error
    from tfplugin.interface import Call, Diagnostic, Message

OLD_CLI = (
    "Write-only arguments need Terraform 1.11 or OpenTofu 1.11, or newer: an older one would write the secret into its state. "
    "Upgrade, or leave `{name}` out."
)


class ResourceCalls(Session):
    """The calls on managed resources."""

    def validate_resource_config(self, request: Message, call: Call) -> Message:
        """All that is wrong with a configuration at once; what is unknown is left for later."""
        from spg99.bridges.shared import inputs
        from spg99.bridges.terraform import diagnostics

        block = self.block_of(self.tables.resources, request["type_name"])
        config = decoded(block.type, request["config"])
        checked = inputs.check(noun_of(block), written(block, config))
        found = diagnostics.of_failures(block, checked.failures) + diagnostics.of_warnings(block, checked.warnings)
        found += _bad_settings(block, config)
        if not (request.get("client_capabilities") or {}).get("write_only_attributes_allowed"):
            found += [
                error(f"{each.name} cannot be used here", OLD_CLI.format(name=each.name), (each.name,))
                for each in block.attributes
                if each.role == "write_only" and config[each.name] is not None
            ]
        return {"diagnostics": found}

    def upgrade_resource_state(self, request: Message, call: Call) -> Message:
        """A state that this or an older version wrote: what is unknown now is dropped. What is missing has its default, as the object has that was made
        when there was no such field: null would plan a change of it, and where it cannot change, another object."""
        block = self.block_of(self.tables.resources, request["type_name"])
        raw = (request["raw_state"] or {}).get("json")
        state = from_json(block.type, raw, lenient=True) if raw else None
        if raw and state is not None:
            state = planning.with_defaults(block, state, json.loads(raw))
        self._sees(block, state)
        return {"upgraded_state": encoded(block.type, state)}

    def read_resource(self, request: Message, call: Call) -> Message:
        """The object as it is now; no state when it is gone."""
        block = self.block_of(self.tables.resources, request["type_name"])
        state = decoded(block.type, request["current_state"])
        self._sees(block, state)
        kept = {"private": request["private"], "new_identity": request.get("current_identity")}
        if state is None or self.is_unknown:
            return {"new_state": request["current_state"], **kept}
        noun, human_id = noun_of(block), state["id"]
        limit, declarer = limit_of(block, state, "read"), self.declarer()
        found = self.reach().run(
            lambda operations: operations.read(
                noun, human_id, old=known_outputs(block, state), declarer=declarer, seconds_max=limit
            )
        )
        if found is None:
            return {"new_state": encoded(block.type, None), **kept}
        now = planning.reached(block, state, found.values, secrets_in_state=self.secrets_in_state)
        return {"new_state": encoded(block.type, now), **kept, "new_identity": self.identity(block, now)}

    def plan_resource_change(self, request: Message, call: Call) -> Message:
        """What will happen. Asks nothing of the Control Plane."""
        block = self.block_of(self.tables.resources, request["type_name"])
        prior = decoded(block.type, request["prior_state"])
        config = decoded(block.type, request["config"])
        private = request["prior_private"]
        if config is None:
            refused = planning.removal(block, prior) + self.planned.refusals(noun_of(block), prior, None)
            return {"planned_state": encoded(block.type, None), "planned_private": private} | _refusals(refused)
        if prior is None:
            plan = planning.create(block, config, secrets_in_state=self.secrets_in_state)
        else:
            plan = planning.change(block, prior, config, secrets_in_state=self.secrets_in_state)
        answer = {
            "planned_state": encoded(block.type, plan.state),
            "requires_replace": [attribute_path(name) for name in plan.replaces],
            "planned_private": private,
            "planned_identity": self.identity(block, plan.state),
        }
        return answer | _refusals(plan.refusals + self.planned.refusals(noun_of(block), prior, plan.state))

    def apply_resource_change(self, request: Message, call: Call) -> Message:
        """Creates, changes or deletes. Whatever happens, the answer's state is what is known to be there."""
        block = self.block_of(self.tables.resources, request["type_name"])
        prior = decoded(block.type, request["prior_state"])
        planned = decoded(block.type, request["planned_state"])
        config = decoded(block.type, request["config"])
        if planned is None:
            state, problems = self._deleted(block, prior)
        elif prior is None:
            state, problems = self._created(block, planned, config, call)
        else:
            state, problems = self._changed(block, prior, planned, config)
        return {
            "new_state": encoded(block.type, state),
            "private": request["planned_private"],
            "new_identity": self.identity(block, state),
            "diagnostics": problems,
        }

    def _sees(self, block: Block, state: Values | None) -> None:
        """Terraform's state, as it was stored: what it holds needs no token any more."""
        if state is not None:
            self.handed_over.is_held(state.get(noun_of(block).uid_field))

    def identity(self, block: Block, state: Values | None) -> Message | None:
        """The identity of an object whose human id is known."""
        if state is None or block.name not in self.tables.identities:
            return None
        found = self.tables.identities[block.name]
        values = {each.name: state.get(each.name) for each in found.attributes}
        if not values or any(value is None or isinstance(value, Unknown) for value in values.values()):
            return None
        return {"identity_data": encoded(found.type, values)}

    def _created(
        self, block: Block, planned: Values, config: Values, call: Call
    ) -> tuple[Values | None, list[Diagnostic]]:
        from spg99.bridges.shared.operations import Unfinished
        from spg99.bridges.terraform.create_tokens import data_folder, token_for

        noun = noun_of(block)
        wanted = sending(block, planned, config)
        limit = limit_of(block, planned, "create")

        def work() -> Mapping[str, Any]:
            folder, address = data_folder(self.environment), self.configuration.url
            with token_for(folder, address, noun, wanted, lambda: call.cancelled, self.environment) as create:
                declaration = f"terraform:{create.token}"
                try:
                    made = self.reach().run(
                        lambda operations: operations.create(
                            noun,
                            wanted,
                            declaration=declaration,
                            declarer=self.declarer(),
                            seconds_max=limit,
                            progress=progress,
                        )
                    )
                except Unfinished as unfinished:
                    create.made(unfinished.values.get(noun.uid_field))
                    raise
                create.made(made.values.get(noun.uid_field))
            return made.values

        state, said = self._ended(block, work, planned, None, "Creating", planned["id"])
        return state, said + self._answered_once(block, state)

    def _answered_once(self, block: Block, state: Values | None) -> list[Diagnostic]:
        """A warning for each secret that was told at the create alone and is not kept, as the user wished."""
        noun = noun_of(block)
        hidden = [
            field.name for field in noun.outputs if field.secret and field.nullable and not noun.input_named(field.name)
        ]
        if self.secrets_in_state or not hidden or state is None:
            return []
        try:
            again = self.reach().run(lambda operations: operations.read(noun, state["id"], old={}))
        except Spg99Error:
            return []  # a warning is not worth the object, which is there
        lost = [name for name in hidden if again is not None and again.values.get(name) is None]
        return [
            warning(
                f"{name} was told once and is not kept",
                f"The system tells `{name}` of a {noun.noun.replace('_', ' ')} at its creation alone, and `{SECRETS_IN_STATE} = false` "
                "keeps it out of the state, so nobody has it now. Use an ephemeral resource for it, or let the state keep it.",
                (name,),
            )
            for name in lost
        ]

    def _changed(
        self, block: Block, prior: Values, planned: Values, config: Values
    ) -> tuple[Values | None, list[Diagnostic]]:
        changed = planning.sent(block, prior, planned)
        if not changed:
            return planned, []  # only settings of this provider: nobody else has to know
        noun, human_id = noun_of(block), prior["id"]
        resent = {name.removesuffix(VERSION) for name in changed if block.named[name].role == "version"}
        wanted = sending(block, planned, config, only=resent)
        limit = limit_of(block, planned, "update")

        def work() -> Mapping[str, Any]:
            return self.reach().run(
                lambda operations: operations.update(
                    noun,
                    human_id,
                    old=known_outputs(block, prior),
                    new_inputs=wanted,
                    old_inputs=sending(block, prior, None),
                    declarer=self.declarer(),
                    seconds_max=limit,
                    progress=progress,
                )
            )

        return self._ended(block, work, planned, prior, "Changing", human_id)

    def _deleted(self, block: Block, prior: Values) -> tuple[Values | None, list[Diagnostic]]:
        from spg99.bridges.terraform import diagnostics

        noun, human_id = noun_of(block), prior["id"]
        limit = limit_of(block, prior, "delete")
        try:
            self.reach().run(
                lambda operations: operations.delete(
                    noun, human_id, old=known_outputs(block, prior), seconds_max=limit, progress=progress
                )
            )
        except Spg99Error as problem:
            doing = diagnostics.summary("Deleting", noun.noun, human_id)
            return prior, diagnostics.of_error(block, problem, doing=doing)
        return None, []

    def _ended(
        self,
        block: Block,
        work: Callable[[], Mapping[str, Any]],
        planned: Values,
        prior: Values | None,
        verb: str,
        human_id: Any,
    ) -> tuple[Values | None, list[Diagnostic]]:
        """The state after `work`. An object that is there but not as wanted is kept, with an error; else `prior` is."""
        from spg99.bridges.shared.operations import Unfinished
        from spg99.bridges.terraform import diagnostics

        doing = diagnostics.summary(verb, noun_of(block).noun, human_id)
        values: Mapping[str, Any] = {}
        try:
            values = work()
            return planning.answered(block, planned, values, secrets_in_state=self.secrets_in_state), []
        except Unfinished as unfinished:
            state = planning.reached(block, planned, unfinished.values, secrets_in_state=self.secrets_in_state)
            return state, diagnostics.of_error(block, _with_taint(unfinished, is_new=prior is None), doing=doing)
        except Spg99Error as problem:
            return prior, diagnostics.of_error(block, problem, doing=doing)
        except Exception as problem:  # noqa: BLE001 -- an RPC without an answer would lose the object from the state
            known = None if not values else planning.answered(block, planned, {}) | {"id": noun_of(block).id_of(values)}
            return known or prior, [diagnostics.of_surprise(problem, doing=doing)]


def written(block: Block, config: Values) -> dict[str, Any]:
    """What a user wrote, as JSON values under our field names; what is write-only under its plain name."""
    return {
        each.field.name: from_terraform(each, config[each.name])
        for each in block.attributes
        if each.role in ("input", "write_only") and each.field is not None and config[each.name] is not None
    }


def sending(block: Block, state: Values, config: Values | None, *, only: set[str] | None = None) -> dict[str, Any]:
    """The inputs to send: those of a state, and what is write-only from the configuration (`only` these names)."""
    found = {
        each.name: from_terraform(each, state[each.name])
        for each in block.attributes
        if each.role == "input" and state[each.name] is not None
    }
    for each in block.attributes:
        if each.role == "write_only" and each.field is not None and config is not None:
            value = config[each.name]
            if value is not None and (only is None or each.field.name in only):
                found[each.field.name] = plain(value)
    return found


def known_outputs(block: Block, state: Values) -> dict[str, Any]:
    """What the state knows of the object's outputs, as JSON values."""
    outputs = {field.name for field in noun_of(block).outputs}
    return {
        each.name: from_terraform(each, state[each.name])
        for each in block.attributes
        if each.name in outputs and state[each.name] is not None
    }


def limit_of(block: Block, state: Values, call: str) -> float | None:
    """The user's time limit in seconds; None where he set none."""
    from spg99.bridges.terraform.durations import seconds_of

    text = (state.get(TIMEOUTS) or {}).get(call)
    return seconds_of(text) if isinstance(text, str) else None


def progress(sentence: str) -> None:
    """A line while something is waited for."""
    from tfplugin import logging

    logging.log(logging.INFO, sentence)


def _bad_settings(block: Block, config: Values) -> list[Diagnostic]:
    """What is wrong with the settings that every resource has: time limits, versions."""
    from spg99.bridges.terraform.durations import seconds_of

    found = []
    limits = config.get(TIMEOUTS)
    for call, text in limits.items() if isinstance(limits, dict) else ():
        if isinstance(text, str):
            try:
                seconds_of(text)
            except ValueError as reason:
                found.append(
                    error(
                        f"Invalid value for {TIMEOUTS}", f'{TIMEOUTS}.{call}: {reason}, not "{text[:40]}".', (TIMEOUTS,)
                    )
                )
    for each in block.attributes:
        version = config[each.name] if each.role == "version" else None
        if version is not None and not isinstance(version, int | Unknown):
            found.append(error(f"Invalid value for {each.name}", "Must be a whole number.", (each.name,)))
    return found


def _refusals(refusals: tuple[planning.Refusal, ...]) -> Message:
    return {"diagnostics": [error(each.summary, each.detail, (each.attribute,)) for each in refusals]}


def _with_taint(problem: Spg99Error, *, is_new: bool) -> Spg99Error:
    if is_new:
        problem.message += " Terraform marks a new object as tainted after an error and would replace it: `terraform untaint` keeps it."
    return problem
