"""A process gets to be known: once, by a token; and is known again, through outages and refusals."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from spg99.errors import BadRequest, Internal, Spg99Error, TooManyRequests, Unauthorized, Unreachable
from spg99.processes.identity import Applicant, introduce
from spg99.protocol import Enrolment, Identity


class ControlPlane:
    """What an applicant says is written down; `failing` is raised instead of an answer."""

    def __init__(self, *, known: set[str] | None = None, tokens: set[str] | None = None) -> None:
        self.known = known if known is not None else set()
        self.tokens = tokens if tokens is not None else {"token"}
        self.failing: Spg99Error | None = None
        self.said: list[str] = []
        self.bearer = ""

    async def enrol(self, enrolment: Enrolment) -> Identity:
        self.said.append(f"enrol {enrolment.name}")
        if self.failing is not None:
            raise self.failing
        if enrolment.enrolment_token not in self.tokens:
            raise Unauthorized
        self.tokens.discard(enrolment.enrolment_token)
        self.known.add(bearer := f"bearer-{len(self.said)}")
        return Identity(identity_id="node_1", bearer_token=bearer)

    def authenticate(self, bearer: str) -> None:
        self.bearer = bearer

    async def greet(self) -> None:
        self.said.append("greet")
        if self.failing is not None:
            raise self.failing
        if self.bearer not in self.known:
            raise Unauthorized

    def applicant(self, file: Path, token: str | None = "token", *, kind: str = "node") -> Applicant:
        return Applicant(kind, "one", file, token, self.enrol, self.authenticate, self.greet)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node" / "identity.json"


@pytest.mark.parametrize("must_be_heard", [True, False])
async def test_it_enrols_once_and_is_the_same_afterwards(file: Path, must_be_heard: bool) -> None:
    plane = ControlPlane()
    made = await introduce(plane.applicant(file), must_be_heard=must_be_heard)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and [path.name for path in file.parent.iterdir()] == [file.name]
    assert plane.bearer == made.bearer_token
    assert plane.said == (["enrol one", "greet"] if must_be_heard else ["enrol one"])
    plane.said.clear()
    assert await introduce(plane.applicant(file, None), must_be_heard=must_be_heard) == made
    assert plane.said == ["greet"]


@pytest.mark.parametrize("kind", ["node", "gateway"])
async def test_without_identity_and_token_it_says_what_to_do(file: Path, kind: str) -> None:
    with pytest.raises(BadRequest, match=f"fresh enrolment token for a {kind}.*SPG99_ENROLMENT_TOKEN"):
        await introduce(ControlPlane().applicant(file, None, kind=kind), must_be_heard=True)


async def test_a_spent_token_says_what_to_do(file: Path) -> None:
    with pytest.raises(Unauthorized, match="unknown, used or expired"):
        await introduce(ControlPlane(tokens=set()).applicant(file), must_be_heard=True)
    assert not file.exists()


async def test_a_refused_identity_is_traded_for_a_token_and_without_one_says_what_to_do(file: Path) -> None:
    first = await introduce(ControlPlane().applicant(file), must_be_heard=True)
    other = ControlPlane(tokens={"again"})
    with pytest.raises(Unauthorized, match="refuses the identity in .*SPG99_ENROLMENT_TOKEN"):
        await introduce(other.applicant(file, None), must_be_heard=True)
    with pytest.raises(Unauthorized, match="unknown, used or expired"):
        await introduce(other.applicant(file, "spent"), must_be_heard=True)
    assert (await introduce(other.applicant(file, "again"), must_be_heard=True)) != first
    assert other.said[-2:] == ["enrol one", "greet"]


@pytest.mark.parametrize("failing", [Unreachable(), TooManyRequests(), Internal()])
@pytest.mark.parametrize("has_identity", [True, False])
async def test_it_waits_for_a_control_plane_that_is_away(file: Path, failing: Spg99Error, has_identity: bool) -> None:
    plane = ControlPlane()
    if has_identity:
        await introduce(plane.applicant(file), must_be_heard=True)
        plane.said.clear()
    plane.failing = failing
    waiting = asyncio.create_task(introduce(plane.applicant(file), must_be_heard=True))
    async with asyncio.timeout(10):
        while len(plane.said) < 3:
            await asyncio.sleep(0.01)
    plane.failing = None
    assert (await asyncio.wait_for(waiting, 20)).identity_id == "node_1"


async def test_one_that_need_not_be_heard_goes_on_with_what_it_has(file: Path) -> None:
    plane = ControlPlane()
    made = await introduce(plane.applicant(file), must_be_heard=False)
    plane.failing = Unreachable()
    assert await introduce(plane.applicant(file), must_be_heard=False) == made


async def test_a_damaged_file_is_named_or_with_a_token_replaced(file: Path) -> None:
    file.parent.mkdir()
    for text in ("{", "{}", "[]"):
        file.write_text(text)
        with pytest.raises(BadRequest, match=f"{file} is damaged"):
            await introduce(ControlPlane().applicant(file, None), must_be_heard=True)
        made = await introduce(ControlPlane().applicant(file), must_be_heard=True)  # as `spg99 dev` starts it
        assert (
            await introduce(ControlPlane(known={made.bearer_token}).applicant(file, None), must_be_heard=True) == made
        )
