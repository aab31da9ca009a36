"""What PostgreSQL writes into its pid file and its log, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from spg99.postgres.logfile import cause_of_end, complaint_in, is_disk_full, last_words, read_since
from spg99.postgres.postmaster import Exit, PidFile, parse_pid_file

READY = "4711\n/d/pgdata\n1795200000\n5432\n/d/run/x\n\n  5432001         7\nready   \n"


def test_a_pid_file_of_a_server_that_serves() -> None:
    assert parse_pid_file(READY) == PidFile(4711, 5432, "/d/run/x", (5432001, 7), "ready")


def test_every_beginning_of_a_pid_file_can_be_read() -> None:
    """It grows line by line while the server starts, and we look every millisecond."""
    for end in range(len(READY)):
        seen = parse_pid_file(READY[:end])
        assert seen is None or seen.status in (None, "r", "re", "rea", "read", "ready")


@pytest.mark.parametrize("text", ["", "\n", "garbage", "\0\0\0"])
def test_what_is_no_pid_file(text: str) -> None:
    assert parse_pid_file(text) is None


def test_single_user_mode_writes_a_negative_pid() -> None:
    seen = parse_pid_file("-12\n/d\n1\n0\n\n\n")
    assert seen is not None and seen.pid == 12 and seen.status is None


def test_the_last_complaint_with_detail_and_hint() -> None:
    text = (
        "2026-01-01 00:00:00.000 UTC [1] LOG:  starting PostgreSQL 18.4\n"
        "2026-01-01 00:00:00.000 UTC [1] FATAL:  could not create shared memory segment: No space left on device\n"
        "2026-01-01 00:00:00.000 UTC [1] DETAIL:  Failed system call was shmget.\n"
        "2026-01-01 00:00:00.000 UTC [1] HINT:  Raise SHMALL.\n"
        "2026-01-01 00:00:00.000 UTC [1] LOG:  database system is shut down\n"
    )
    assert complaint_in(text) == (
        "could not create shared memory segment: No space left on device. Failed system call was shmget. Raise SHMALL."
    )


@pytest.mark.parametrize(
    ("line", "is_full"),
    [
        ('FATAL:  could not write to file "pg_wal/xlogtemp.7": No space left on device', True),
        ("PANIC:  could not write to log file: No space left on device", True),
        ('FATAL:  could not extend file "base/5/1259": Disk quota exceeded', True),
        ("FATAL:  could not create shared memory segment: No space left on device", False),
        ("FATAL:  could not create semaphores: No space left on device", False),
        ("FATAL:  checkpoint request failed", False),
    ],
)
def test_a_full_disk_is_known_from_any_line(line: str, is_full: bool) -> None:
    after = "2026-01-01 00:00:00.000 UTC [1] FATAL:  checkpoint request failed\n"
    assert is_disk_full(f"2026-01-01 00:00:00.000 UTC [1] {line}\n{after}") is is_full


def test_no_complaint() -> None:
    assert complaint_in("2026 [1] LOG:  the word FATAL alone is none\n") is None


def test_words_before_there_is_a_log() -> None:
    text = 'postgres: could not find the database system\nExpected to find it in the directory "/d",\nbut could not open file: No such file\n'
    assert last_words(text) == (
        'could not find the database system. Expected to find it in the directory "/d", '
        "but could not open file: No such file."
    )
    assert last_words("x [1] LOG:  all is well\n") is None


def test_why_a_server_ended() -> None:
    crash = "x [1] LOG:  server process (PID 9) was terminated by signal 11: Segmentation fault\nx [1] LOG:  terminating any other active server processes\n"
    assert (
        cause_of_end(crash)
        == "PostgreSQL ended: server process (PID 9) was terminated by signal 11: Segmentation fault."
    )
    ordinary = 'x [1] LOG:  background worker "logical replication launcher" (PID 3) exited with exit code 1\nx [4] FATAL:  no pg_hba.conf entry\n'
    assert cause_of_end(ordinary) is None
    assert cause_of_end("x [1] PANIC:  could not write to file: No space left on device\n") == (
        "PostgreSQL ended: could not write to file: No space left on device."
    )


def test_reading_a_log_from_a_position(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_since(log, 0) == ""
    log.write_text("old\nnew\n")
    assert read_since(log, 4) == "new\n"
    log.write_text("cut")
    assert read_since(log, 400) == "cut", "the file was cut since"


@pytest.mark.parametrize(("code", "words"), [(None, "ended."), (-9, "SIGKILL"), (2, "code 2")])
def test_an_end_as_a_sentence(code: int | None, words: str) -> None:
    assert words in Exit(code).sentence()
