"""tenants, dbs, keys, credentials: list, get, create, update, delete, watch, made from the resource model alone.

Here: a command group for any noun, and what a noun has beyond that. Not here: rendering (rendering.py), watching (watch.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import click

from spg99.commands import verbs
from spg99.commands.connection import Connection, with_connection
from spg99.commands.fields import field_options
from spg99.commands.rendering import columns_of
from spg99.resources import (
    ApiKey,
    Database,
    DatabaseState,
    Mark,
    Resource,
    Snapshot,
    SnapshotSchedule,
    Tenant,
    TenantCredentials,
)


@dataclass(frozen=True)
class Naming:
    """All that a command line knows of a noun beyond its model."""

    command: str
    one: str
    """In a sentence: `a database`."""
    many: str
    deletions: tuple[tuple[str, str], ...] = ()
    """Query parameters of the deletion, and their help."""
    ending: str = "Delete {} for good"
    """What its deletion does, with a place for what is deleted."""
    secret_once: bool = False
    """Its secrets are answered once, at creation: they are always shown then."""


NAMINGS: Final[dict[type[Resource], Naming]] = {
    Tenant: Naming("tenants", "a tenant", "tenants", deletions=(("cascade", "Delete its databases with it."),)),
    Database: Naming(
        "dbs",
        "a database",
        "databases",
        deletions=(("force", "Also while clients are connected."),),
        ending="Delete {}",
    ),
    ApiKey: Naming("keys", "an API key", "API keys", secret_once=True),
    Snapshot: Naming("snapshots", "a snapshot", "snapshots"),
    SnapshotSchedule: Naming(
        "schedules",
        "a snapshot schedule",
        "snapshot schedules",
        deletions=(("keep_snapshots", "Its snapshots stay, as ones that somebody asked for."),),
        ending="Delete {}, with the snapshots that it has made, for good",
    ),
    TenantCredentials: Naming(
        "credentials", "a tenant's credentials", "managed credentials", ending="End the management of {}"
    ),
}


_DELETED_COLUMNS: Final = ("tenant", "name", "db_id", "storage_bytes", "undelete_until")


def group_of(kind: type[Resource], naming: Naming) -> click.Group:
    """The group of one noun."""
    group = click.Group(naming.command, help=f"{(kind.__doc__ or '').strip()}")
    for command in (
        *([_list(kind, naming)] if kind.LISTED else []),
        _get(kind, naming),
        _create(kind, naming),
        *([_update(kind, naming)] if kind.inputs().keys() - kind.marked(Mark.IMMUTABLE) else []),
        _delete(kind, naming),
        _watch(kind, naming),
    ):
        group.add_command(command)
    return group


def id_argument(kind: type[Resource]) -> Any:
    """The human id as a parameter: `TENANT/NAME`."""
    metavar = "/".join(name.removesuffix("_id").upper() for name in kind.id_fields())
    return click.argument("human_id", metavar=metavar, callback=lambda _c, _p, text: _id_values(kind, text))


def _id_values(kind: type[Resource], text: str) -> dict[str, str]:
    try:
        return kind.id_values(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def _list(kind: type[Resource], naming: Naming) -> click.Command:
    def body(connection: Connection, deleted: bool = False, **given: Any) -> None:
        where = {name: given.pop(name) for name in kind.path_fields()}
        if deleted:
            if given.get("state") is not None:
                raise click.UsageError("--deleted and --state cannot be combined.")
            given["state"] = DatabaseState.DELETED.value
        columns = _DELETED_COLUMNS if given.get("state") == DatabaseState.DELETED else columns_of(kind)
        nothing = f"There are no {naming.many}{' that can come back' if deleted else ''}."
        verbs.show_list(connection, kind, where, given, columns, nothing=nothing)

    if kind is Database:
        help_text = "Those that were deleted and can come back, and until when."
        body = click.option("--deleted", is_flag=True, help=help_text)(body)
    for name in reversed(kind.FILTERS):
        body = click.option(f"--{name.replace('_', '-')}", name, help=f"Only those with this {name}.")(body)
    for name in kind.path_fields():
        body = click.argument(name, metavar=name.upper())(body)
    return click.command("list", help=f"List {naming.many}, ordered by name.")(with_connection(body))


def _get(kind: type[Resource], naming: Naming) -> click.Command:
    def body(connection: Connection, human_id: dict[str, str]) -> None:
        verbs.show(connection, kind, human_id)

    return click.command("get", help=f"Show {naming.one}.")(with_connection(id_argument(kind)(body)))


def _create(kind: type[Resource], naming: Naming) -> click.Command:
    named = [name for name in kind.id_fields() if name in kind.inputs()]

    def body(
        connection: Connection, human_id: dict[str, str] | None = None, *, wait: bool = False, **fields: Any
    ) -> None:
        values = {name: value for name, value in fields.items() if value is not None and value != ()}
        verbs.create(connection, kind, {**(human_id or {}), **values}, wait=wait, show_secrets=naming.secret_once)

    decorated: Any = body
    if kind.SETTLED_STATES:
        decorated = click.option("--wait/--no-wait", default=True, help="Wait until it is usable.  [default: wait]")(
            body
        )
    for option in reversed(field_options(kind.SPEC, leave_out=frozenset(named), of_create=True)):
        decorated = option(decorated)
    if named:
        decorated = id_argument(kind)(decorated)
    return click.command("create", help=f"Create {naming.one}.")(with_connection(decorated))


def _update(kind: type[Resource], naming: Naming) -> click.Command:
    def body(connection: Connection, human_id: dict[str, str], **fields: Any) -> None:
        changes = {name: value for name, value in fields.items() if value is not None and value != ()}
        if not changes:
            raise click.UsageError("Nothing to change was given. --help lists what can be changed in place.")
        verbs.update(connection, kind, human_id, changes)

    decorated: Any = body
    for option in reversed(field_options(kind.SPEC, leave_out=kind.marked(Mark.IMMUTABLE))):
        decorated = option(decorated)
    return click.command("update", help=f"Change {naming.one} in place.")(with_connection(id_argument(kind)(decorated)))


def _delete(kind: type[Resource], naming: Naming) -> click.Command:
    def body(connection: Connection, human_id: dict[str, str], *, yes: bool, wait: bool = False, **query: bool) -> None:
        name = kind.id_of(human_id)
        if not yes:
            what = naming.ending.format(f"the {kind.NOUN.replace('_', ' ')} {name}")
            click.confirm(f"{what}?", abort=True, err=True)
        settings = connection.settings() if kind is ApiKey else None
        verbs.delete(connection, kind, human_id, {key: value for key, value in query.items() if value}, wait=wait)
        if settings is not None:
            from spg99.commands.own_keys import say_what_follows

            say_what_follows(connection, settings, rotated=False)

    decorated: Any = click.option("--wait/--no-wait", default=True, help="Wait until it is gone.  [default: wait]")(
        body
    )
    decorated = click.option("--yes", "-y", is_flag=True, help="Do not ask.")(decorated)
    for name, text in naming.deletions:
        decorated = click.option(f"--{name.replace('_', '-')}", is_flag=True, help=text)(decorated)
    return click.command("delete", help=f"{naming.ending.format(naming.one)}.")(
        with_connection(id_argument(kind)(decorated))
    )


def _watch(kind: type[Resource], naming: Naming) -> click.Command:
    def body(connection: Connection, human_id: dict[str, str]) -> None:
        from spg99.commands.watch import watch_one

        watch_one(connection, kind, human_id)

    return click.command("watch", help=f"Show {naming.one}, and again whenever it changes. Ends when it is deleted.")(
        with_connection(id_argument(kind)(body))
    )


def _groups() -> list[click.Command]:
    from spg99.commands.actions import actions

    groups = {naming.command: group_of(kind, naming) for kind, naming in NAMINGS.items()}
    for command, members in actions().items():
        for member in members:
            groups[command].add_command(member)
    return list(groups.values())


COMMANDS: Final = _groups()
