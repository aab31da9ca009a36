"""What every class of `spg99.dynamic` is: a Pulumi custom resource served by our provider. Imports Pulumi and nothing heavy."""

from __future__ import annotations

from typing import Any, ClassVar

import pulumi

from spg99.bridges.dynamic.reference import PROVIDER_KEY, provider_reference, type_token


class DynamicResource(pulumi.CustomResource):
    """A resource whose provider is named by a constant reference. Subclasses are generated from the resource model."""

    NOUN: ClassVar[str]
    TYPE: ClassVar[str]
    OUTPUTS: ClassVar[tuple[str, ...]]
    """Python names of all outputs."""
    SECRETS: ClassVar[tuple[str, ...]]
    """Python names of the outputs which are encrypted in the state."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.TYPE = type_token(cls.__name__)

    def _declare(
        self, resource_name: str, opts: pulumi.ResourceOptions | None, args_type: Any, values: dict[str, Any]
    ) -> None:
        """Registers the resource with these arguments; `args_type` knows their names on the wire."""
        args = args_type.__new__(args_type)
        # An output without a place among the arguments would not be there at all.
        args.__dict__.update(dict.fromkeys(self.OUTPUTS) | values)
        args.__dict__[PROVIDER_KEY] = provider_reference(self.NOUN)
        secret = pulumi.ResourceOptions(additional_secret_outputs=list(self.SECRETS))
        super().__init__(self.TYPE, resource_name, args, pulumi.ResourceOptions.merge(opts, secret))


class Provider(pulumi.ProviderResource):
    """A Control Plane of its own for some resources: `opts=pulumi.ResourceOptions(provider=Provider("eu", url=..., api_key=...))`.

    What is left out comes from the environment (SPG99_CP_URL, SPG99_API_KEY).
    """

    def __init__(
        self,
        resource_name: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        url: pulumi.Input[str] | None = None,
        api_key: pulumi.Input[str] | None = None,
    ) -> None:
        key = None if api_key is None else pulumi.Output.secret(api_key)
        super().__init__("pulumi-python", resource_name, {"url": url, "apiKey": key}, opts)
