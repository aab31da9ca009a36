"""What PostgreSQL wrote to its log. Here: the sentence that tells why it failed. Not here: where the log is kept."""

from __future__ import annotations

import re
from pathlib import Path

_READ_BYTES_MAX = 65_536
_LEVELS = ("FATAL", "PANIC")


def read_since(log_file: Path, position: int) -> str:
    """The end of what was written after `position`; all there is when the file was cut since."""
    try:
        with log_file.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(position if position <= size else 0, size - _READ_BYTES_MAX))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def complaint_in(text: str, *, levels: tuple[str, ...] = _LEVELS) -> str | None:
    """The last message of one of these levels, with its DETAIL and HINT, as sentences; None when there is none."""
    pattern = rf"(?:^|\s)(?:{'|'.join(levels)}):\s+(.*)$"
    lines = text.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        found = re.search(pattern, lines[number])
        if found is None:
            continue
        said = [found[1]]
        for line in lines[number + 1 :]:
            more = re.search(r"(?:^|\s)(?:DETAIL|HINT):\s+(.*)$", line)
            if more is None:
                break
            said.append(more[1])
        return " ".join(part.strip().rstrip(".") + "." for part in said)
    return None


def is_disk_full(text: str) -> bool:
    """Whether the disk (or its quota) was full when this was written: what PostgreSQL says last of it may only be that
    something else went wrong then."""
    # The kernel says the same of shared memory and of semaphores.
    lines = [line for line in text.splitlines() if "shared memory" not in line and "semaphore" not in line]
    return any(words in line for line in lines for words in ("No space left on device", "Disk quota exceeded"))


def last_words(text: str) -> str | None:
    """Lines without a level at the end, such as `postgres: could not find the database system` before the log is set up."""
    words: list[str] = []
    for line in reversed(text.splitlines()):
        if re.search(r"\b[A-Z]{3,}\d?:  ", line):
            break
        words.insert(0, line.removeprefix("postgres:").strip())
    sentence = ""
    for word in filter(None, words):  # a sentence may go on in the next line, and none ends with a full stop
        sentence += (". " if word[0].isupper() and sentence[-1] not in ".,:" else " ") + word if sentence else word
    return f"{sentence.rstrip('.')}." if sentence else None


def cause_of_end(text: str) -> str | None:
    """Why a running server ended by itself, if it says so. Single sessions' FATAL messages are no cause."""
    for line in reversed(text.splitlines()):
        found = re.search(
            r"PANIC:\s+(.*)$|LOG:\s+(.* was terminated by signal .*|server process .* exited with .*)$", line
        )
        if found is not None:
            return f"PostgreSQL ended: {(found[1] or found[2]).strip().rstrip('.')}."
    return None
