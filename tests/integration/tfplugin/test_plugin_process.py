"""The plugin process from outside: handshake, TLS, signals, how it ends, and that nothing a client does ends it early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from integration.tfplugin.plugin_driver import PROGRAM, Plugin
from integration.tfplugin.sample_provider import THING
from kit.waits import wait_for
from tfplugin import values

Start = Callable[..., Plugin]
NOTHING = values.encode(THING, None)


def plan_of(name: str, **more: object) -> dict[str, object]:
    proposed = values.encode(THING, {"name": name, **more})
    return {"type_name": "sample_thing", "prior_state": NOTHING, "proposed_new_state": proposed, "config": proposed}


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_a_client_with_its_certificate_is_served(start: Start, transport: str) -> None:
    plugin = start(SAMPLE_TCP="1" if transport == "tcp" else "")
    assert plugin.fields[:3] == ["1", "6", transport] and plugin.fields[4] == "grpc"
    client = plugin.client()
    schema = client.call("GetProviderSchema")
    assert set(schema["resource_schemas"]) == {"sample_thing"}
    assert client.raw("/grpc.health.v1.Health/Check") == b"\x08\x01"
    planned = client.call("PlanResourceChange", plan_of("a"))
    assert values.decode(THING, planned["planned_state"])["name"] == "a"


@pytest.mark.parametrize("megabytes", [6, 20])
def test_large_messages_go_both_ways(start: Start, megabytes: int) -> None:
    client = start().client()
    text = "é" * (megabytes << 19)
    planned = client.call("PlanResourceChange", plan_of(text))
    assert values.decode(THING, planned["planned_state"])["name"] == text


def test_a_process_without_the_certificate_gets_nothing_and_spoils_nothing(start: Start) -> None:
    plugin = start()
    with pytest.raises(grpc.RpcError) as refused:
        plugin.client(with_certificate=False).call("GetProviderSchema", timeout=5)
    assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert plugin.client().call("GetProviderSchema")["diagnostics"] == []


def test_shutdown_ends_the_process_and_removes_its_folder(start: Start) -> None:
    plugin = start()
    client = plugin.client()
    client.call("GetProviderSchema")
    assert plugin.folder.exists()
    began = time.monotonic()
    client.raw("/plugin.GRPCController/Shutdown")
    status, _ = plugin.end()
    assert status == 0 and time.monotonic() - began < 1.5
    assert not plugin.folder.exists()


def test_the_process_ends_with_its_only_connection(start: Start) -> None:
    plugin = start()
    client = plugin.client()
    client.call("GetProviderSchema")
    running = client.begin("ApplyResourceChange", creation("a", 60))
    wait_for("the first thing", lambda: os.path.exists(plugin.environment["SAMPLE_STORE"]))
    plugin.hang_up()
    assert plugin.end()[0] == 0
    assert not plugin.folder.exists()
    assert running.code() != grpc.StatusCode.OK


def creation(name: str, seconds: float) -> dict[str, object]:
    planned = values.encode(THING, {"id": values.UNKNOWN, "name": name, "seconds": seconds})
    return {"type_name": "sample_thing", "prior_state": NOTHING, "planned_state": planned}


def test_ctrl_c_is_left_to_terraform(start: Start) -> None:
    plugin = start()
    client = plugin.client()
    client.call("GetProviderSchema")
    os.kill(plugin.process.pid, signal.SIGINT)
    assert client.call("GetProviderSchema")["diagnostics"] == []


def test_a_termination_ends_what_runs_with_an_answer_and_then_the_process(start: Start) -> None:
    plugin = start()
    client = plugin.client()
    running = client.begin("ApplyResourceChange", creation("a", 60))
    wait_for("the first thing", lambda: os.path.exists(plugin.environment["SAMPLE_STORE"]))
    os.kill(plugin.process.pid, signal.SIGTERM)
    answer = running.result(timeout=10)
    assert [each["summary"] for each in answer["diagnostics"]] == ["Interrupted"]
    assert values.decode(THING, answer["new_state"])["id"]

    def ended() -> bool:
        # While the first call is being cleared away, a further signal stops it once more.
        os.kill(plugin.process.pid, signal.SIGTERM)
        return plugin.process.poll() is not None

    wait_for("the plugin to end", ended, seconds=10)
    assert plugin.end()[0] == 0


def test_streams_of_the_plugin_library_stay_open_and_use_no_worker(start: Start) -> None:
    """An idle connection would be closed after half an hour, and we would end with it."""
    client = start().client()
    stdio = client.channel.unary_stream("/plugin.GRPCStdio/StreamStdio")(b"")
    broker = client.channel.stream_stream("/plugin.GRPCBroker/StartStream")(iter(()))
    client.call("GetProviderSchema")
    assert stdio.is_active() and broker.is_active()


def test_by_hand_it_says_what_it_is() -> None:
    environment = {name: text for name, text in os.environ.items() if name != "TF_PLUGIN_MAGIC_COOKIE"}
    done = subprocess.run([sys.executable, str(PROGRAM)], env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and done.stdout == ""
    assert "provider for Terraform" in done.stderr


def test_an_old_terraform_is_told(start: Start) -> None:
    plugin = start(PLUGIN_PROTOCOL_VERSIONS="4,5")
    assert plugin.line == ""
    status, said = plugin.end()
    assert status == 1 and "protocol 6" in said


def test_what_is_printed_goes_to_the_log(start: Start) -> None:
    plugin = start(SAMPLE_BREAK="print")
    assert plugin.fields[0] == "1"
    client = plugin.client()
    assert client.call("GetProviderSchema")["diagnostics"] == []
    client.raw("/plugin.GRPCController/Shutdown")
    status, said = plugin.end()
    assert status == 0
    assert "hello from a library" in said and "not flushed before the handshake" in said


def test_without_tls_when_terraform_disables_it(start: Start) -> None:
    plugin = start(PLUGIN_CLIENT_CERT="")
    assert plugin.fields[5] == ""
    with grpc.insecure_channel(plugin.target) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x01"
    assert plugin.end()[0] == 0


def test_hundreds_of_calls_at_once(start: Start) -> None:
    client = start().client()
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda n: client.call("PlanResourceChange", plan_of(f"thing {n}")), range(400)))
    assert [values.decode(THING, each["planned_state"])["name"] for each in answers] == [
        f"thing {n}" for n in range(400)
    ]
