"""Our Terraform provider with a resource as small as the Go floor's: what is left is the machinery, not the size of our database."""

from spg99.prepared import PACKAGE
from spg99.shapes import Field, Noun, Type

TENANT = Field("tenant", Type("text"), "Tenant.", required=True, immutable=True)
NAME = Field("name", Type("text"), "Name.", required=True, immutable=True)
DATABASE = Noun(
    noun="database",
    title="Database",
    plural="",
    description="A database.",
    inputs=(TENANT, NAME),
    outputs=(TENANT, NAME, Field("db_id", Type("text"), "Identifier.")),
    collection_path="/small/{tenant}/dbs",
    item_path="/small/{tenant}/dbs/{name}",
    id_format="{tenant}/{name}",
    uid_field="db_id",
)
SMALL = PACKAGE._replace(name="small", nouns=(DATABASE,), reads=(), functions=(), ephemerals=())


def main() -> None:
    """The process that Terraform starts."""
    from tfplugin.server import serve

    serve(provider)


def provider() -> object:
    """The provider; Terraform asks for it after the handshake."""
    from spg99.bridges.terraform.provider import TerraformProvider

    return TerraformProvider(SMALL)
