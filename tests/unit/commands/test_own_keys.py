"""What the command line says after it has rotated or revoked a key that is in use here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spg99.commands import own_keys
from spg99.commands.connection import Connection
from spg99.commands.dev_folder import DevFolder, DevState
from spg99.errors import Unauthorized, Unavailable
from spg99.reach import ClientSettings

URL = "http://127.0.0.1:1/v2"


@pytest.fixture
def folder(tmp_path: Path) -> DevFolder:
    made = DevFolder(tmp_path)
    made.prepare()
    made.admin_key_file.write_text("of-the-dev\n")
    made.write(DevState(pid=1, cp_url=URL, gateway_port=2))
    made.lock()
    return made


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: DevFolder, *, used: str,
    refused: set[str], rotated: bool = True, url: str = URL, flag: str | None = None, failing: Exception | None = None,
) -> str:  # fmt: skip
    """The words on stderr, where the Control Plane refuses these keys."""

    def ask(settings: ClientSettings, work: Any, **patience: Any) -> None:
        if failing is not None:
            raise failing
        if settings.api_key in refused:
            raise Unauthorized

    monkeypatch.setattr(own_keys, "ask", ask)
    connection = Connection(None, flag, folder.data_dir)
    own_keys.say_what_follows(connection, ClientSettings(url, used), rotated=rotated)
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_the_key_of_the_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: DevFolder
) -> None:
    monkeypatch.setenv("SPG99_API_KEY", "mine")
    words = said(monkeypatch, capsys, folder, used="mine", refused={"mine"})
    assert words == "SPG99_API_KEY held this very key, which is refused from now on: put the new token there.\n"
    words = said(monkeypatch, capsys, folder, used="mine", refused={"mine"}, rotated=False)
    assert "put that of another key there" in words
    monkeypatch.delenv("SPG99_API_KEY")
    assert said(monkeypatch, capsys, folder, used="mine", refused={"mine"}, flag="mine").startswith("--api-key held")


def test_the_admin_key_of_the_dev(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: DevFolder
) -> None:
    monkeypatch.delenv("SPG99_API_KEY", raising=False)
    for used in ("of-the-dev", "another"):
        words = said(monkeypatch, capsys, folder, used=used, refused={"of-the-dev"})
        assert str(folder.admin_key_file) in words and f"spg99 keys recover --data-dir {folder.data_dir}" in words
        assert "`spg99 env` prints nothing" in words and "very key" not in words


def test_other_keys_and_a_silent_control_plane_are_nothing_to_speak_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: DevFolder
) -> None:
    monkeypatch.setenv("SPG99_API_KEY", "mine")
    assert said(monkeypatch, capsys, folder, used="mine", refused=set()) == ""
    assert said(monkeypatch, capsys, folder, used="mine", refused={"mine"}, failing=Unavailable("Away.")) == ""
    elsewhere = said(monkeypatch, capsys, folder, used="mine", refused={"of-the-dev"}, url="https://other/v2")
    assert elsewhere == "", "the dev is another installation"
