"""The smallest Terraform provider on the framework `pyvider`: one resource that keeps what it is given. A measure for ours, not a product."""

import attrs
from pyvider.providers import BaseProvider, ProviderMetadata, register_provider
from pyvider.resources import BaseResource, register_resource
from pyvider.schema import a_str, s_resource


@register_provider("pyfloor")
class Floor(BaseProvider):
    def __init__(self):
        super().__init__(metadata=ProviderMetadata(name="pyfloor", version="0.1.0"))


@attrs.define
class Config:
    tenant: str
    name: str


@attrs.define
class State:
    tenant: str
    name: str
    id: str | None = None


@register_resource("pyfloor_database")
class Database(BaseResource):
    config_class = Config
    state_class = State

    @classmethod
    def get_schema(cls):
        return s_resource({"id": a_str(computed=True), "tenant": a_str(required=True), "name": a_str(required=True)})

    async def _validate_config(self, config):
        return []

    async def _create_apply(self, ctx):
        return State(ctx.config.tenant, ctx.config.name, f"{ctx.config.tenant}/{ctx.config.name}"), None

    async def read(self, ctx):
        return ctx.state

    async def _update_apply(self, ctx):
        return State(ctx.config.tenant, ctx.config.name, ctx.state.id), None

    async def _delete_apply(self, ctx):
        pass
