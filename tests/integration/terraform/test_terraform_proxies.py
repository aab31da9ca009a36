"""The provider goes out by the proxy that the environment names, and never by it to this machine."""

from __future__ import annotations

import socket
import threading

import pytest

from proof.server import API_KEY, Server
from spg99.bridges.terraform.configuration import Configuration
from spg99.bridges.terraform.reach import Reach
from spg99.errors import Unavailable
from spg99.prepared import PACKAGE


def test_proxies_are_honoured_and_this_machine_is_reached_without(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            while True:
                try:
                    taken, _ = proxy.accept()
                except OSError:
                    return
                seen.append(taken.recv(4096).splitlines()[0])
                taken.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                taken.close()

        threading.Thread(target=refuse, daemon=True).start()
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        tenant = PACKAGE.nouns[0]
        with pytest.raises(Unavailable):
            Reach(Configuration("https://cp.example/v2", "k"), "1").run(
                lambda operations: operations.read(tenant, "acme", old={}, seconds_max=1.5)
            )
        assert seen and set(seen) == {b"CONNECT cp.example:443 HTTP/1.1"}
        seen.clear()
        here = Reach(Configuration(server.url, API_KEY), "1")
        assert here.run(lambda operations: operations.read(tenant, "acme", old={})) is None
        assert seen == []
