"""A timeline that is filled up by peers: torn answers, late ones, peers that do not answer or have changed. No network."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import Conflict, NotFound, Unavailable
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol import safekeeper as said
from spg99.safekeeper import routes
from spg99.safekeeper.filling import Outcome, Peers
from spg99.safekeeper.follower import Followers
from spg99.safekeeper.kept_timeline import KeptTimeline
from spg99.safekeeper.kept_timelines import KeptTimelines
from spg99.wal.lsn import MIB

TL = "tl_test"
BEGIN = 7 * MIB
IDS = ["sk_a", "sk_b", "sk_c"]
ALL = said.Configuration(number=1, members=said.Members(safekeeper_ids=IDS, quorum=2))
LIFE = [(0, 1, BEGIN), (1, 1, BEGIN)]


def history(entries: list[tuple[int, int, int]]) -> list[said.TermBegin]:
    return [said.TermBegin(term=term, tli=tli, begin_lsn=lsn) for term, tli, lsn in entries]


def follow(timeline: KeptTimeline, term: int, entries: list[tuple[int, int, int]]) -> None:
    compute_id = f"cmp_{term}"
    timeline.promise(said.PromiseAsk(term=term, compute_id=compute_id, configuration=ALL))
    timeline.follow(
        said.Follow(
            term=term, compute_id=compute_id, configuration=ALL, history=history(entries), backend_addr="/nowhere",
            backend_port=1, peers={one: one for one in IDS},
        )
    )  # fmt: skip


def take(timeline: KeptTimeline, term: int, data: bytes) -> None:
    timeline.write(term, timeline.keeper.flush_lsn, memoryview(data))
    timeline.flush(term)


class Direct:
    """A client of a timeline in this process, as its routes answer."""

    def __init__(self, timeline: KeptTimeline | None) -> None:
        self.timeline = timeline
        self.before: Callable[[], None] = lambda: None

    async def seen(self, _: str) -> said.KeeperSeen:
        if self.timeline is None:
            raise Unavailable("nobody there")
        return self.timeline.seen()

    async def wal(self, _: str, ask: said.WalAsk) -> bytes:
        assert self.timeline is not None
        self.before()
        self.timeline.may_serve(ask)
        return self.timeline.read(ask.begin_lsn, ask.end_lsn, said.history_of(ask.history))


class Set:
    """Three of one timeline; `a` is the one that lacks WAL."""

    def __init__(self, root: Path) -> None:
        self.timelines = {name: self._begun(root / name, name) for name in IDS}
        self.a, self.b, self.c = self.timelines.values()
        self.clients = {name: Direct(timeline) for name, timeline in self.timelines.items()}
        self.peers = Peers(cast(SafekeeperClients, self))

    def of(self, safekeeper_id: str, path: str, network_address: str | None) -> Direct:
        """As SafekeeperClients answers it."""
        return self.clients[safekeeper_id]

    @staticmethod
    def _begun(root: Path, name: str) -> KeptTimeline:
        begin = said.TimelineBegin(
            term=1,
            compute_id="cmp_1",
            configuration=ALL,
            system_identifier=7,
            segment_bytes=MIB,
            tli=1,
            begin_lsn=BEGIN,
        )
        timeline = KeptTimelines(root, name).begin(TL, begin)
        follow(timeline, 1, LIFE)
        return timeline

    def content(self, timeline: KeptTimeline) -> bytes:
        keeper = timeline.keeper
        return timeline.read(keeper.first_lsn, keeper.flush_lsn, keeper.history)


@pytest.fixture
def three(tmp_path: Path) -> Set:
    return Set(tmp_path)


async def test_it_takes_all_that_peers_have_over_segments_and_timelines(three: Set) -> None:
    turn = BEGIN + MIB + 700
    later = [*LIFE, (2, 2, turn)]
    for one in (three.b, three.c):
        take(one, 1, b"x" * (MIB + 700))
        follow(one, 2, later)
    take(three.b, 2, b"y" * 2 * MIB)
    follow(three.a, 2, later)
    assert await three.peers.fill(three.a, 2) is Outcome.FILLED
    assert three.content(three.a) == b"x" * (MIB + 700) + b"y" * 2 * MIB
    again = KeptTimelines(three.a._folder.parent, "sk_a").get(TL)
    assert again.keeper.flush_lsn == turn + 2 * MIB


async def test_what_peers_have_trimmed_is_in_the_store_and_it_begins_where_they_do(three: Set) -> None:
    for one in (three.b, three.c):
        take(one, 1, b"x" * 3 * MIB)
        one.trim(said.Trim(below_lsn=BEGIN + 2 * MIB + 5, history=history(LIFE)))
    take(three.a, 1, b"x" * 100)
    assert await three.peers.fill(three.a, 1) is Outcome.FILLED
    assert three.a.keeper.first_lsn == BEGIN + 2 * MIB
    assert three.content(three.a) == b"x" * MIB
    again = KeptTimelines(three.a._folder.parent, "sk_a").get(TL)
    assert (again.keeper.first_lsn, again.keeper.flush_lsn) == (BEGIN + 2 * MIB, BEGIN + 3 * MIB)


async def test_wal_of_a_life_that_is_over_is_not_taken(three: Set) -> None:
    """`b` has a long end that nobody acknowledged, and does not know of the life that has begun without it."""
    take(three.b, 1, b"z" * 5 * MIB)
    three.b.trim(said.Trim(below_lsn=BEGIN + 4 * MIB, history=history(LIFE)))
    later = [*LIFE, (2, 2, BEGIN + 100)]
    take(three.c, 1, b"x" * 100)
    follow(three.c, 2, later)
    take(three.c, 2, b"y" * 100)
    follow(three.a, 2, later)
    assert await three.peers.fill(three.a, 2) is Outcome.FILLED
    assert three.content(three.a) == b"x" * 100 + b"y" * 100


async def test_an_answer_that_comes_after_another_life_has_begun_is_not_written(three: Set) -> None:
    take(three.b, 1, b"x" * 100)

    def begins() -> None:
        follow(three.a, 2, [*LIFE, (2, 2, BEGIN)])

    three.clients["sk_b"].before = begins
    with pytest.raises(Conflict):
        await three.peers.fill(three.a, 1)
    assert three.a.keeper.flush_lsn == BEGIN


async def test_a_peer_that_has_cut_it_meanwhile_does_not_serve_it(three: Set) -> None:
    take(three.b, 1, b"x" * 100)
    three.clients["sk_b"].before = lambda: follow(three.b, 2, [*LIFE, (2, 2, BEGIN + 10)])
    assert await three.peers.fill(three.a, 1) is Outcome.WAITS
    assert three.a.keeper.flush_lsn == BEGIN


async def test_what_is_cut_while_it_is_read_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As served: it is asked again behind the read."""
    timelines = KeptTimelines(tmp_path / "sk_a", "sk_a")
    begin = said.TimelineBegin(
        term=1, compute_id="cmp_1", configuration=ALL, system_identifier=7, segment_bytes=MIB, tli=1, begin_lsn=BEGIN
    )
    timeline = timelines.begin(TL, begin)
    follow(timeline, 1, LIFE)
    take(timeline, 1, b"x" * 100)
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(routes.app(timelines, Followers())), base_url="http://safekeeper"
    )
    ask = said.WalAsk(history=history(LIFE), begin_lsn=BEGIN, end_lsn=BEGIN + 100)
    answer = await http.post(f"/timelines/{TL}/wal", content=ask.model_dump_json())
    assert (answer.status_code, answer.content) == (200, b"x" * 100)
    read = KeptTimeline.read

    def read_late(self: KeptTimeline, *where: Any) -> bytes:
        content = read(self, *where)
        follow(self, 2, [*LIFE, (2, 2, BEGIN + 10)])
        return content

    monkeypatch.setattr(KeptTimeline, "read", read_late)
    assert (await http.post(f"/timelines/{TL}/wal", content=ask.model_dump_json())).status_code == 409
    await http.aclose()


async def test_it_is_hopeless_only_when_all_have_answered(three: Set) -> None:
    assert await three.peers.fill(three.a, 1) is Outcome.HOPELESS
    three.clients["sk_c"].timeline = None
    assert await three.peers.fill(three.a, 1) is Outcome.WAITS


@pytest.mark.parametrize("content", [b"x" * 99, b"x" * 101, b"x" * 50 + b"y" * 50])
async def test_a_torn_or_altered_answer_is_none(content: bytes) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content, headers={said.WAL_CRC_HEADER: str(zlib.crc32(b"x" * 100))})

    client: Any = SafekeeperClient("/nowhere")
    client._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://safekeeper")
    with pytest.raises(Unavailable, match="damaged"):
        await client.wal(TL, said.WalAsk(history=history(LIFE), begin_lsn=BEGIN, end_lsn=BEGIN + 100))


def test_a_timeline_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        KeptTimelines(tmp_path, "sk_a").get(TL)
