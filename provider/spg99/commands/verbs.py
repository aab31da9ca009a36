"""What list, get, create, update and delete do, for any noun. Not here: their flags (nouns.py), how answers look (rendering.py)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from spg99.client import Client
from spg99.commands.connection import Connection
from spg99.commands.rendering import show_many, show_one, values_of
from spg99.errors import NotFound, Spg99Error, Unavailable
from spg99.resources import Resource

WAIT_SECONDS = 50
OPERATION_SECONDS_MAX = 900.0
"""Of waiting, not of the operation. A deletion may drain clients; nothing that was asked for takes longer by itself."""


def show_list(
    connection: Connection,
    kind: type[Resource],
    where: dict[str, Any],
    filters: dict[str, Any],
    columns: Sequence[str],
    *,
    nothing: str,
) -> None:
    """All objects of a collection."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return [
            values_of(thing, show_secrets=connection.show_secrets)
            async for thing in client.list(kind, where, **filters)
        ]

    show_many(connection.call(work), columns, as_json=connection.as_json, nothing=nothing)


def show(connection: Connection, kind: type[Resource], id_values: dict[str, str]) -> None:
    """One object."""
    thing = connection.call(lambda client: client.read(kind, id_values))
    show_one(values_of(thing, show_secrets=connection.show_secrets), as_json=connection.as_json)


def create(
    connection: Connection, kind: type[Resource], values: dict[str, Any], *, wait: bool, show_secrets: bool
) -> None:
    """Creates an object and shows it once it is settled."""

    async def work(client: Client) -> Resource:
        made = await client.create(kind, values)
        return await settled(client, kind, made) if wait else made

    made = connection.call(work)
    show_one(values_of(made, show_secrets=show_secrets or connection.show_secrets), as_json=connection.as_json)


def update(connection: Connection, kind: type[Resource], id_values: dict[str, str], changes: dict[str, Any]) -> None:
    """Changes an object and shows it."""
    thing = connection.call(lambda client: client.update(kind, id_values, changes))
    show_one(values_of(thing, show_secrets=connection.show_secrets), as_json=connection.as_json)


def delete(
    connection: Connection, kind: type[Resource], id_values: dict[str, str], query: dict[str, Any], *, wait: bool
) -> None:
    """Deletes an object; waits for the operation when there is one."""

    async def work(client: Client) -> dict[str, Any]:
        operation = await client.delete(kind, id_values, query=query)
        if operation is None:
            return {"deleted": kind.id_of(id_values)}
        return await finished(client, operation) if wait else operation

    try:
        answer = connection.call(work)
    except Spg99Error as error:
        # The API speaks of its query parameters; here they are options.
        error.message = re.sub(r"\b([a-z_]+)=true\b", lambda found: f"--{found[1].replace('_', '-')}", error.message)
        raise
    if connection.as_json:
        show_one(answer, as_json=True)
    else:
        click.echo(
            f"{kind.id_of(id_values)} {'is being deleted' if answer.get('status') == 'running' else 'is deleted'}."
        )


async def settled(client: Client, kind: type[Resource], made: Resource) -> Resource:
    """Waits until the object can be used. Raises Unavailable with its own reason when it cannot."""
    if not kind.SETTLED_STATES:
        return made
    id_values = {name: getattr(made, name) for name in kind.id_fields()}
    deadline = time.monotonic() + kind.CREATE_SECONDS
    while (state := getattr(made, "state", None)) not in kind.SETTLED_STATES:
        if state in kind.FAILED_STATES or time.monotonic() > deadline:
            reason = getattr(made, "state_reason", None) or f"it is still in state {state}"
            raise Unavailable(f"The {kind.NOUN} {kind.id_of(id_values)} was created but is not usable: {reason}")
        # It leaves `creating` for a state of rest; `stopped` is the one that every noun with a wait passes.
        made = await client.read(kind, id_values, wait_for="stopped", wait_seconds=5)
    return made


async def finished(
    client: Client,
    operation: dict[str, Any],
    *,
    seconds_max: float = OPERATION_SECONDS_MAX,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Waits for an operation. Raises Unavailable with its reason when it failed, and when nobody knows how it ended: it
    goes on after `seconds_max`, or the Control Plane knows nothing of it any more."""
    op_id = operation.get("op_id")
    hint = f"`spg99 operations get {op_id}` tells what becomes of it."
    deadline = monotonic() + seconds_max
    while operation.get("status") == "running":
        left = deadline - monotonic()
        if left <= 0:
            raise Unavailable(
                f"The operation {op_id} has not ended within {seconds_max:.0f} s. It goes on by itself; {hint}"
            )
        wait = {"wait": max(1, min(WAIT_SECONDS, int(left)))}
        try:
            operation = await client.call("GET", "/operations/{op_id}", operation, params=wait)
        except NotFound as error:
            # Forgotten, another catalogue, or a key that may not see it: that it succeeded is none of what this says.
            raise Unavailable(
                f"How the operation {op_id} ended is not known: the Control Plane knows no such operation (any more). "
                f"Look at the object itself: `spg99 ... get`.",
                request_id=error.request_id,
            ) from error
        except Unavailable as error:
            error.message = f"{error.message} The operation {op_id} was accepted before and may go on; {hint}"
            error.args = (error.message,)
            raise
    if operation.get("status") == "failed":
        reason = operation.get("error") or {}
        raise Unavailable(f"{reason.get('message') or 'The operation failed.'} (operation {op_id})")
    return operation
