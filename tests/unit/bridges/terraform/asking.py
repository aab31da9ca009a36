"""Calls on a provider as Terraform makes them: through the messages' bytes, without sockets."""

from __future__ import annotations

from typing import Any

from spg99.bridges.terraform.provider import TerraformProvider
from spg99.bridges.terraform.session import decoded, encoded
from tfplugin import messages
from tfplugin.dispatch import method_name
from tfplugin.interface import Call
from unit.bridges.terraform.shop import BLOCK, PACKAGE

SETTINGS = {"SHOP_URL": "http://127.0.0.1:9/v2", "SHOP_KEY": "k"}


def provider(**environment: str) -> TerraformProvider:
    """A configured provider of the shop; nobody answers at its address."""
    made = TerraformProvider(PACKAGE, SETTINGS | environment)
    answer = ask(made, "ConfigureProvider", config=nothing(made), terraform_version="1.11.4")
    assert answer["diagnostics"] == []
    return made


def nothing(made: TerraformProvider) -> dict[str, bytes]:
    """An empty provider block."""
    block = made.tables.provider
    return encoded(block.type, dict.fromkeys(block.named))


def ask(made: TerraformProvider, rpc: str, **fields: Any) -> dict[str, Any]:
    """The answer to a call, as Terraform reads it."""
    request = messages.decode(f"{rpc}.Request", messages.encode(f"{rpc}.Request", fields))
    answer = getattr(made, method_name(rpc))(request, Call(rpc))
    read: dict[str, Any] = messages.decode(f"{rpc}.Response", messages.encode(f"{rpc}.Response", answer))
    return read


def value(values: dict[str, Any] | None) -> dict[str, bytes]:
    """A gadget's value for a message."""
    return encoded(BLOCK.type, values)


def read(message: dict[str, Any] | None) -> Any:
    """A gadget's value from a message."""
    return decoded(BLOCK.type, message)
