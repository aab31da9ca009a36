"""What Terraform's core demands of a provider's answers, and a core that goes through a life by it. Here: the rules, from
terraform-facts 1.4 (core's own: plans/objchange). Not here: which lives are tried (test_contract_traps.py).

A schema is what GetProviderSchema answered, so nothing here knows how the provider decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from integration.tfplugin.plugin_driver import Client
from spg99.bridges.shared.unknown import UNKNOWN, has_unknown
from spg99.bridges.terraform.schema import Attribute, Block
from spg99.bridges.terraform.session import decoded, encoded

Values = dict[str, Any]
CAPABILITIES = {"deferral_allowed": False, "write_only_attributes_allowed": True}


class Broken(AssertionError):
    """Core would have stopped here, with these words."""


class Refused(Exception):
    """The provider answered errors, which is its right."""

    def __init__(self, diagnostics: list[dict[str, Any]], state: Values | None = None) -> None:
        self.diagnostics, self.state = diagnostics, state
        super().__init__("; ".join(f"{each['summary']}: {each['detail']}" for each in diagnostics))


def check_plan(block: Block, prior: Values | None, config: Values, planned: Values) -> None:
    """`Provider produced invalid plan`."""
    _planned_object(block.attributes, prior, config, planned, block.name)


def _planned_object(
    attributes: tuple[Attribute, ...], prior: Mapping[str, Any] | None, config: Values, planned: Values, at: str
) -> None:
    for each in attributes:
        was = prior.get(each.name) if isinstance(prior, Mapping) else None
        _planned_value(each, was, config[each.name], planned[each.name], f"{at}.{each.name}")


def _planned_value(each: Attribute, prior: Any, config: Any, planned: Any, at: str) -> None:
    if each.write_only:
        if planned is not None:
            raise Broken(f"{at}: planned a value for a write-only attribute")
        return
    if planned == config or (planned == prior and prior is not None and config is not None):
        return
    if config is None:
        if not each.computed:
            raise Broken(f"{at}: planned for existence, but config wants absence")
        return
    if planned is None:
        raise Broken(f"{at}: planned for absence, but config wants existence")
    if each.nested is None or config is UNKNOWN or planned is UNKNOWN:
        raise Broken(f"{at}: planned value does not match config value")
    inside = each.nested.attributes
    if each.nested.nesting == "single":
        _planned_object(inside, prior, config, planned, at)
    elif each.nested.nesting == "map":
        if config.keys() != planned.keys():
            raise Broken(f"{at}: planned other keys than the config has")
        for key, item in config.items():
            _planned_object(inside, (prior or {}).get(key) if prior is not UNKNOWN else None, item, planned[key], at)
    else:
        if len(config) != len(planned):
            raise Broken(f"{at}: planned another number of items than the config has")
        before = prior if isinstance(prior, list) else []
        for place, item in enumerate(config):
            _planned_object(inside, before[place] if place < len(before) else None, item, planned[place], at)


def check_agreement(planned: Any, actual: Any, at: str, *, words: str) -> None:
    """`inconsistent result after apply`, and the same for the second plan of an apply: what was known stays as it was."""
    if planned is UNKNOWN:
        return
    if (planned is None) != (actual is None):
        raise Broken(f"{at}: {words}: was {planned!r}, but now {actual!r}")
    if isinstance(planned, dict) and isinstance(actual, dict):
        if planned.keys() != actual.keys():
            raise Broken(f"{at}: {words}: other keys")
        for key, item in planned.items():
            check_agreement(item, actual[key], f"{at}.{key}", words=words)
    elif isinstance(planned, list) and isinstance(actual, list):
        if len(planned) != len(actual):
            raise Broken(f"{at}: {words}: length {len(planned)}, but now {len(actual)}")
        for place, item in enumerate(planned):
            check_agreement(item, actual[place], f"{at}[{place}]", words=words)
    elif planned != actual:
        raise Broken(f"{at}: {words}: was {planned!r}, but now {actual!r}")


def check_state(block: Block, state: Values, *, words: str) -> None:
    """`invalid result object after apply`, `unknown values in a refresh`, `a value for the write-only attribute`."""
    if state.keys() != block.named.keys():
        raise Broken(f"{words}: an object with {len(block.named)} attributes is required")
    if has_unknown(state):
        raise Broken(f"{words}: unknown values are left")
    for name, each in block.named.items():
        if each.write_only and state[name] is not None:
            raise Broken(f"{words}: returned a value for the write-only attribute {name}")


class Core:
    """Terraform's side of one resource's life. Each step is checked as core checks it."""

    def __init__(self, client: Client, block: Block, *, begin_walk: Callable[[], None]) -> None:
        self.client = client
        self.begin_walk = begin_walk
        """Configures the provider: core does so, in a process of its own, for each plan and for each apply."""
        self.block = block
        self.state: Values | None = None
        self.private = b""
        self.replaced = 0

    def ask(self, rpc: str, **fields: Any) -> dict[str, Any]:
        answer = self.client.call(rpc, {"type_name": self.block.name, **fields})
        if wrong := [each for each in answer.get("diagnostics", ()) if each["severity"] == 1]:
            new = answer.get("new_state")
            raise Refused(wrong, decoded(self.block.type, new) if new else None)
        return answer

    def _value(self, values: Values | None) -> dict[str, bytes]:
        return encoded(self.block.type, values)

    def read(self, value: dict[str, Any]) -> Values | None:
        found: Values | None = decoded(self.block.type, value)
        return found

    def validate(self, config: Values) -> None:
        self.ask("ValidateResourceConfig", config=self._value(config), client_capabilities=CAPABILITIES)

    def plan(self, config: Values, *, prior: Values | None) -> tuple[Values, list[str], bytes]:
        """The planned state, the attributes that need another object, the private bytes."""
        answer = self.ask(
            "PlanResourceChange",
            prior_state=self._value(prior),
            proposed_new_state=self._value(self._proposed(prior, config)),
            config=self._value(config),
            prior_private=self.private if prior else b"",
            client_capabilities=CAPABILITIES,
        )
        planned = self.read(answer["planned_state"])
        if planned is None:
            raise Broken("planned the end of an object that is wanted")
        check_plan(self.block, prior, config, planned)
        again = self.read(self.ask(
            "PlanResourceChange",
            prior_state=self._value(prior),
            proposed_new_state=self._value(planned),
            config=self._value(config),
            prior_private=self.private if prior else b"",
            client_capabilities=CAPABILITIES,
        )["planned_state"])  # fmt: skip
        if again != planned:
            raise Broken("the same question had another answer")
        paths = [path["steps"][0]["attribute_name"] for path in answer["requires_replace"]]
        return planned, paths, answer["planned_private"]

    def apply(self, config_then: Values, config_now: Values) -> None:
        """Plans with `config_then`, in which values may be unknown, and applies with `config_now`, where none is."""
        prior = self.state
        self.begin_walk()
        self.validate(config_then)
        planned, replaces, private = self.plan(config_then, prior=prior)
        if prior is not None and replaces:
            for name in replaces:
                if planned[name] == prior[name]:
                    raise Broken(f"{name}: a replacement for what does not change")
            planned, _, private = self.plan(config_then, prior=None)
            self.begin_walk()
            self._carry_out_destroy(self.private)  # core plans no destroy of what is replaced
            prior = None
            self.replaced += 1
        else:
            self.begin_walk()
        final, still, private = self.plan(config_now, prior=prior)
        check_agreement(planned, final, self.block.name, words="inconsistent final plan")
        if still:
            raise Broken(f"{still}: the final plan wants a replacement that the first did not")
        if prior is not None and final == prior:
            return
        answer = self.ask(
            "ApplyResourceChange",
            prior_state=self._value(prior),
            planned_state=self._value(final),
            config=self._value(config_now),
            planned_private=private,
        )
        state = self.read(answer["new_state"])
        if state is None:
            raise Broken("root object was present, but now absent")
        check_state(self.block, state, words="after apply")
        check_agreement(final, state, self.block.name, words="inconsistent result after apply")
        self.state, self.private = state, answer["private"]

    def refresh(self) -> None:
        """Takes over a state as it was written, and looks again."""
        upgraded = self._upgraded()
        if upgraded != self.state:
            raise Broken("a state of this version changed when it was read")
        answer = self.ask("ReadResource", current_state=self._value(self.state), private=self.private)
        state = self.read(answer["new_state"])
        if state is not None:
            check_state(self.block, state, words="after refresh")
        self.state, self.private = state, answer["private"]

    def _upgraded(self) -> Values | None:
        import json

        from spg99.bridges.terraform.json_values import plain

        raw = json.dumps(plain(self.state)).encode()
        answer = self.ask("UpgradeResourceState", version=self.block.version, raw_state={"json": raw})
        return self.read(answer["upgraded_state"])

    def destroy(self) -> None:
        """Plans the end of the object, whose configuration is gone, and carries it out."""
        self.begin_walk()
        nothing = self._value(None)
        plan = self.ask(
            "PlanResourceChange",
            prior_state=self._value(self.state),
            proposed_new_state=nothing,
            config=nothing,
            prior_private=self.private,
        )
        if self.read(plan["planned_state"]) is not None:
            raise Broken("a destroy planned something")
        self.begin_walk()
        self._carry_out_destroy(plan["planned_private"])

    def _carry_out_destroy(self, private: bytes) -> None:
        nothing = self._value(None)
        answer = self.ask(
            "ApplyResourceChange",
            prior_state=self._value(self.state),
            planned_state=nothing,
            config=nothing,
            planned_private=private,
        )
        if self.read(answer["new_state"]) is not None:
            raise Broken("after a destroy, the provider still has an object")
        self.state = None

    def _proposed(self, prior: Values | None, config: Values) -> Values:
        """Roughly core's: the configuration, and the prior value of what is computed and not written."""
        kept = prior or {}
        return {
            name: UNKNOWN
            if prior is None and each.computed and config[name] is None
            else None
            if each.write_only
            else kept.get(name)
            if each.computed and config[name] is None
            else config[name]
            for name, each in self.block.named.items()
        }
