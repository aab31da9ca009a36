"""Which Control Plane a provider block means: the block, then the environment, then nothing. Pure: the environment is handed in.

Here: precedence, what is missing, what is not allowed. Not here: connecting (reach.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from spg99.bridges.shared.unknown import Unknown
from spg99.bridges.terraform.json_values import Values
from spg99.bridges.terraform.schema import SECRETS_IN_STATE, STATE_NAME
from spg99.reach import bad_url
from spg99.shapes import Field, Package

WITHOUT_VERSION = frozenset({"CP_URL"})
"""Older variables that hold the address without `/v2` (contract, section 1)."""
FALSE, TRUE = frozenset({"false", "0", "no", "off"}), frozenset({"true", "1", "yes", "on"})


class Complaint(NamedTuple):
    """What is wrong with the configuration; `attribute` is empty where no argument is to blame."""

    attribute: str
    summary: str
    detail: str


class Configuration(NamedTuple):
    """A provider's settings. `unknown` names arguments whose values are known after apply."""

    url: str = ""
    api_key: str = ""
    ca_file: str = ""
    """File with CA certificates; empty: those the machine trusts."""
    secrets_in_state: bool = True
    state_name: str = ""
    """What the state is called; empty: what state_names.py finds."""
    terraform_version: str = ""
    unknown: tuple[str, ...] = ()


def configured(
    package: Package, block: Values, environment: Mapping[str, str], *, terraform_version: str = ""
) -> tuple[Configuration, tuple[Complaint, ...]]:
    """The settings, and all that is wrong with them. An empty text counts as not set."""
    unknown = tuple(name for name, value in block.items() if isinstance(value, Unknown))
    complaints: list[Complaint] = []
    found: dict[str, str] = {}
    for field in package.configuration:
        if field.name in ("url", "api_key", "ca_file") and field.name not in unknown:
            found[field.name] = _setting(field, block, environment)
    missing = [field for field in package.configuration if field.name != "ca_file" and found.get(field.name) == ""]
    if missing:
        complaints.append(_missing(missing))
    url = found.get("url", "")
    if url and (reason := _bad_url(url)) is not None:
        complaints.append(
            Complaint("url" if block.get("url") else "", "The URL of the Control Plane is not usable", reason)
        )
    in_state, complaint = _secrets_in_state(package, block, environment)
    if complaint is not None:
        complaints.append(complaint)
    configuration = Configuration(
        url.rstrip("/"),
        found.get("api_key", ""),
        found.get("ca_file", ""),
        in_state,
        str(name) if isinstance(name := block.get(STATE_NAME), str) else "",
        terraform_version=terraform_version,
        unknown=unknown,
    )
    return configuration, tuple(complaints)


def user_agent(version: str, terraform_version: str, environment: Mapping[str, str]) -> str:
    """How this provider names itself, as HashiCorp's own do; `TF_APPEND_USER_AGENT` goes behind it."""
    text = f"Terraform/{terraform_version or 'unknown'} (+https://www.terraform.io) terraform-provider-spg99/{version}"
    more = environment.get("TF_APPEND_USER_AGENT", "").strip()
    return f"{text} {more}" if more.isascii() and more.isprintable() and more else text


def _setting(field: Field, block: Values, environment: Mapping[str, str]) -> str:
    if written := (block.get(field.name) or ""):
        return str(written)
    for name in field.environment:
        if value := environment.get(name, ""):
            return value.rstrip("/") + "/v2" if name in WITHOUT_VERSION else value
    return ""


def _missing(fields: list[Field]) -> Complaint:
    ways = []
    for field in fields:
        variables = " or ".join(field.environment)
        ways.append(f"`{field.name}` ({field.description.rstrip('.')}): set it in the provider block, or {variables}")
    names = " and ".join(f"`{field.name}`" for field in fields)
    return Complaint(
        "",
        f"The provider is not configured: {names} {'is' if len(fields) == 1 else 'are'} missing",
        f'{". ".join(ways)} in the environment. For the platform of `spg99 dev`, `eval "$(spg99 env)"` sets all of them. '
        "An empty value counts as not set.",
    )


def _bad_url(url: str) -> str | None:
    if (reason := bad_url(url)) is not None:
        return reason
    return None if url.rstrip("/").endswith("/v2") else f"It must end in /v2: `{url.rstrip('/')}/v2`?"


def _secrets_in_state(package: Package, block: Values, environment: Mapping[str, str]) -> tuple[bool, Complaint | None]:
    written: Any = block.get(SECRETS_IN_STATE)
    if isinstance(written, bool):
        return written, None
    if isinstance(written, Unknown):
        return False, None  # a secret that is in a state once cannot be taken back; one that is missing comes later
    variable = f"{package.name.upper()}_{SECRETS_IN_STATE.upper()}"
    text = environment.get(variable, "").strip().lower()
    if not text or text in TRUE:
        return True, None
    if text in FALSE:
        return False, None
    return True, Complaint(
        "", f"{variable} is neither true nor false", f"It is '{text[:20]}'. Set it to true or false."
    )
