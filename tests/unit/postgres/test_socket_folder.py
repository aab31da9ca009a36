"""Where sockets are: in the data folder where its path is short enough, else in a private folder of the runtime."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spg99.errors import Internal
from spg99.postgres import socket_folder as sockets
from spg99.postgres.socket_folder import SOCKET_PATH_BYTES_MAX, is_short_enough, release, runtime_folder, socket_folder

LONG = ["x" * 90, "/".join(["deep"] * 30), "ä" * 50, "a,b"]


@pytest.fixture
def long(data_dir: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = data_dir / request.param
    yield folder
    shutil.rmtree(runtime_folder(folder), ignore_errors=True)


def test_a_short_data_folder_keeps_its_sockets(data_dir: Path) -> None:
    assert socket_folder(data_dir) == data_dir / "run"
    assert not (data_dir / "run").is_symlink()


@pytest.mark.parametrize("long", LONG, indirect=True)
def test_a_long_one_leads_to_a_short_private_folder_and_every_process_finds_the_same(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = socket_folder(long)
    assert is_short_enough(found) and (long / "run").resolve() == found
    assert len(os.fsencode(found / "123456789012" / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES_MAX
    assert found.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    # Another session, with another environment.
    monkeypatch.setattr(sockets, "_runtime_places", lambda: [Path(tempfile.gettempdir())])
    assert socket_folder(long) == found
    release(long)
    assert not found.exists()
    assert socket_folder(long) == found, "made again when it is needed"


@pytest.mark.parametrize("long", LONG[:1], indirect=True)
def test_one_that_is_in_use_is_not_removed(long: Path) -> None:
    found = socket_folder(long)
    (found / "catalogue").mkdir()
    release(long)
    assert (found / "catalogue").is_dir()


@pytest.mark.parametrize("long", LONG[:1], indirect=True)
def test_a_data_folder_that_was_moved_to_a_longer_path_leaves_its_old_sockets(long: Path) -> None:
    (long / "run" / "catalogue").mkdir(parents=True)
    found = socket_folder(long)
    assert (long / "run").is_symlink() and list(found.iterdir()) == []
    assert [path.name for path in long.iterdir()] == ["run"]


@pytest.mark.parametrize("long", LONG[:1], indirect=True)
@pytest.mark.parametrize("what", ["open to others", "a link", "a file"])
def test_a_folder_that_is_not_ours_alone_is_refused(long: Path, what: str, tmp_path: Path) -> None:
    taken = runtime_folder(long)
    if what == "open to others":
        taken.mkdir()
        taken.chmod(0o777)
    elif what == "a link":
        taken.symlink_to(tmp_path)
    else:
        taken.write_text("")
    try:
        with pytest.raises(Internal, match=str(taken)):
            socket_folder(long)
        assert list(tmp_path.iterdir()) == []
    finally:
        taken.unlink() if not taken.is_dir() or taken.is_symlink() else taken.rmdir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root's is in /run")
@pytest.mark.parametrize("long", LONG[:1], indirect=True)
def test_the_runtime_folder_of_the_session_comes_first(
    long: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(data_dir))
    assert runtime_folder(long).parent == data_dir
