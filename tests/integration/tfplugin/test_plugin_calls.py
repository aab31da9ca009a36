"""Calls that go wrong: the provider raises, cannot be loaded, is interrupted with all workers busy; clients send rubbish."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from integration.tfplugin import sample_provider
from integration.tfplugin.plugin_driver import Client
from integration.tfplugin.sample_provider import THING, SampleProvider
from kit.waits import wait_for
from tfplugin import handshake, messages, serving, values, workers
from tfplugin.interface import Call, Diagnostic, error
from tfplugin.serving import Attached

Serve = Callable[..., tuple[Attached, Client]]
NOTHING = values.encode(THING, None)
THERE = values.encode(THING, {"id": "1", "name": "there"})


def creation(name: str, seconds: float = 0) -> dict[str, Any]:
    planned = values.encode(THING, {"id": values.UNKNOWN, "name": name, "seconds": seconds})
    return {
        "type_name": "sample_thing",
        "prior_state": NOTHING,
        "planned_state": planned,
        "config": planned,
        "planned_private": b"p",
    }


@pytest.mark.parametrize(
    ("rpc", "request_", "kept"),
    [
        (
            "PlanResourceChange",
            {"prior_state": THERE, "proposed_new_state": THERE, "prior_private": b"p"},
            {"planned_state": THERE, "planned_private": b"p"},
        ),
        ("ReadResource", {"current_state": THERE, "private": b"p"}, {"new_state": THERE, "private": b"p"}),
        ("ValidateResourceConfig", {"config": THERE}, {}),
    ],
)
def test_a_provider_that_raises_answers_with_the_state_of_before(
    serve: Serve, rpc: str, request_: dict[str, Any], kept: dict[str, Any]
) -> None:
    _, client = serve(f"raise:{rpc}")
    answer = client.call(rpc, {"type_name": "sample_thing", **request_})
    for name, value in kept.items():
        assert answer[name] == (value if isinstance(value, bytes) else {"json": b"", **value})
    (told,) = answer["diagnostics"]
    assert told["severity"] == 1 and rpc in told["summary"]
    assert "RuntimeError at sample_provider.py:" in told["detail"] and "sample_thing" in told["detail"]
    assert "secret-in-an-exception" not in str(answer)


def test_a_create_that_raises_keeps_what_it_has_reached(serve: Serve) -> None:
    _, client = serve("raise:ApplyResourceChange")
    answer = client.call("ApplyResourceChange", creation("half"))
    assert values.decode(THING, answer["new_state"])["id"]
    assert [each["severity"] for each in answer["diagnostics"]] == [1]


@pytest.mark.parametrize("breaks", ["exit", "raise:ApplyResourceChange"])
def test_an_update_that_raises_and_even_an_exit_ends_nothing(serve: Serve, breaks: str) -> None:
    _, client = serve(breaks)
    for _ in range(3):
        assert len(client.call("ApplyResourceChange", creation("x"))["diagnostics"]) == 1
    assert client.raw("/grpc.health.v1.Health/Check") == b"\x08\x01"


def test_a_function_that_raises_and_one_that_refuses(serve: Serve) -> None:
    _, client = serve("raise:CallFunction")
    said = client.call("CallFunction", {"name": "shout", "arguments": [values.encode("string", "a")]})["error"]
    assert "RuntimeError" in said["text"] and said["function_argument"] is None
    _, client = serve()
    said = client.call("CallFunction", {"name": "shout", "arguments": [values.encode("string", "")]})["error"]
    assert said == {"text": "there is nothing to shout", "function_argument": 0}


@pytest.mark.parametrize(
    "rpc", sorted(name.removesuffix(".Request") for name in messages.TABLES if name.endswith(".Request"))
)
def test_a_provider_that_cannot_be_loaded_says_so_in_every_call(serve: Serve, rpc: str) -> None:
    _, client = serve("load")
    if rpc == "StopProvider":
        assert client.call(rpc) == {"Error": ""}
        return
    if rpc in messages.STREAMS:
        (event,) = client.channel.unary_stream(f"/tfplugin6.Provider/{rpc}")(b"", timeout=10)
        said = str(messages.decode(f"{rpc}.Event", event))
    else:
        said = str(client.call(rpc))
    assert "Provider failed to start" in said
    assert "ModuleNotFoundError: No module named 'a_module_that_is_not_installed'" in said and "terraform init" in said


def test_a_provider_has_words_of_its_own_for_its_errors(serve: Serve) -> None:
    class Wordy(SampleProvider):
        def diagnose(self, failed: Exception, request: dict[str, Any], call: Call) -> list[Diagnostic] | None:
            if request["type_name"] == "worse":
                raise ValueError
            return [error("My words", f"{type(failed).__name__} {call.rpc}", ("name",))]

    _, client = serve("raise:ValidateResourceConfig", load=Wordy)
    (told,) = client.call("ValidateResourceConfig", {"type_name": "x", "config": THERE})["diagnostics"]
    assert (told["summary"], told["detail"]) == ("My words", "RuntimeError ValidateResourceConfig")
    (told,) = client.call("ValidateResourceConfig", {"type_name": "worse", "config": THERE})["diagnostics"]
    assert told["summary"] == "The provider failed in ValidateResourceConfig"


def test_an_answer_with_a_wrong_field_becomes_a_diagnostic(serve: Serve) -> None:
    class Wrong(SampleProvider):
        def read_resource(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
            call.partial["new_stat"] = 1
            return {"new_stat": None}

    _, client = serve(load=Wrong)
    answer = client.call("ReadResource", {"type_name": "sample_thing", "current_state": THERE})
    assert answer["new_state"]["msgpack"] == THERE["msgpack"]
    assert "BadMessage" in answer["diagnostics"][0]["detail"]


def test_a_stop_comes_through_while_every_worker_is_busy(serve: Serve) -> None:
    _, client = serve()
    many = workers.THREADS_MAX + 20
    running = [client.begin("ApplyResourceChange", creation(f"n{n}", 60)) for n in range(many)]
    store = sample_provider.SampleProvider().store
    wait_for(
        "every worker to have written",
        lambda: store._path.exists() and store._path.read_text().count('"name"') >= workers.THREADS_MAX,
        seconds=60,
    )
    began = time.monotonic()
    assert client.call("StopProvider") == {"Error": ""}
    assert time.monotonic() - began < 1
    for each in running:
        answer = each.result(timeout=30)
        assert [told["summary"] for told in answer["diagnostics"]] == ["Interrupted"]
        assert values.decode(THING, answer["new_state"])["id"]
    assert (store._path.parent / "stopped").exists()
    # A stop ends what runs, and nothing that comes later.
    assert client.call("ApplyResourceChange", creation("later"))["diagnostics"] == []


def test_a_call_that_nobody_waits_for_is_cancelled(serve: Serve) -> None:
    attached, client = serve()
    running = client.begin("ApplyResourceChange", creation("x", 60))
    wait_for("the call to run", lambda: attached._server.dispatch.busy)
    running.cancel()
    wait_for("the call to end", lambda: not attached._server.dispatch.busy, seconds=5)
    with pytest.raises(grpc.RpcError) as late:
        client.call("ApplyResourceChange", creation("y", 60), timeout=0.3)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_for("the call to end", lambda: not attached._server.dispatch.busy, seconds=5)


def test_events_are_streamed_as_they_are_fetched(serve: Serve) -> None:
    made = []

    class Listing(SampleProvider):
        def list_resource(self, request: dict[str, Any], call: Call) -> Iterator[dict[str, Any]]:
            for n in range(request["limit"]):
                made.append(n)
                yield {"display_name": f"{n}" * 1000}
            raise LookupError

    attached, client = serve(load=Listing)
    method = client.channel.unary_stream("/tfplugin6.Provider/ListResource")
    events = [
        messages.decode("ListResource.Event", each)
        for each in method(messages.encode("ListResource.Request", {"limit": 3}), timeout=20)
    ]
    assert [event["display_name"][:1] for event in events] == ["0", "1", "2", ""]
    assert "LookupError" in events[-1]["diagnostic"][0]["detail"]
    made.clear()
    stream = method(messages.encode("ListResource.Request", {"limit": 1_000_000}), timeout=20)
    next(stream)
    stream.cancel()
    wait_for("the call to end", lambda: not attached._server.dispatch.busy, seconds=10)
    assert 0 < len(made) < 1_000_000


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("/tfplugin6.Provider/PlanResourceChange", b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ("/tfplugin6.Provider/MoveResourceState", b"", grpc.StatusCode.UNIMPLEMENTED),
        ("/tfplugin6.Provider/NoSuchThing", b"", grpc.StatusCode.UNIMPLEMENTED),
        ("/tfplugin5.Provider/GetSchema", b"", grpc.StatusCode.UNIMPLEMENTED),
        ("/other", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_what_is_not_understood_has_a_status(serve: Serve, path: str, message: bytes, code: grpc.StatusCode) -> None:
    _, client = serve()
    with pytest.raises(grpc.RpcError) as refused:
        client.raw(path, message)
    assert refused.value.code() is code
    assert client.raw("/grpc.health.v1.Health/Check") == b"\x08\x01"


def test_compressed_messages_are_refused(serve: Serve) -> None:
    _, client = serve()
    with pytest.raises(grpc.RpcError) as refused:
        client.raw("/tfplugin6.Provider/PlanResourceChange", b"x" * 5000, compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_rubbish_on_the_socket_ends_that_connection_only(serve: Serve) -> None:
    """A thousand broken conversations: whole calls with a byte changed, cut off, or random from some point on."""
    attached, client = serve()
    client.call("GetProviderSchema")
    path = attached.target.removeprefix("unix:")
    whole = _recorded()
    chance = random.Random(6)
    for _ in range(1000):
        data = bytearray(whole)
        match chance.randrange(3):
            case 0:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 1:
                del data[chance.randrange(len(data)) :]
            case 2:
                at = chance.randrange(24, len(data))
                data[at:] = chance.randbytes(chance.randrange(200))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            try:
                sock.sendall(data)
                sock.settimeout(0.002)
                sock.recv(65536)
            except OSError:
                pass
    planned = client.call("PlanResourceChange", {"type_name": "sample_thing", "proposed_new_state": THERE})
    assert planned["diagnostics"] == []
    # Only this client's connection is left: every other has ended with its socket.
    wait_for("one connection", lambda: len(attached._server._connections) == 1)


def _recorded() -> bytes:
    import h2.connection

    conversation = h2.connection.H2Connection()
    conversation.initiate_connection()
    for n, rpc in enumerate(("PlanResourceChange", "ApplyResourceChange", "GetProviderSchema")):
        number = 2 * n + 1
        conversation.send_headers(
            number,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "x"),
                (":path", f"/tfplugin6.Provider/{rpc}"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ],
        )
        request = (
            {} if rpc == "GetProviderSchema" else {"type_name": "sample_thing", "prior_state": NOTHING, "config": THERE}
        )
        message = messages.encode(f"{rpc}.Request", request)
        conversation.send_data(number, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
    return bytes(conversation.data_to_send())


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"\0\xff\xff\xff\xff" + b"x" * 10, "8"), (b"\1\0\0\0\1x", "12"), (b"\0\0\0\0\5abc", "13"), (b"\0\0", "13"), (b"", "13"), (b"\0\0\0\0\1xy", "13")],
)  # fmt: skip
def test_broken_lengths_have_a_status(serve: Serve, body: bytes, status: str) -> None:
    import h2.connection
    import h2.events

    attached, _ = serve()
    conversation = h2.connection.H2Connection()
    conversation.initiate_connection()
    conversation.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", "/grpc.health.v1.Health/Check"),
            ("content-type", "application/grpc"),
        ],
    )
    conversation.send_data(1, body, end_stream=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(attached.target.removeprefix("unix:"))
        sock.sendall(conversation.data_to_send())
        sock.settimeout(10)
        seen: list[Any] = []
        while not any(isinstance(event, h2.events.ResponseReceived) for event in seen):
            seen += conversation.receive_data(sock.recv(65536))
    (response,) = [event for event in seen if isinstance(event, h2.events.ResponseReceived)]
    assert dict(response.headers)[b"grpc-status"] == status.encode()


def test_a_plugin_to_which_nobody_comes_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terraform was killed between start and connection; a stranger who knocks in vain does not keep the process either."""
    monkeypatch.setattr(serving, "NOBODY_CAME_SECONDS", 0.3)
    listener = handshake.listen({})
    server = serving.Server(listener, sample_provider.load, alone=True)
    thread = threading.Thread(target=server.run)
    thread.start()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(listener.address)
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.settimeout(10)
        while stranger.recv(4096):
            pass
    thread.join(10)
    assert not thread.is_alive()


def test_a_client_that_does_not_read_holds_up_nobody(serve: Serve) -> None:
    attached, client = serve()
    big = values.encode(THING, {"name": "x" * (8 << 20)})
    lazy = grpc.insecure_channel(
        attached.target, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    )
    with lazy:
        call = lazy.unary_unary("/tfplugin6.Provider/PlanResourceChange")
        asked = call.future(
            messages.encode("PlanResourceChange.Request", {"type_name": "t", "proposed_new_state": big}), timeout=30
        )
        for _ in range(20):
            assert client.raw("/grpc.health.v1.Health/Check") == b"\x08\x01"
        # grpcio takes at most 4 MiB unless it is told otherwise: it resets the call, and the rest of the answer is dropped.
        assert asked.exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.raw("/grpc.health.v1.Health/Check") == b"\x08\x01"
