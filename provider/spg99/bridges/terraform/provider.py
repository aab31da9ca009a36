"""The Terraform provider: every call of the protocol for any Package. Here: the provider's own calls. Not here: all others.

`load()` is what the process serves; tests make `TerraformProvider(package)` of a Package of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spg99.bridges.terraform.ephemerals import EphemeralCalls
from spg99.bridges.terraform.functions import FunctionCalls
from spg99.bridges.terraform.imports import ImportCalls
from spg99.bridges.terraform.session import decoded

if TYPE_CHECKING:
    from tfplugin.interface import Call, Message


class TerraformProvider(ImportCalls, EphemeralCalls, FunctionCalls):
    """What the plugin server serves (tfplugin/interface.py)."""

    def get_metadata(self, request: Message, call: Call) -> Message:
        """The names of all that there is."""
        from spg99.bridges.terraform.schema_messages import metadata_answer

        return metadata_answer(self.tables)

    def validate_provider_config(self, request: Message, call: Call) -> Message:
        """Nothing: what is missing may come from the environment, and is told when the provider is configured."""
        return {}

    def configure_provider(self, request: Message, call: Call) -> Message:
        """Takes the configuration. No call goes to the network."""
        block = self.tables.provider
        config = decoded(block.type, request["config"]) or dict.fromkeys(block.named)
        return {"diagnostics": self.configure(config, request["terraform_version"])}


def load() -> TerraformProvider:
    """The product's provider."""
    from spg99.prepared import PACKAGE

    return TerraformProvider(PACKAGE)
