"""What node files, tables of the system and log lines say. Bytes in, values out."""

from __future__ import annotations

import asyncio
import errno
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from spg99.errors import BadRequest, Conflict, Internal
from spg99.node import access, writer
from spg99.node.folder import NodeFolder, TimelineFolder, checked_id
from spg99.node.handlers import sentence_of, without_places
from spg99.node.in_use import connections_in
from spg99.node.template import trusted
from spg99.node.writer import Writer, admit
from spg99.postgres import postmaster
from spg99.protocol.tasks import ComputeStart
from spg99.resources import Size

WRITER = Writer(
    compute_id="cmp_1", db_id="db_1", writer_term=5, profile=Size.L1, backend_addr="/run/x", backend_port=5432
)


def order(compute_id: str, term: int) -> ComputeStart:
    return ComputeStart(
        compute_id=compute_id, timeline_id="tl_1", db_id="db_1", writer_term=term, profile=Size.L1, database_name="a", pg_user="u",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "compute_id", "term", "admitted"),
    [
        (None, "cmp_1", 1, True),
        (WRITER, "cmp_2", 6, True),
        (WRITER, "cmp_1", 5, True),
        (WRITER, "cmp_2", 5, False),
        (WRITER, "cmp_2", 4, False),
        (WRITER, "cmp_1", 4, False),
        (WRITER.model_copy(update={"stopped": True}), "cmp_1", 5, False),
        (WRITER.model_copy(update={"stopped": True}), "cmp_2", 6, True),
    ],
)
def test_the_fence(last: Writer | None, compute_id: str, term: int, admitted: bool) -> None:
    if admitted:
        admit(last, order(compute_id, term))
    else:
        with pytest.raises(Conflict):
            admit(last, order(compute_id, term))


def test_a_start_that_has_begun_is_the_last_writer_until_its_fence_lasts(tmp_path: Path) -> None:
    folder, begun = TimelineFolder(tmp_path), WRITER.model_copy(update={"compute_id": "cmp_2", "writer_term": 6})
    writer.write_begun(folder, WRITER)
    assert writer.read(folder) == WRITER, "the first start of a timeline"
    writer.write_fence(folder, WRITER)
    writer.write_begun(folder, begun)
    assert writer.read(folder) == begun
    folder.begun_file.write_bytes(folder.begun_file.read_bytes()[:40])
    assert writer.read(folder) == WRITER, "a power cut took it: nobody was let in"
    writer.write_begun(folder, WRITER)
    writer.write_fence(folder, begun)
    assert writer.read(folder) == begun, "one of an older start says nothing"


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = TimelineFolder(tmp_path)
    assert writer.read(folder) is None
    writer.write_fence(folder, WRITER)
    assert writer.read(folder) == WRITER
    lives = WRITER.model_copy(update={"pid": 7, "started_at": datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)})
    writer.write_life(folder, lives)
    assert writer.read(folder) == lives


def test_what_became_of_an_older_writer_says_nothing_about_this_one(tmp_path: Path) -> None:
    folder = TimelineFolder(tmp_path)
    writer.write_fence(folder, WRITER)
    writer.write_life(folder, WRITER.model_copy(update={"stopped": True}))
    newer = WRITER.model_copy(update={"compute_id": "cmp_2", "writer_term": 6})
    writer.write_fence(folder, newer)
    assert writer.read(folder) == newer


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"compute_id": 7}'])
def test_a_damaged_life_is_forgotten_and_a_damaged_fence_is_told(tmp_path: Path, damage: str) -> None:
    folder = TimelineFolder(tmp_path)
    writer.write_fence(folder, WRITER)
    folder.life_file.write_text(damage)
    assert writer.read(folder) == WRITER
    folder.writer_file.write_text(damage)
    with pytest.raises(Internal, match="damaged"):
        writer.read(folder)


@pytest.mark.parametrize(
    "text", ["", "..", "tl_", "tl_../x", "tl_a/b", "/etc", "tl_a b", "tl_" + "a" * 41, "TL_a", "tl_a\n"]
)
def test_an_id_cannot_leave_its_folder(text: str) -> None:
    with pytest.raises(BadRequest):
        checked_id(text)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\0b", "x" * 64])
def test_a_node_cannot_be_called_like_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest):
        NodeFolder.prepare(tmp_path, name, None)


def test_a_socket_path_stays_short() -> None:
    folder = NodeFolder(Path("/x"), Path("/var/lib/spg99/run"))
    assert len(str(folder.socket_dir("cmp_4f0k1234567890abcdef")) + "/.s.PGSQL.5432") < 60


