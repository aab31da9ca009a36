"""Provider processes of one engine know of each other what the program declares; those of other engines, and dead ones, do not count."""

from __future__ import annotations

import os
from pathlib import Path

from spg99.bridges.pulumi.shared import declared
from spg99.bridges.pulumi.shared.declared import Declarations, Declared

URN = "urn:pulumi:dev::p::spg99:index:Database::app"


def process(folder: Path, engine: str = "127.0.0.1:1") -> Declarations:
    found = Declarations(folder)
    found.meet(engine)
    return found


def test_processes_of_one_engine_tell_each_other(tmp_path: Path) -> None:
    one, other, stranger = process(tmp_path), process(tmp_path), process(tmp_path, "127.0.0.1:12")
    stranger.note(URN, Declared(True, "db_9"))
    assert one.of(URN) is None is other.of(URN)
    one.note(URN, Declared(True, None))
    one.note(URN, Declared(False, "db_1"))
    assert other.of(URN) == one.of(URN) == Declared(False, "db_1"), "the last word counts"
    other.note(URN, Declared(True, None))
    assert other.of(URN) == Declared(True, None), "its own before those of others"
    assert other.of(URN + "2") is None


def test_the_word_of_a_dead_process_does_not_count_and_its_file_goes(tmp_path: Path) -> None:
    one = process(tmp_path)
    one.note(URN, Declared(False, None))
    (left,) = tmp_path.iterdir()
    content = left.read_text()
    assert one._file is not None
    one._file.close()
    assert list(tmp_path.iterdir()) == [], "a process that ends in order takes it along"
    left.write_text(content)
    assert process(tmp_path).of(URN) is None
    os.utime(left, (1, 1))
    later = process(tmp_path)
    later.note(URN, Declared(True, None))
    assert left not in tmp_path.iterdir() and len(list(tmp_path.iterdir())) == 1


def test_without_an_engine_or_a_folder_a_process_knows_its_own(tmp_path: Path) -> None:
    alone = Declarations(tmp_path / "missing")
    alone.meet("127.0.0.1:1")
    alone.note(URN, Declared(False, None))
    assert alone.of(URN) == Declared(False, None) and not (tmp_path / "missing").exists()
    assert Declarations().of(URN) is None


def test_a_folder_that_others_could_write_is_not_used(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(declared.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / f"spg99-engines-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"spg99-engines-{os.getuid()}").chmod(0o777)
    open_to_all = Declarations()
    open_to_all.meet("127.0.0.1:1")
    open_to_all.note(URN, Declared(False, None))
    assert list((tmp_path / f"spg99-engines-{os.getuid()}").iterdir()) == [] and open_to_all.of(URN)
