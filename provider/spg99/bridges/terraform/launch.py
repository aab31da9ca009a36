"""What the executable `terraform-provider-spg99` runs. Here: nothing but the start: the handshake comes before all imports.

Every command of Terraform starts one process that is asked for the schema alone; its answer lies ready in a file beside the
executable (installation.py writes it), so that such a process loads none of our rooms.
"""

from __future__ import annotations

from _thread import allocate_lock

from tfplugin.server import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from spg99.bridges.terraform.provider import TerraformProvider
    from tfplugin.interface import Call, Diagnostic, Message

SCHEMA_FILE = "schema.bin"
SOURCES = (
    "prepared.py",
    "shapes.py",
    "bridges/terraform/schema.py",
    "bridges/terraform/descriptions.py",
    "bridges/terraform/schema_messages.py",
)
"""What the prepared answer follows from."""
FOR_EVER = b"packed"
"""In place of the sources' times: the code came in the same package and cannot change."""


def main(schema_file: str = "") -> NoReturn:
    """Serves the product's provider until Terraform is done. `schema_file` holds the prepared schema, where there is one."""
    serve(lambda: ProviderOnDemand(schema_file))


class ProviderOnDemand:
    """Stands for the provider: gives the schema out of the file, and for all else brings the provider."""

    def __init__(self, schema_file: str) -> None:
        self._schema_file = schema_file
        self._lock = allocate_lock()
        self._provider: TerraformProvider | None = None

    def schema_bytes(self) -> bytes:
        """The answer to GetProviderSchema."""
        return prepared_schema(self._schema_file) or self._loaded().schema_bytes()

    def stop(self) -> None:
        """The user asked to stop."""
        if self._provider is not None:
            self._provider.stop()

    def diagnose(self, problem: Exception, request: Message, call: Call) -> Sequence[Diagnostic]:
        """An exception of a call, in words."""
        return self._loaded().diagnose(problem, request, call)

    def __getattr__(self, name: str) -> Any:
        """Every other call is the provider's."""
        try:
            provider = self._loaded()
        except ImportError as missing:
            return _refusing(missing)
        return getattr(provider, name)

    def _loaded(self) -> TerraformProvider:
        with self._lock:
            if self._provider is None:
                from spg99.bridges.terraform.provider import load

                self._provider = load()
            return self._provider


def prepared_schema(path: str) -> bytes:
    """The prepared answer; empty where there is none, or the code has changed since."""
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            made_from, _, schema = file.read().partition(b"\n")
    except OSError:
        return b""
    return schema if made_from in (FOR_EVER, sources_now()) else b""


def sources_now() -> bytes:
    """Sizes and times of the sources: other ones, another schema."""
    import os

    folder = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    try:
        seen = [os.stat(os.path.join(folder, *name.split("/"))) for name in SOURCES]
    except OSError:
        return b"unknown"
    return ",".join(f"{each.st_size}.{each.st_mtime_ns}" for each in seen).encode()


def _refusing(missing: ImportError) -> Any:
    """In place of a call: the installation lacks something."""

    def refuse(request: Message, call: Call) -> Message:
        from tfplugin.interface import error

        text = f"{missing}. Its installation is damaged or not complete: install the provider again, then run `terraform init`."
        said = error("Provider failed to start", text)
        return {"error": {"text": text}} if call.rpc == "CallFunction" else {"diagnostics": [said]}

    return refuse
