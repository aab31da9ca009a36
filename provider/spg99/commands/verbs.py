"""What list, get, create, update and delete do, for any noun. Not here: their flags (nouns.py), how answers look (rendering.py)."""

from __future__ import annotations

import time
from typing import Any

import click

from spg99.client import Client
from spg99.commands.connection import Connection
from spg99.commands.rendering import columns_of, show_many, show_one, values_of
from spg99.errors import NotFound, Unavailable
from spg99.resources import Resource

WAIT_SECONDS = 50


def show_list(
    connection: Connection, kind: type[Resource], where: dict[str, Any], filters: dict[str, Any], *, nothing: str
) -> None:
    """All objects of a collection."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return [
            values_of(thing, show_secrets=connection.show_secrets)
            async for thing in client.list(kind, where, **filters)
        ]

    show_many(connection.call(work), columns_of(kind), as_json=connection.as_json, nothing=nothing)


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

    answer = connection.call(work)
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


async def finished(client: Client, operation: dict[str, Any]) -> dict[str, Any]:
    """Waits for an operation. Raises Unavailable with its reason when it failed."""
    while operation.get("status") == "running":
        try:
            operation = await client.call("GET", "/operations/{op_id}", operation, params={"wait": WAIT_SECONDS})
        except NotFound:
            return operation | {"status": "succeeded"}
    if operation.get("status") == "failed":
        error = operation.get("error") or {}
        raise Unavailable(str(error.get("message") or "The operation failed."))
    return operation
