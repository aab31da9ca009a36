"""`spg99 events`: what happens, line by line. Not here: what an event means (control_plane/records/outbox.py)."""

from __future__ import annotations

from typing import Any

import click

from spg99.client import Client, Event, loopless
from spg99.commands.click_types import Repeated
from spg99.commands.connection import Connection, with_connection
from spg99.commands.rendering import show_line


@click.group("events")
def events() -> None:
    """What happens in this account, as it happens."""


@events.command("watch")
@click.option(
    "--type", "types", cls=Repeated, help="Only this type, such as database.ready. Repeat the option for each."
)
@click.option("--tenant", help="Only what concerns this tenant.")
@click.option("--last-event-id", metavar="ID", help="Begin after this event instead of now; the first column names it.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@with_connection
def watch(
    connection: Connection, types: tuple[str, ...], tenant: str | None, last_event_id: str | None, count: int | None
) -> None:
    """Shows events without gap or repeat until it is interrupted."""

    async def work(client: Client) -> None:
        await loopless.into_loop()
        left = count
        async for event in client.events(last_event_id=last_event_id, tenant=tenant, types=list(types) or None):
            show_line(line_of(event, whole=connection.as_json), _COLUMNS, as_json=connection.as_json)
            if left is not None:
                left -= 1
                if left == 0:
                    return

    connection.call(work)


_COLUMNS = ("id", "occurred_at", "type", "subject", "payload")


def line_of(event: Event, *, whole: bool) -> dict[str, Any]:
    """The event as one line: all of it for programs, what a person wants to know otherwise."""
    if whole:
        return {"id": event.id, "type": event.type, **event.data}
    found = {name: event.data.get(name) for name in _COLUMNS}
    return found | {"id": event.id, "type": event.type}
