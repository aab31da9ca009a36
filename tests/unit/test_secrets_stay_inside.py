"""What is shown without anybody having thought of it: reprs, and errors that nobody has foreseen. Here: every class and every
place that tells such an error. Not here: logs (test_log.py)."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pydantic
import pytest

import spg99
from spg99.bridges.pulumi.dynamic import host, provider
from spg99.bridges.pulumi.native import failures as native_failures
from spg99.bridges.terraform import diagnostics
from spg99.commands import failures as command_failures
from spg99.control_plane.tenants.passwords import PasswordPair
from spg99.engine.run import Run
from spg99.errors import kind_and_place
from spg99.resources import TenantCredentials
from spg99.resources.fields import Mark, marks_of

SECRET = "hunter2-\ud800-hunter2"
NAMES = re.compile(r"password|secret|token|bearer|passphrase|verifier|api_key|stored_key|server_key", re.IGNORECASE)
NO_SECRETS = {
    "show_secrets", "secret_once", "additional_secret_outputs", "secrets_provider", "secret_outputs", "secret_key_file",
    "Invoke.token", "Setting.secret",
}  # fmt: skip
"""Names that say of a secret where, whether or what kind; an Invoke's token is Pulumi's name of a function."""


def classes() -> list[type]:
    found = []
    for module in pkgutil.walk_packages(spg99.__path__, "spg99."):
        if (
            module.name.endswith("__main__") or ".libspg99_" in module.name
        ):  # libraries of PostgreSQL's, not of Python's
            continue
        for each in vars(importlib.import_module(module.name)).values():
            if isinstance(each, type) and each.__module__ == module.name:
                found.append(each)
    assert len(found) > 300
    return found


def test_no_repr_holds_a_secret() -> None:
    shown = []
    for kind in classes():
        if issubclass(kind, pydantic.BaseModel):
            hidden_by_mark = getattr(kind, "__repr_args__", None) is not pydantic.BaseModel.__repr_args__
            fields = {
                name: field.repr and not (hidden_by_mark and Mark.SECRET in marks_of(field))
                for name, field in kind.model_fields.items()
            }
        elif dataclasses.is_dataclass(kind) and cast(Any, kind).__dataclass_params__.repr:
            fields = {field.name: field.repr for field in dataclasses.fields(kind)}
        else:
            continue
        shown += [
            f"{kind.__module__}: {kind.__name__}.{name}"
            for name, is_shown in fields.items()
            if is_shown and NAMES.search(name) and not {name, f"{kind.__name__}.{name}"} & NO_SECRETS
        ]
    assert shown == []


def test_reprs_as_they_are() -> None:
    assert "hunter2" not in repr(PasswordPair("hunter2", "SCRAM-hunter2"))
    made = TenantCredentials.model_construct(
        tenant="acme", password="hunter2", pg_password="hunter2", dsn="x:hunter2@y"
    )
    assert "hunter2" not in repr(made) and "hunter2" not in str(made) and "acme" in repr(made)


def encodes() -> None:
    SECRET.encode()


def looks_up() -> None:
    {}[SECRET]


def parses() -> None:
    int(SECRET)


def says() -> None:
    raise RuntimeError(SECRET)


def asserts() -> None:
    raise AssertionError({"pg_password": SECRET})


def by_engine(error: Exception) -> str:
    told: list[str] = []
    run = SimpleNamespace(fail=lambda message, urn: told.append(message), publish=lambda message: None)
    Run.fail_by(cast(Run, run), error, "urn")
    return "\n".join(told)


def by_dynamic_bridge(error: Exception) -> str:
    told: list[str] = []

    def work(_: Any) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "current_call", lambda: None)
        patch.setattr(host, "explain", lambda _, sentence: told.append(sentence))
        with pytest.raises(type(error)):
            provider._answer(cast(Any, None), work)
    return "\n".join(told)


def by_terraform(error: Exception) -> str:
    return repr(diagnostics.of_surprise(error, doing="Creating a tenant failed"))


TELLERS: list[Callable[[Exception], str]] = [
    by_engine,
    by_dynamic_bridge,
    native_failures.unexpected,
    by_terraform,
    lambda error: "\n".join(command_failures.lines(error)),
    kind_and_place,
]


@pytest.mark.parametrize("fails", [encodes, looks_up, parses, says, asserts], ids=lambda fails: fails.__name__)
@pytest.mark.parametrize("tell", TELLERS, ids=["engine", "dynamic", "native", "terraform", "command line", "the one"])
def test_an_error_that_nobody_has_foreseen_is_told_by_kind_and_place(
    monkeypatch: pytest.MonkeyPatch, tell: Callable[[Exception], str], fails: Callable[[], None]
) -> None:
    monkeypatch.delenv("SPG99_DEBUG", raising=False)
    with pytest.raises(Exception) as caught:
        fails()
    assert isinstance(caught.value, Exception)
    told = tell(caught.value)
    assert "hunter2" not in told
    assert re.search(rf"{type(caught.value).__name__} in {Path(__file__).name}:\d+", told), told


def test_an_error_without_a_traceback_has_a_kind() -> None:
    assert kind_and_place(ValueError(SECRET)) == "ValueError"
