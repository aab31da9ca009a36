"""Watching: one object whenever it changes. Here: from events to lines. Not here: the stream itself (client/events.py)."""

from __future__ import annotations

from typing import Any

import click

from spg99.client import Client, loopless
from spg99.commands.connection import Connection
from spg99.commands.rendering import columns_of, show_line, values_of
from spg99.errors import NotFound
from spg99.resources import Resource


def watch_one(connection: Connection, kind: type[Resource], id_values: dict[str, str]) -> None:
    """Shows the object now and after every event about it, until it is gone."""
    columns = [*columns_of(kind), *(name for name in ("state_reason",) if name in kind.model_fields)]

    async def work(client: Client) -> None:
        await loopless.into_loop()
        last: dict[str, Any] | None = None
        uid: str | None = None
        # None in the stream: it stands, so nothing that happens after the read below can be missed.
        async for event in client.follow_events(tenant=id_values.get("tenant")):
            if event is not None and uid is not None and event.subject != uid:
                continue
            try:
                thing = await client.read(kind, id_values)
            except NotFound:
                if last is None:
                    raise
                click.echo(f"{kind.id_of(id_values)} is deleted.", err=True)
                return
            found = getattr(thing, kind.UID_FIELD)
            if uid is not None and found is None:
                click.echo(f"{kind.id_of(id_values)} is deleted.", err=True)
                return
            if uid is not None and found != uid:
                click.echo(f"{kind.id_of(id_values)} was deleted and created again.", err=True)
            uid = found
            shown = values_of(thing, show_secrets=connection.show_secrets)
            line = shown if connection.as_json else {name: shown.get(name) for name in columns}
            if line != last:
                show_line(line, columns, as_json=connection.as_json)
                last = line

    connection.call(work)
