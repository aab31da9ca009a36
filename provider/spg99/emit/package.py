"""What our bridges offer: nouns, reads, functions, ephemerals and the provider's own settings, put together. Not here: any of their facts."""

from __future__ import annotations

from spg99 import __version__
from spg99.dsn import SSL_MODES
from spg99.emit.shapes import field_of, noun_of
from spg99.reach import CA_FILE_VARIABLE
from spg99.resources import NOUNS, READS
from spg99.resources.api_key import ApiKeySpec
from spg99.resources.tenant import TenantSpec
from spg99.shapes import EnumValue, Ephemeral, Field, Function, Package, Parameter, Type

DESCRIPTION = "Serverless PostgreSQL you declare: tenants and databases that sleep at no cost and wake on connect."

CONFIGURATION = (
    Field(
        "url",
        Type("text"),
        "Base URL of the Control Plane, with `/v2`.",
        nullable=True,
        environment=("SPG99_CP_URL", "CP_URL"),
        examples=("https://spg99.example.com/v2",),
    ),
    Field(
        "api_key",
        Type("text"),
        "API key of the Control Plane.",
        nullable=True,
        secret=True,
        environment=("SPG99_API_KEY", "SPG99_TOKEN"),
    ),
    Field(
        "ca_file",
        Type("text"),
        "File with the CA certificates (PEM) that may have signed the Control Plane's certificate. Default: those the machine trusts.",
        nullable=True,
        environment=(CA_FILE_VARIABLE,),
        examples=("/etc/ssl/spg99-ca.crt",),
    ),
)

_SSL_MODE = Type(
    "enum",
    name="SslMode",
    description="How a client uses TLS (libpq).",
    values=tuple(
        EnumValue(mode, meaning)
        for mode, meaning in zip(
            SSL_MODES,
            (
                "Never.",
                "Only when the server insists.",
                "When the server offers it.",
                "Always; the certificate is not checked.",
                "Always; the certificate must be signed by a known CA.",
                "Always; the certificate must also name the host.",
            ),
            strict=True,
        )
    ),
)
_PORT = Type("whole", at_least=1, at_most=65535)

_PARTS = Type(
    "object",
    name="Dsn",
    description="The parts of a connection string, percent-decoded.",
    fields=(
        Field("scheme", Type("text"), "`postgres` or `postgresql`.", required=True),
        Field("host", Type("text"), "Name or address of the host; null where none is written.", nullable=True),
        Field("port", _PORT, "Port; 5432 where none is written.", required=True),
        Field("user", Type("text"), "User; null where none is written.", nullable=True),
        Field("password", Type("text"), "Password; null where none is written.", nullable=True, secret=True),
        Field("database", Type("text"), "Database; null where none is written.", nullable=True),
        Field("sslmode", _SSL_MODE, "How the client uses TLS; null where it is not written.", nullable=True),
        Field(
            "parameters",
            Type("map", of=Type("text")),
            "All parameters behind the `?`, `sslmode` included.",
            required=True,
        ),
    ),
)

FUNCTIONS = (
    Function(
        name="parse_dsn",
        summary="Takes a PostgreSQL connection string apart.",
        description="Answers host, port, user, password, database and parameters of a connection string like "
        "`postgresql://user:password@host:5432/app?sslmode=require`, percent-decoded. Nothing is connected to.",
        parameters=(Parameter("dsn", Type("text"), "Connection string (URI form)."),),
        returns=_PARTS,
        call="spg99.dsn:parse_dsn",
        returns_secret=True,
    ),
    Function(
        name="build_dsn",
        summary="Puts a PostgreSQL connection string together.",
        description="Answers a connection string of these parts, percent-encoded where needed. What is null is left out.",
        parameters=(
            Parameter("host", Type("text"), "Name or address (IPv6 without brackets), or the folder of a unix socket."),
            Parameter("port", _PORT, "Port; null leaves it out, and clients take 5432.", nullable=True),
            Parameter("user", Type("text"), "User.", nullable=True),
            Parameter("password", Type("text"), "Password of the user.", nullable=True),
            Parameter("database", Type("text"), "Database.", nullable=True),
            Parameter("parameters", Type("map", of=Type("text")), "Parameters like `sslmode`.", nullable=True),
        ),
        returns=Type("text"),
        call="spg99.dsn:build_dsn",
        returns_secret=True,
    ),
    Function(
        name="redact_dsn",
        summary="Hides the password in a PostgreSQL connection string.",
        description="Answers the same connection string with `***` in place of the password and of every secret parameter: fit for logs and outputs.",
        parameters=(Parameter("dsn", Type("text"), "Connection string (URI form)."),),
        returns=Type("text"),
        call="spg99.dsn:redact_dsn",
    ),
)

_TENANT = field_of("tenant", TenantSpec.model_fields["name"])._replace(
    description="Name or id of the tenant.", immutable=False
)
_DATABASE = _TENANT._replace(
    name="database",
    description="Name or id of a database of the tenant. Without it, the connection string has `<db-name>` in its place.",
    required=False,
    nullable=True,
    examples=("app",),
)
_KEY_INPUTS = (
    *(
        field_of(name, ApiKeySpec.model_fields[name])._replace(immutable=False)
        for name in ("name", "scope", "tenant", "permissions")
    ),
    Field(
        "expires_in_seconds",
        Type("whole", at_least=60, at_most=86_400),
        "Time after which the key ends by itself, should the run not live to revoke it.",
        default=3600,
    ),
)

EPHEMERALS = (
    Ephemeral(
        name="tenant_dsn",
        title="TenantDsn",
        description="The connection string of a tenant, read for one run and never kept. Terraform opens it in the plan when its "
        "arguments are known then. To open it after the same run has made the tenant or the database, give an id, which is known "
        "only after apply: `tenant = spg99_tenant.acme.tenant_id`, `database = spg99_database.app.db_id`.",
        inputs=(_TENANT, _DATABASE),
        outputs=(
            _TENANT,
            _DATABASE,
            Field("dsn", Type("text"), "Connection string with the tenant's password.", required=True, secret=True),
            Field("host", Type("text"), "Host of the Gateway.", required=True),
            Field("port", _PORT, "Port of the Gateway.", required=True),
            Field("user", Type("text"), "PostgreSQL user of the tenant.", required=True),
            Field("password", Type("text"), "Password of `user`.", required=True, secret=True),
            Field("sslmode", _SSL_MODE, "How a client has to use TLS.", nullable=True),
        ),
        open="spg99.bridges.shared.ephemerals:open_tenant_dsn",
    ),
    Ephemeral(
        name="api_key",
        title="ApiKey",
        description="A short-lived API key that is made for one run and revoked at its end. To open it after the same run has made "
        "its tenant, give the tenant's id: `tenant = spg99_tenant.acme.tenant_id`.",
        inputs=_KEY_INPUTS,
        outputs=(
            *_KEY_INPUTS,
            Field("key_id", Type("text"), "Id of the key.", required=True),
            Field("token", Type("text"), "The bearer token.", required=True, secret=True),
            Field("expires_at", Type("time"), "When the key ends by itself (UTC).", required=True),
        ),
        open="spg99.bridges.shared.ephemerals:open_api_key",
        close="spg99.bridges.shared.ephemerals:close_api_key",
    ),
)


def package() -> Package:
    """The product's package."""
    return Package(
        name="spg99",
        version=__version__,
        description=DESCRIPTION,
        configuration=CONFIGURATION,
        nouns=tuple(noun_of(noun) for noun in NOUNS),
        reads=tuple(noun_of(noun) for noun in READS),
        functions=FUNCTIONS,
        ephemerals=EPHEMERALS,
    )
