"""Where an API key may be sent: one rule, and the same words from every bridge and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from spg99.bridges.pulumi.dynamic import connection
from spg99.bridges.pulumi.native.settings import check_config
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.bridges.terraform.configuration import configured
from spg99.commands.connection import Connection
from spg99.errors import BadRequest
from spg99.prepared import PACKAGE
from spg99.reach import bad_url, client_settings

FAR = "http://cp.example.com/v2"


@pytest.mark.parametrize(
    "url",
    [
        "https://cp.example.com/v2",
        "http://localhost:8099/v2",
        "http://LOCALHOST/v2",
        "http://127.0.0.1:8099/v2",
        "http://127.8.9.10/v2",
        "http://[::1]:8099/v2",
    ],
)
def test_where_a_key_may_go(url: str) -> None:
    assert bad_url(url) is None
    assert client_settings(url=url, api_key="k").cp_url == url


@pytest.mark.parametrize(
    "url",
    [
        FAR,
        "http://10.0.0.1/v2",
        "http://127.0.0.1.example.com/v2",
        "http://127.0.0.999/v2",
        "http://127.0.0." + "1" * 5000 + "/v2",
        "http://localhost.example.com/v2",
        "http://[::2]/v2",
        "HTTP://cp.example.com/v2",
    ],
)
def test_where_it_would_be_readable_on_the_way(url: str) -> None:
    assert "readable for everybody on the way" in (bad_url(url) or "")
    with pytest.raises(BadRequest, match="Use https://"):
        client_settings(url=url, api_key="geheim")


@pytest.mark.parametrize(
    "url", ["ftp://a/v2", "cp.example.com/v2", "http://", "https://[", "http://u:geheim@127.0.0.1/v2"]
)
def test_what_is_no_address_at_all(url: str) -> None:
    reason = bad_url(url)
    assert reason is not None and "geheim" not in reason


def test_every_door_refuses_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SPG99_CP_URL", "CP_URL", "SPG99_API_KEY", "SPG99_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    reason = bad_url(FAR)
    assert reason is not None
    [(path, said)] = check_config(PACKAGE, {"url": FAR, "apiKey": "geheim"}, is_default=False).failures
    assert (path, said) == ("url", reason)
    assert check_config(PACKAGE, {"url": UNKNOWN, "apiKey": "geheim"}, is_default=False).failures == []
    block = {field.name: None for field in PACKAGE.configuration} | {"url": FAR, "api_key": "geheim"}
    assert configured(PACKAGE, block, {})[1][0].detail == reason
    with pytest.raises(BadRequest) as dynamic:
        connection.settings_from({"spg99:url": FAR, "spg99:apiKey": "geheim"})
    with pytest.raises(BadRequest) as command:
        Connection(url=FAR, api_key="geheim", data_dir=None).settings()
    monkeypatch.setenv("SPG99_CP_URL", FAR)
    with pytest.raises(BadRequest) as environment:
        client_settings(api_key="geheim")
    for caught in (dynamic, command, environment):
        assert reason in str(caught.value) and "geheim" not in str(caught.value)