def test_connections_are_counted_from_the_socket_table() -> None:
    table = """Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 100 /d/run/a/.s.PGSQL.5432
0000000000000000: 00000003 00000000 00000000 0001 03 101 /d/run/a/.s.PGSQL.5432
0000000000000000: 00000003 00000000 00000000 0001 03 102
0000000000000000: 00000003 00000000 00000000 0001 03 103 /d/run/a/.s.PGSQL.5432
0000000000000000: 00000003 00000000 00000000 0001 03 104 /d/run/with blank/.s.PGSQL.5432
0000000000000000: 00000003 00000000 00000000 0001 03 105 /run/other.sock
"""
    assert connections_in(table) == {"/d/run/a": 2, "/d/run/with blank": 1}


@pytest.mark.parametrize("name", ["", 'a"b', "a\nb", "a\rb", "a\0b", "ü" * 32])
def test_a_name_that_could_be_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        access.quoted(name)


@pytest.mark.parametrize("name", ["all", "replication", "sameuser", "select", "A$b", "x" * 63])
def test_a_name_that_means_something_elsewhere_is_only_a_name(name: str) -> None:
    rules = access.hba_rules(database_name=name, pg_user=name)
    assert f'local "{name}" "{name}" trust' in rules.splitlines()
    assert not any(line.split()[1:2] == ["all"] for line in rules.splitlines())


def test_a_control_file_is_made_trusted_once() -> None:
    assert trusted("comment = 'x'\ntrusted = false\n") == "comment = 'x'\ntrusted = true\n"
    assert trusted(trusted("a = 1")).count("trusted") == 1


@pytest.mark.parametrize(
    ("code", "word"), [(errno.ENOSPC, "full"), (errno.EACCES, "owner and mode"), (errno.EROFS, "read-only"), (errno.EMFILE, "open files")]
)  # fmt: skip
def test_errors_of_the_system_become_sentences(code: int, word: str) -> None:
    assert word in sentence_of(OSError(code, "?", "/d/x")) and "/d/x" in sentence_of(OSError(code, "?", "/d/x"))


def test_a_rename_that_fails_names_the_place_that_is_in_the_way(tmp_path: Path) -> None:
    draft, place = tmp_path / "draft", tmp_path / "place"
    draft.write_text("x")
    place.mkdir()
    with pytest.raises(OSError) as refused:
        draft.replace(place)
    assert sentence_of(refused.value) == f"A folder stands where the agent needs a file: move it away. ({place})"


def test_an_unknown_error_of_the_system_is_told_as_it_is() -> None:
    assert "Too many links" in sentence_of(OSError(errno.EMLINK, "Too many links"))


@pytest.mark.parametrize(
    "sentence",
    [
        sentence_of(OSError(errno.ENOSPC, "No space left", "/var/lib/spg99/node/n1/timelines/tl_1/pgdata/base")),
        "PostgreSQL did not start: x Everything in /data of mine/node/n1/timelines/tl_1/pgdata must belong to 'spg99'.",
        'could not open file "/var/lib/spg99/node/n1/timelines/tl_1/pgdata/global/pg_control": Permission denied',
        "The socket's path /run/spg99/ab/cmp_1/.s.PGSQL.5432 has 130 bytes.",
    ],
)
def test_the_owner_of_a_database_reads_no_place_of_the_node(sentence: str) -> None:
    places = [Path("/data of mine/node/n1"), Path("/run/spg99/ab")]
    told = without_places(sentence, places, task_id=71)
    assert "/" not in told.replace("…/", "") and "tl_1" not in told and told.endswith("whole path under task 71.")
    assert any(f"…/{name}" in told for name in ("base", "pgdata ", "pg_control", ".s.PGSQL.5432 "))
    assert told.split()[0] == sentence.split()[0]


@pytest.mark.parametrize(
    "sentence", ["The disk is full.", "See https://x.example/docs/limits.md and 3/4 of it.", "a/b/c"]
)
def test_a_sentence_without_a_place_stays_as_it_is(sentence: str) -> None:
    assert without_places(sentence, [Path("/data")], task_id=71) == sentence


async def test_a_killed_process_that_the_kernel_holds_is_named_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(pid: int) -> postmaster.Exit:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(postmaster, "wait_end", never)
    monkeypatch.setattr(postmaster, "KILL_SECONDS_MAX", 0.01)
    held = SimpleNamespace(pid=4711, kill=lambda: None)
    with pytest.raises(Internal, match="pid 4711.*disk"):
        await postmaster.kill_all([held])  # type: ignore[list-item]
    await postmaster.kill_all([])
