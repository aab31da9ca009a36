"""What every class of `spg99.dynamic` is: a Pulumi custom resource served by our provider. Imports Pulumi and nothing heavy."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import pulumi
from pulumi.runtime.config import get_config, is_config_secret

from spg99.bridges.pulumi.dynamic.reference import MODULE, PROVIDER_KEY, provider_reference, type_token

API_KEY = "spg99:apiKey"


class DynamicResource(pulumi.CustomResource):
    """A resource whose provider is named by a constant reference. Subclasses are generated from the resource model."""

    NOUN: ClassVar[str]
    TYPE: ClassVar[str]
    OUTPUTS: ClassVar[tuple[str, ...]]
    """Python names of all outputs."""
    SECRETS: ClassVar[tuple[str, ...]]
    """Python names of the outputs which are encrypted in the state."""
    SECRET_INPUTS: ClassVar[tuple[str, ...]] = ()
    """Python names of the inputs which are secrets whether or not the program says so."""
    PROVIDER_MODULE: ClassVar[str] = MODULE
    """Module whose `Provider` serves it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.TYPE = type_token(cls.__name__)

    def _declare(
        self, resource_name: str, opts: pulumi.ResourceOptions | None, args_type: Any, values: dict[str, Any]
    ) -> None:
        """Registers the resource with these arguments; `args_type` knows their names on the wire."""
        _warn_of_a_plain_key()
        args = args_type.__new__(args_type)
        # An output without a place among the arguments would not be there at all.
        args.__dict__.update(dict.fromkeys(self.OUTPUTS) | values)
        for name in self.SECRET_INPUTS:
            if args.__dict__.get(name) is not None:
                args.__dict__[name] = pulumi.Output.secret(args.__dict__[name])
        args.__dict__[PROVIDER_KEY] = provider_reference(self.NOUN, self.PROVIDER_MODULE)
        secret = pulumi.ResourceOptions(additional_secret_outputs=list(self.SECRETS))
        super().__init__(self.TYPE, resource_name, args, pulumi.ResourceOptions.merge(opts, secret))


@cache
def _warn_of_a_plain_key() -> None:
    """Once: Pulumi stores the configuration of a default provider in the state, a plain key plainly."""
    if get_config(API_KEY) is not None and not is_config_secret(API_KEY):
        pulumi.log.warn(
            f"{API_KEY} is not a secret in this stack's configuration and stands in its state for everybody to read. "
            f"Run `pulumi config set --secret {API_KEY}`."
        )


class Provider(pulumi.ProviderResource):
    """A Control Plane of its own for some resources: `opts=pulumi.ResourceOptions(provider=Provider("eu", url=..., api_key=...))`.

    What is left out comes from the environment (SPG99_CP_URL, SPG99_API_KEY, SPG99_CA_FILE).
    """

    def __init__(
        self,
        resource_name: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        url: pulumi.Input[str] | None = None,
        api_key: pulumi.Input[str] | None = None,
        ca_file: pulumi.Input[str] | None = None,
    ) -> None:
        key = None if api_key is None else pulumi.Output.secret(api_key)
        super().__init__("pulumi-python", resource_name, {"url": url, "apiKey": key, "caFile": ca_file}, opts)
