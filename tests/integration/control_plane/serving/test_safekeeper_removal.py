"""`/safekeepers` for operators: what is shown, what a removal is refused for, what it takes away, and when it is carried out."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest

from integration.control_plane.serving.test_nodes import enrolled, lie_on
from spg99.client import InternalClient
from spg99.errors import Unauthorized
from spg99.protocol.node import Heartbeat
from spg99.protocol.safekeeper import SafekeeperHeartbeat


class Safekeepers:
    """Three that have said where they are, and a database that they keep."""

    def __init__(self, api: Any, url: str) -> None:
        self.api, self.url = api, url
        self.ids: dict[str, str] = {}
        self.clients: dict[str, InternalClient] = {}

    async def join(self, *names: str) -> None:
        for name in names:
            identity, client = await enrolled(self.api, "safekeeper", name)
            beat = SafekeeperHeartbeat(address=f"/run/{name}", disk_total_bytes=100, disk_free_bytes=60)
            await client.safekeeper_heartbeat(beat)
            self.ids[name], self.clients[name] = identity.identity_id, client

    async def keep(self, *names: str, quorum: int, leaving: tuple[str, ...] = ()) -> None:
        """A database that these keep; `leaving`: those before them, whom they are about to follow."""
        await self.api.call("POST", "/tenants", {"name": "acme"})
        node, client = await enrolled(self.api, "node", f"node-{quorum}-{len(names)}")
        await client.aclose()
        members = {"safekeeper_ids": [self.ids[name] for name in names], "quorum": quorum}
        said: dict[str, Any] = {"number": 1, "members": members}
        if leaving:
            before = {"safekeeper_ids": [self.ids[name] for name in leaving], "quorum": quorum}
            said = {"number": 2, "members": before, "next_members": members}
        lie_on(self.url, node.identity_id, configuration=json.dumps(said))

    def silence(self, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as catalogue:
            catalogue.execute(
                "update safekeepers set last_seen_at = last_seen_at - interval '31 seconds' where name = any(%s)",
                (list(names),),
            )

    async def remove(self, name: str, **params: Any) -> Any:
        query = "?" + "&".join(f"{key}={value}" for key, value in params.items()) if params else ""
        return await self.api.call("DELETE", f"/safekeepers/{name}{query}")


@pytest.fixture
async def three(api: Any, url: str) -> Any:
    made = Safekeepers(api, url)
    await made.join("sk-1", "sk-2", "sk-3")
    yield made
    for client in made.clients.values():
        await client.aclose()


async def test_only_who_administers_the_platform_sees_and_removes_them(api: Any) -> None:
    account = await api.key(scope="account")
    for method, path in (("GET", "/safekeepers"), ("GET", "/safekeepers/sk-1"), ("DELETE", "/safekeepers/sk-1")):
        answer = await api.call(method, path, token=account)
        assert answer.status_code == 403 and answer.json()["error"] == "Forbidden", (method, path)


async def test_they_are_listed_and_one_that_is_lost_is_removed(api: Any, three: Safekeepers) -> None:
    await three.keep("sk-1", "sk-2", "sk-3", quorum=2)
    first = (await api.call("GET", "/safekeepers?limit=2")).json()
    rest = (await api.call("GET", f"/safekeepers?limit=2&cursor={first['next_cursor']}")).json()
    assert [one["name"] for one in first["items"] + rest["items"]] == ["sk-1", "sk-2", "sk-3"]
    one = (await api.call("GET", f"/safekeepers/{three.ids['sk-2']}")).json()
    assert (one["name"], one["silent"], one["databases"], one["only_copies"]) == ("sk-2", False, 1, 0)
    assert (one["disk_total_bytes"], one["disk_free_bytes"], one["trouble"]) == (100, 60, None)
    answer = await three.remove("sk-2")
    assert answer.status_code == 409 and "'sk-2' is alive. Stop it" in answer.json()["message"]
    three.silence("sk-2")
    assert (await three.remove("sk-2")).status_code == 204
    assert (await three.remove("sk-2")).status_code == 404
    assert (await api.call("GET", "/safekeepers/sk-2")).status_code == 404
    _, node = await enrolled(api)
    heard = await node.heartbeat(Heartbeat(computes=[], network_address="10.0.0.6:7654"))
    assert heard.revoked_ids == [three.ids["sk-2"]]
    await node.aclose()
    with pytest.raises(Unauthorized):
        await _refused_soon(three.clients["sk-2"])


async def _refused_soon(client: InternalClient) -> None:
    """An identity that was right is believed for a few seconds more."""
    async with asyncio.timeout(20):
        while True:
            await client.safekeeper_heartbeat(SafekeeperHeartbeat(address="/run/sk-2"))
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("what", ["", "%00", "sk_unknown", "x" * 300])
async def test_one_that_is_not_there(api: Any, what: str) -> None:
    for method in ("GET", "DELETE"):
        assert (await api.call(method, f"/safekeepers/{what or 'nobody'}")).status_code == 404


async def test_a_removal_that_would_lose_the_only_copy_is_refused_and_names_the_databases(
    api: Any, three: Safekeepers
) -> None:
    await three.keep("sk-1", "sk-2", "sk-3", quorum=2)
    three.silence("sk-1", "sk-2")
    answer = await three.remove("sk-1")
    assert answer.status_code == 409 and answer.json()["details"]["only_copies"] == 1
    assert "only copy of the WAL of 1 database(s) (acme/app)" in answer.json()["message"]
    assert "loses_wal" in answer.json()["message"]
    assert (await api.call("GET", "/safekeepers/sk-1")).json()["only_copies"] == 1
    # The other is back: nothing rests on the first alone.
    await three.clients["sk-2"].safekeeper_heartbeat(SafekeeperHeartbeat(address="/run/sk-2"))
    assert (await three.remove("sk-1")).status_code == 204
    # Of three one is lost: from now on the other two are needed, until somebody has taken its place.
    three.silence("sk-3")
    assert (await three.remove("sk-3")).status_code == 409
    assert (await three.remove("sk-3", loses_wal="maybe")).status_code == 400
    assert (await three.remove("sk-3", loses_wal="true")).status_code == 204


async def test_one_of_one_is_not_removed_without_the_word(three: Safekeepers) -> None:
    await three.keep("sk-1", quorum=1)
    three.silence("sk-1", "sk-2")
    assert (await three.remove("sk-2")).status_code == 204  # it keeps nothing
    assert (await three.remove("sk-1")).status_code == 409


async def test_while_members_change_the_former_ones_are_needed_and_a_new_one_is_not(three: Safekeepers) -> None:
    await three.keep("sk-2", quorum=1, leaving=("sk-1",))
    three.silence("sk-1", "sk-2")
    assert (await three.remove("sk-1")).status_code == 409
    assert (await three.remove("sk-2")).status_code == 204
