"""Small rules of the gateway: identity, cancel keys, the channel between its processes."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from spg99.errors import BadRequest, Internal, NotFound, Unauthorized, Unavailable, Unreachable
from spg99.gateway import identity
from spg99.gateway.cancel import CancelKeys, CancelTarget
from spg99.gateway.channel import Channel
from unit.gateway.control_plane_api_fake import ControlPlaneApiFake


def test_cancel_keys() -> None:
    keys, target = CancelKeys(), CancelTarget("/run", 5432, 4711, b"real")
    short, long = keys.give(target, long=False), keys.give(target, long=True)
    assert (short[0], len(short[1]), len(long[1])) == (4711, 4, 32)
    assert keys.find(*short) == keys.find(*long) == target
    assert keys.find(4711, b"real") is None, "the compute's own secret opens nothing here"
    keys.take_back(short)
    assert keys.find(*short) is None


async def ensure(api: ControlPlaneApiFake, path: Path, token: str | None = "token") -> identity.Identity:
    return await identity.ensure(api, path, name="gateway-1", enrolment_token=token, waiting=lambda: None)


async def test_identity_is_got_once(tmp_path: Path) -> None:
    api, path = ControlPlaneApiFake(), tmp_path / "gateway" / "gateway-1.json"
    made = await ensure(api, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert api.token == made.bearer_token
    again = ControlPlaneApiFake()
    assert await ensure(again, path, None) == made
    assert again.asked == ["leases"]


async def test_identity_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="--enrolment-token"):
        await ensure(ControlPlaneApiFake(), tmp_path / "x.json", None)


async def test_refused_identity(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    await ensure(ControlPlaneApiFake(), path)
    api = ControlPlaneApiFake(failing=Unauthorized())
    with pytest.raises(Unauthorized, match="refuses the identity"):
        await ensure(api, path, None)
    with pytest.raises(Unauthorized):
        await ensure(api, path, "used-up")
    assert api.asked[-1] == "enroll gateway-1"


async def test_identity_while_the_control_plane_is_away(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    made = await ensure(ControlPlaneApiFake(), path)
    assert await ensure(ControlPlaneApiFake(failing=Unreachable()), path) == made
    api = ControlPlaneApiFake(failing=Unreachable())
    enrolling = asyncio.create_task(ensure(api, tmp_path / "y.json"))
    async with asyncio.timeout(5):
        while len(api.asked) < 2:
            await asyncio.sleep(0.01)
    api.failing = None
    assert (await enrolling).identity_id == "gw_1"


async def test_damaged_identity(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(BadRequest, match="damaged"):
        await ensure(ControlPlaneApiFake(), tmp_path / "x.json")


async def test_channel() -> None:
    async def double(number: int) -> int:
        return number * 2

    async def refuse() -> None:
        raise NotFound("no such thing", details={"id": 7})

    async def crash() -> None:
        raise RuntimeError("a secret inside")

    async def hang() -> None:
        await asyncio.Event().wait()

    ours, theirs = Channel({}), Channel({"double": double, "refuse": refuse, "crash": crash, "hang": hang})
    left, right = socket.socketpair()
    await ours.open(left)
    await theirs.open(right)
    serving = [asyncio.create_task(ours.serve()), asyncio.create_task(theirs.serve())]
    assert await asyncio.gather(*(ours.call("double", number=i) for i in range(100))) == [i * 2 for i in range(100)]
    with pytest.raises(NotFound, match="no such thing") as caught:
        await ours.call("refuse")
    assert caught.value.details == {"id": 7}
    with pytest.raises(Internal) as crashed:
        await ours.call("crash")
    assert "secret" not in str(crashed.value)
    hanging = asyncio.create_task(ours.call("hang"))
    await asyncio.sleep(0.01)
    theirs.close()
    with pytest.raises(Unavailable, match="shutting down"):
        await hanging
    await asyncio.gather(*serving)
    with pytest.raises(Unavailable):
        await ours.call("double", number=1)
    ours.notify("double", number=1)  # nobody listens, nothing happens
