"""The smallest Terraform provider on the framework `tf`: one resource that keeps what it is given. A measure for ours, not a product."""

from tf.iface import Provider, Resource
from tf.schema import Attribute, Schema
from tf.types import String


class Database(Resource):
    def __init__(self, provider):
        self.provider = provider

    @classmethod
    def get_name(cls):
        return "database"

    @classmethod
    def get_schema(cls):
        return Schema(
            version=1,
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("tenant", String(), required=True),
                Attribute("name", String(), required=True),
            ],
        )

    def create(self, ctx, planned):
        return {**planned, "id": f"{planned['tenant']}/{planned['name']}"}

    def read(self, ctx, current):
        return current

    def update(self, ctx, current, planned):
        return {**planned, "id": current["id"]}

    def delete(self, ctx, current):
        pass

    def upgrade(self, ctx, version, old):
        return old


class Floor(Provider):
    def get_model_prefix(self):
        return "tffloor_"

    def get_provider_schema(self, diags):
        return Schema(version=1, attributes=[])

    def full_name(self):
        return "registry.terraform.io/tffloor/tffloor"

    def validate_config(self, diags, config):
        pass

    def configure_provider(self, diags, config):
        pass

    def get_data_sources(self):
        return []

    def get_resources(self):
        return [Database]
