"""Operations on the proof noun: what every bridge builds on, against a small Control Plane with bad days."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from proof.gadget import GADGET, MOUNTED, PACKAGE
from proof.server import API_KEY, SECRET, Server, running
from spg99.bridges.shared.inputs import check, failures_of
from spg99.bridges.shared.operations import Interrupted, Operations, Unfinished
from spg99.bridges.shared.words import ANY_TOOL, PULUMI, PULUMI_DYNAMIC, TERRAFORM, Words
from spg99.client import Client
from spg99.errors import BadRequest, Conflict, Internal, NotFound, Spg99Error, Unavailable

PHRASE = "correct horse battery"


@pytest.fixture
def server() -> Iterator[Server]:
    with running(PACKAGE, also=MOUNTED) as server:
        yield server


@pytest_asyncio.fixture
async def operations(server: Server) -> AsyncIterator[Operations]:
    found = Operations(Client(server.url, API_KEY))
    yield found
    await found.aclose()


def wanted(**values: Any) -> dict[str, Any]:
    checked = check(GADGET, {"shelf": "top", "name": "lamp"} | values)
    assert checked.failures == []
    return checked.inputs


async def lamp(operations: Operations, **values: Any) -> dict[str, Any]:
    return (await operations.create(GADGET, wanted(**values), declaration="urn:lamp")).values


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_a_lost_request_or_answer_makes_one_object(server: Server, operations: Operations, drop: str) -> None:
    server.on("POST", "/gadgets$", drop=drop, times=2)
    made = await lamp(operations)
    assert made["recovery_code"].startswith(SECRET), "told once, and kept by the repetition"
    assert server.created == 1 and server.count("POST", "/gadgets$") == 3


async def test_an_answer_of_this_moment_is_not_asked_for_again(server: Server, operations: Operations) -> None:
    await lamp(operations)
    assert server.count("POST", "/gadgets$") == 1 and server.count("GET", "/gadgets/") == 0


async def test_an_answer_that_was_kept_is_of_then_and_the_object_is_looked_at(server: Server) -> None:
    first, second = (Operations(Client(server.url, API_KEY)) for _ in range(2))
    try:
        gone = await lamp(first)
        server.remove("gadget", "top/lamp")
        # Lost on its way the first time, so its second answer passes for one to this very call: it is an old one all the same.
        server.on("POST", "/gadgets$", drop="after")
        made = await lamp(second)
        assert (
            made["gadget_id"] != gone["gadget_id"]
            and made["gadget_id"] == server.objects["gadget", "top/lamp"]["gadget_id"]
        )
    finally:
        await first.aclose()
        await second.aclose()


async def test_what_was_made_is_kept_when_it_cannot_be_looked_at(server: Server, operations: Operations) -> None:
    server.settle_seconds = 0.1
    server.on("GET", "/gadgets/lamp$", status=403)
    with pytest.raises(
        Unfinished, match=r"The gadget 'top/lamp' was created, but cannot be looked at: On order of"
    ) as told:
        await lamp(operations)
    assert told.value.human_id == "top/lamp"
    assert told.value.values["gadget_id"] == server.objects["gadget", "top/lamp"]["gadget_id"]
    assert told.value.values["recovery_code"].startswith(SECRET), "what is told once is kept, too"
    assert await lamp(operations) == told.value.values | {"state": "ready"} and server.created == 1


async def test_a_control_plane_that_is_away_after_the_create_is_asked_again_by_the_next_run(server: Server) -> None:
    operations = Operations(Client(server.url, API_KEY, max_attempts=1))
    server.settle_seconds = 0.1
    try:
        server.on("GET", "/gadgets/lamp$", status=503, times=1000)
        with pytest.raises(Unavailable):  # not Unfinished: Terraform would call it tainted and replace it
            await operations.create(GADGET, wanted(), declaration="urn:lamp", seconds_max=1.0)
        server.remove("gadget", "top/lamp")
        with pytest.raises(Unfinished):  # nothing would find this one again
            await operations.create(GADGET, wanted(), declaration=None, seconds_max=1.0)
    finally:
        await operations.aclose()


async def test_a_write_only_secret_is_sent_when_written_and_when_changed_and_told_nowhere(
    server: Server, operations: Operations
) -> None:
    first = wanted(pass_phrase=PHRASE)
    made = await lamp(operations, pass_phrase=PHRASE)
    assert server.objects["gadget", "top/lamp"]["pass_phrase"] == PHRASE and "pass_phrase" not in made
    found = await operations.read(GADGET, "top/lamp", old=made, old_inputs=first)
    assert found is not None and found.inputs["pass_phrase"] == PHRASE, "what was written is what a user would write"
    assert "pass_phrase" not in found.values
    second = first | {"amount": 4}
    made = await operations.update(GADGET, "top/lamp", old=made, new_inputs=second, old_inputs=first)
    assert [request.body for request in server.requests if request.method == "PATCH"] == [{"amount": 4}]
    third = second | {"pass_phrase": PHRASE + "!"}
    made = await operations.update(GADGET, "top/lamp", old=made, new_inputs=third, old_inputs=second)
    patches = [request.body for request in server.requests if request.method == "PATCH"]
    assert patches[1:] == [{"pass_phrase": PHRASE + "!"}] and made["pass_phrase_version"] == 2
    handed_in = await operations.update(GADGET, "top/lamp", old=made, new_inputs=third, old_inputs=None)
    assert handed_in["pass_phrase_version"] == 3, "without old inputs it is sent whenever it is given (Terraform)"


async def test_a_read_that_takes_too_long_is_a_sentence(server: Server, operations: Operations) -> None:
    made = await lamp(operations)
    server.on("GET", "/lamp$", seconds=1.0)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"Reading the gadget 'top/lamp' took longer than its time limit, 0\.2 s"):
        await operations.read(GADGET, "top/lamp", old=made, seconds_max=0.2)
    assert time.monotonic() - began < 0.9


async def test_interrupting_64_creates_takes_no_time_and_loses_nothing(server: Server, operations: Operations) -> None:
    server.settle_seconds = -1
    creates = [
        asyncio.create_task(operations.create(GADGET, wanted(name=f"lamp-{n}"), declaration=f"urn:{n}"))
        for n in range(64)
    ]
    deadline = time.monotonic() + 30
    while server.created < 64 or server.streams < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)  # into their waits, which is where Ctrl-C finds them
    began = time.perf_counter()
    operations.interrupt()
    assert time.perf_counter() - began < 0.05
    ends = await asyncio.wait_for(asyncio.gather(*creates, return_exceptions=True), 5)
    assert {end.human_id for end in ends if isinstance(end, Unfinished)} == {f"top/lamp-{n}" for n in range(64)}
    with pytest.raises(Interrupted):
        await operations.create(GADGET, wanted(name="late"), declaration="urn:late")
    assert ("gadget", "top/late") not in server.objects


async def test_an_object_that_somebody_has_protected_meanwhile_stays_and_the_tool_says_so(
    server: Server, operations: Operations
) -> None:
    made = await lamp(operations)
    server.change("gadget", "top/lamp", deletion_protection=True)
    with pytest.raises(Conflict, match="'top/lamp' is protected: deletion_protection is on"):
        await operations.delete(GADGET, "top/lamp", old=made)
    assert set(server.objects) == {("gadget", "top/lamp")}
    asked = server.count("DELETE", "")
    with pytest.raises(Conflict, match="'top/lamp' is protected: deletion_protection is on"):
        await operations.delete(GADGET, "top/lamp", old=made | {"deletion_protection": True})
    assert server.count("DELETE", "") == asked, "what the tool knows to be protected is not even asked about"
    server.change("gadget", "top/lamp", deletion_protection=False)
    await operations.delete(GADGET, "top/lamp", old=made)
    assert server.objects == {}


async def test_fields_that_the_control_plane_refuses_come_out_on_their_paths(
    server: Server, operations: Operations
) -> None:
    made = await lamp(operations, steps=[{"max_items": 1}])
    told = {"steps.0.max_items": "is unlucky", "labels.a.b": "is odd", "amount": "is odd", "nowhere.x": "is new"}
    server.on("PATCH", "", fields=told)
    with pytest.raises(BadRequest) as caught:
        await operations.update(GADGET, "top/lamp", old=made, new_inputs=wanted(amount=5))
    found = {failure.path: failure.reason for failure in failures_of(GADGET.inputs, caught.value)}
    assert found == {
        ("steps", 0, "max_items"): "is unlucky",
        ("labels", "a", "b"): "is odd",
        ("amount",): "is odd",
        (): "nowhere.x: is new",
    }
    assert caught.value.request_id is not None


@pytest.mark.parametrize(
    ("words", "adopt"),
    [
        (ANY_TOOL, "import it under the id 'top/lamp'"),
        (PULUMI_DYNAMIC, "spg99 import-file gadgets:top/lamp"),
        (PULUMI, "pulumi import spg99:index:Gadget <name in the program> top/lamp"),
        (TERRAFORM, 'import { to = spg99_gadget.<name>, id = "top/lamp" }'),
    ],
    ids=["any", "dynamic", "pulumi", "terraform"],
)
async def test_each_tools_users_read_its_own_words(server: Server, words: Words, adopt: str) -> None:
    operations = Operations(Client(server.url, API_KEY), words)
    said = []
    try:
        made = await lamp(operations)
        with pytest.raises(Conflict) as taken:
            await operations.create(GADGET, wanted(), declaration="urn:other")
        assert adopt in str(taken.value) and "exists already" in str(taken.value)
        said.append(str(taken.value))
        server.remove("gadget", "top/lamp")
        with pytest.raises(NotFound, match="deleted outside") as gone:
            await operations.update(GADGET, "top/lamp", old=made, new_inputs=wanted())
        said.append(str(gone.value))
        server.settle_seconds = -1
        with pytest.raises(Unfinished, match="Nothing is lost") as slow:
            await operations.create(GADGET, wanted(name="slow"), declaration="urn:slow", seconds_max=0.4)
        said.append(str(slow.value))
    finally:
        await operations.aclose()
    others = {"pulumi", "terraform", "custom_timeouts", "customTimeouts"}
    own = {ANY_TOOL: set(), PULUMI: {"pulumi", "customTimeouts"}, TERRAFORM: {"terraform"}}
    own[PULUMI_DYNAMIC] = {"pulumi", "custom_timeouts"}
    for sentence in said:
        assert not any(word in sentence for word in others - own[words]), sentence


async def test_an_answer_that_is_not_what_the_shape_says_names_fields_and_no_values(
    server: Server, operations: Operations
) -> None:
    made = await lamp(operations)
    server.change(
        "gadget", "top/lamp", amount="hunter2", token=None, limits={"color": "hunter2"}, tags=["a", 5], brand=1
    )
    with pytest.raises(Internal) as caught:
        await operations.read(GADGET, "top/lamp", old=made)
    assert "(fields: amount, limits.max_items, tags.1, token)" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_newer_control_plane_may_say_more(server: Server, operations: Operations) -> None:
    made = await lamp(operations, limits={"max_items": 2})
    server.change("gadget", "top/lamp", color="green", limits={"max_items": 2, "color": "red", "shape": "round"})
    found = await operations.read(GADGET, "top/lamp", old=made, old_inputs=wanted())
    assert found is not None and found.values["color"] == "green"
    assert found.values["limits"] == {"max_items": 2, "color": "red"} and found.inputs["color"] == "green"


async def test_whole_numbers_stay_exact_both_ways(server: Server, operations: Operations) -> None:
    large = 2**60 + 1
    made = await lamp(operations, big_number=large)
    assert made["big_number"] == large and server.objects["gadget", "top/lamp"]["big_number"] == large


async def test_lists_are_filtered_and_followed_to_the_end(server: Server, operations: Operations) -> None:
    for name in ("lamp", "lamp-2", "pump"):
        await operations.create(GADGET, wanted(name=name), declaration=f"urn:{name}")
    await operations.create(GADGET, wanted(shelf="low"), declaration="urn:low")

    async def names(**filters: Any) -> list[str]:
        return [item["name"] for item in await operations.find_all(GADGET, {"shelf": "top"}, filters)]

    assert await names() == ["lamp", "lamp-2", "pump"]
    assert await names(name_prefix="lamp", state=None) == ["lamp", "lamp-2"]
    assert await names(state="failed") == []


async def test_what_can_only_be_read_and_what_others_manage(server: Server, operations: Operations) -> None:
    (workshop,) = PACKAGE.reads
    assert await operations.read_if_there(workshop, "") == {
        "workshop_id": "workshop_000000",
        "motto": "motto-motto-workshop-0",
    }
    made = await lamp(operations)
    server.change("gadget", "top/lamp", state="deleting")
    seen = await operations.read_if_there(GADGET, "top/lamp")
    assert seen is not None and seen["state"] == "deleting", "a look tells what is there"
    assert await operations.read(GADGET, "top/lamp", old=made) is None, "but nobody adopts what is on its way out"
    assert await operations.read_if_there(GADGET, "top/none") is None


async def test_errors_of_the_control_plane_are_told_with_its_sentence(server: Server, operations: Operations) -> None:
    server.on("POST", "/gadgets$", status=500)
    with pytest.raises(Spg99Error, match="On order of the test"):
        await lamp(operations)
    assert server.created == 0 and server.count("POST", "") == 1, "a 500 is not sent again"
    server.on("POST", "/gadgets$", status=503, times=2)
    server.on("POST", "/gadgets$", status=429, retry_after=0.05)
    await lamp(operations)
    assert server.created == 1
