"""What can be done to one object beyond its settings: start, stop, scale, rotate, credentials. A table; `nouns.py` mounts it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import click

from spg99.commands.branches import branch_command
from spg99.commands.connection import Connection, ask, with_connection
from spg99.commands.rendering import HIDDEN, show_one
from spg99.commands.verbs import finished
from spg99.reach import ClientSettings
from spg99.resources import NOUNS, ApiKey, Database, Mark, Resource, Snapshot, Tenant

_SECRET_FIELDS: Final = frozenset().union(*(kind.marked(Mark.SECRET) for kind in NOUNS))


RECOVER_LINE: Final = "Make a new admin key, beside the catalogue: no API key is needed."


class _Later(click.Command):
    """A command that is loaded when it is called or its help is read: only it needs the settings of servers, or an event loop (60 ms of CPU)."""

    def __init__(self, name: str, line: str, where: str) -> None:
        super().__init__(name, help=line)
        self._where = where

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """That of the command itself."""
        module, _, attribute = self._where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command.make_context(info_name, args, parent, **extra)


def _action(
    kind: type[Resource],
    name: str,
    path: str,
    help_text: str,
    *,
    method: str = "POST",
    options: tuple[Callable[[Any], Any], ...] = (),
    secret_once: bool = False,
    afterwards: Callable[[Connection, ClientSettings], None] | None = None,
) -> click.Command:
    """A command that makes one call on one object and shows the answer. Its options are the body."""

    def body(connection: Connection, human_id: dict[str, str], **given: Any) -> None:
        sent = {key: value for key, value in given.items() if value is not None}

        async def work(client: Any) -> Any:
            answer = await client.call(method, kind.ITEM_PATH + path, human_id, json=sent or None)
            is_operation = isinstance(answer, dict) and "op_id" in answer and "status" in answer
            return await finished(client, answer) if is_operation else answer

        settings = connection.settings()
        answer = ask(settings, work)
        if isinstance(answer, dict):
            show_secrets = secret_once or connection.show_secrets
            show_one(answer if show_secrets else hidden(answer), as_json=connection.as_json)
        if afterwards is not None:
            afterwards(connection, settings)

    from spg99.commands.nouns import id_argument

    decorated: Any = body
    for option in reversed(options):
        decorated = option(decorated)
    return click.command(name, help=help_text)(with_connection(id_argument(kind)(decorated)))


def hidden(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without the values of secret fields."""
    return {name: HIDDEN if name in _SECRET_FIELDS and value is not None else value for name, value in answer.items()}


_GRACE = click.option(
    "--grace-seconds", type=click.IntRange(min=0), help="The old token stays valid this long.  [default: a policy, 0]"
)
_SCALE = click.option("--target-scale", type=click.IntRange(0, 1), required=True, help="1: a writer runs. 0: none.")


_MOMENT = (
    click.option("--time", help="The moment (RFC 3339)."),
    click.option("--lsn", help="Or the place in the WAL, as pg_current_wal_lsn() says it."),
    click.option("--snapshot", help="Or a snapshot of the database."),
)


_WHICH_DELETED = (
    click.option("--as", "name", help="Under another name.  [default: the one that it had]"),
    click.option("--id", "db_id", help="Which one, where several of this name were deleted.  [default: the latest]"),
)


def _rotated(connection: Connection, settings: ClientSettings) -> None:
    from spg99.commands.own_keys import say_what_follows

    say_what_follows(connection, settings, rotated=True)


def actions() -> dict[str, tuple[click.Command, ...]]:
    """Further commands of each group."""
    return {
        "tenants": (
            _action(Tenant, "credentials", "/credentials", "Show the tenant's credentials.", method="GET"),
            _action(
                Tenant,
                "rotate-credentials",
                "/credentials/rotate",
                "Give the tenant a new password. The old one is refused at once; live connections stay.",
            ),
        ),
        "dbs": (
            _action(Database, "start", "/start", "Start the database now rather than at its first connection."),
            _action(Database, "stop", "/stop", "Put the database to sleep now rather than when it is idle."),
            branch_command(),
            _action(
                Database,
                "restore",
                "/restore",
                "Take the database back to a moment, in place. The state before stays for a while as another database.",
                options=_MOMENT,
            ),
            _action(
                Database,
                "undelete",
                "/undelete",
                "Have a deleted database come back, with its id and all its rows. `dbs list TENANT --deleted` shows which can.",
                options=_WHICH_DELETED,
            ),
            _action(Database, "scale", "/scale", "Set how many writers run.", options=(_SCALE,)),
            _Later(
                "diff", "Show how the schema of another database differs from this one's.", "spg99.commands.diff:diff"
            ),
            _Later("export", "Write the database into a file, as pg_dump does.", "spg99.commands.dump:export"),
            _Later(
                "import",
                "Fill the database from a file of pg_dump's or from a running PostgreSQL.",
                "spg99.commands.dump:import_",
            ),
        ),
        "snapshots": (
            _action(
                Snapshot,
                "verify",
                "/verify",
                "Have the snapshot laid out and read when there is time. last_verified_at and last_error say what came of it.",
            ),
        ),
        "keys": (
            _action(
                ApiKey,
                "rotate",
                "/rotate",
                "Give the key a new token and show it, this once.",
                options=(_GRACE,),
                secret_once=True,
                afterwards=_rotated,
            ),
            _Later("recover", RECOVER_LINE, "spg99.commands.recover:recover"),
        ),
    }
