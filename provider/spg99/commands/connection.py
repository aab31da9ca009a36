"""How a command reaches the Control Plane: flags, environment, else the dev that runs on this machine.

Here: choosing, and running one async call, without an event loop for as long as it needs none. Not here: HTTP (client/), rendering (rendering.py).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spg99.errors import Unavailable
from spg99.reach import CA_FILE_VARIABLE, ClientSettings, client_settings, default_data_dir

if TYPE_CHECKING:
    from contextvars import Context

    from spg99.client import Client
    from spg99.commands.dev_folder import DevFolder

T = TypeVar("T")
Body = Callable[..., Any]


@dataclass(frozen=True)
class Connection:
    """What every command that looks or changes is told."""

    url: str | None
    api_key: str | None = field(repr=False)
    data_dir: Path | None
    ca_file: str | None = None
    as_json: bool = False
    show_secrets: bool = False

    def folder(self) -> DevFolder:
        """The data folder in which a dev may run."""
        from spg99.commands.dev_folder import DevFolder

        return DevFolder(self.data_dir or Path(os.environ.get("SPG99_DATA_DIR") or default_data_dir()))

    def settings(self) -> ClientSettings:
        """Address and key. A dev that runs here is used when nothing else is said, or when its folder was named."""
        said = self.url or any(os.environ.get(name) for name in ("SPG99_CP_URL", "CP_URL"))
        keyed = self.api_key or any(os.environ.get(name) for name in ("SPG99_API_KEY", "SPG99_TOKEN"))
        if self.data_dir is not None or not (said or keyed):
            folder = self.folder()
            try:
                state = folder.running()
                api_key = self.api_key or folder.admin_key()
                if self.url is None:
                    # A dev of this machine, whatever address it was told to listen at: nothing leaves the machine.
                    ca_file = self.ca_file or (str(state.api_ca_file) if state.api_ca_file else None)
                    return ClientSettings(
                        cp_url=state.cp_url, api_key=api_key, ca_file=ca_file or os.environ.get(CA_FILE_VARIABLE)
                    )
                return client_settings(url=self.url, api_key=api_key, ca_file=self.ca_file)
            except Unavailable:
                if self.data_dir is not None:
                    raise
        return client_settings(url=self.url, api_key=self.api_key, ca_file=self.ca_file)

    def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Runs `work` with an open client."""
        return ask(self.settings(), work)


def ask(settings: ClientSettings, work: Callable[[Client], Awaitable[T]], **patience: Any) -> T:
    """Runs `work` with a client of this Control Plane. `patience`: `timeout_seconds` and `max_attempts` of `Client.of`."""

    async def run() -> T:
        from spg99.client import Client

        async with Client.of(settings, **patience) as client:
            return await work(client)

    from spg99.client import loopless

    return loopless.run(run(), _go_on)


def _go_on(work: Coroutine[Any, Any, T], context: Context) -> T:
    """What waits for events, or goes through a proxy, does so in an event loop."""
    import asyncio  # start time: half of what a short command would load

    async def rest() -> T:
        return await asyncio.create_task(work, context=context)

    return asyncio.run(rest())


def with_address(body: Body) -> Body:
    """Adds the flags that say where the Control Plane is; hands a Connection first."""

    def run(url: str | None, api_key: str | None, data_dir: Path | None, ca_file: str | None, **given: Any) -> Any:
        as_json, show_secrets = given.pop("as_json", False), given.pop("show_secrets", False)
        return body(Connection(url, api_key, data_dir, ca_file, as_json, show_secrets), **given)

    run.__doc__, run.__name__ = body.__doc__, body.__name__
    run.__click_params__ = getattr(body, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Body = run
    for option in (
        click.option(
            "--data-dir", type=click.Path(path_type=Path), help="Use the `spg99 dev` that runs in this folder."
        ),
        click.option(
            "--ca-file", help="CA of the Control Plane's certificate.  [env: SPG99_CA_FILE; default: the machine's]"
        ),
        click.option("--api-key", help="API key.  [env: SPG99_API_KEY; default: that of a running dev]"),
        click.option("--url", help="Base URL with /v2.  [env: SPG99_CP_URL; default: that of a running dev]"),
    ):
        decorated = option(decorated)
    return decorated


def with_connection(body: Body) -> Body:
    """The same, and the flags that say how to answer."""
    secrets = click.option("--show-secrets", is_flag=True, help="Show passwords and tokens.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
    decorated: Body = as_json(secrets(with_address(body)))
    return decorated


async def all_pages(client: Any, path: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """All objects of a list that is no noun's, page by page. `values`: what stands in the path."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await client.call("GET", path, values, params={"cursor": cursor} if cursor else None)
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            return found
