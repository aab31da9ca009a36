"""The library of the storage limit: its own tests under the sanitizers, and controls that each of its rules is needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "provider" / "storage_limit"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
STRICT = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-rdynamic"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

CONTROLS = {
    "a limit": ("if (data + (other > 0 ? other : 0) <= limit)", "if (1)"),
    "what is admitted is counted before": (
        "int64_t data = atomic_fetch_add(count_of(kind), bytes) + bytes;",
        "int64_t data = atomic_load(count_of(kind)) + bytes; usleep(100); atomic_fetch_add(count_of(kind), bytes);",
    ),
    "what was not written is given back": ("shrunk(kind, short_by < admitted ? short_by : admitted);", ""),
    "WAL is never refused": ("if (kind == OTHER || !may_be_refused())", "if (!may_be_refused())"),
    "recovery is never refused": ("if (kind == OTHER || !may_be_refused())", "if (kind == OTHER)"),
    "WAL counts": ("data + (other > 0 ? other : 0) <= limit", "data <= limit"),
    "there is a reserve": ("data <= limit + atomic_load(&page->reserve)", "data <= limit"),
    "the reserve is bounded": ("data <= limit + atomic_load(&page->reserve)", "1"),
    "the reserve is not for all": ("(kind == ROOM_MAKER || end <= FIRST_PAGES_BYTES) && ", ""),
    "a full disk is not the limit's": ("refused = 0; //", "//"),
    "files have a limit": ("if (files > most && may_be_refused())", "if (0)"),
    "shared memory has a limit": ("most > 0 && now > most && may_be_refused()", "0"),
    "the log has a limit": ("most > 0 && !fstat(fd, &status)", "0 && !fstat(fd, &status)"),
    "lock files are not synced": ("fd == lock_fd ? 0 :", "0 ? 0 :"),
    "only while they are open": ("if (fd >= 0 && fd == lock_fd)\n        lock_fd = -1;", ""),
    "only lock files": ('!strcmp(path, "postmaster.pid") ||', "1 ||"),
    "a removed file gives back": ("    shrunk(kind, status->st_size);\n", "    (void)status;\n"),
}


def build(folder: Path, *, source: str, options: list[str]) -> Path:
    """The tests' program with this text of the library."""
    (folder / "storage_limit.c").write_text(source)
    shutil.copy(SOURCE / "test_storage_limit.c", folder)
    command = [str(COMPILER), *options, "test_storage_limit.c", "-o", "tests", "-ldl"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "tests"


def sanitizers_are_there(folder: Path) -> bool:
    """Whether a program built with them runs here."""
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    command = [str(COMPILER), *SANITIZERS, "empty.c", "-o", "empty"]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode != 0:
        return False
    return subprocess.run([folder / "empty"], capture_output=True, check=False).returncode == 0


def test_the_library_holds_its_rules_under_the_sanitizers(tmp_path: Path) -> None:
    sanitizers = SANITIZERS if sanitizers_are_there(tmp_path) else []
    program = build(tmp_path, source=(SOURCE / "storage_limit.c").read_text(), options=STRICT + sanitizers)
    done = subprocess.run([program, tmp_path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "all right\n"), done.stderr


@pytest.mark.parametrize("rule", CONTROLS)
def test_no_rule_is_there_for_nothing(rule: str, tmp_path: Path) -> None:
    text = (SOURCE / "storage_limit.c").read_text()
    there, instead = CONTROLS[rule]
    assert text.count(there) == 1, "the control no longer fits the source"
    program = build(tmp_path, source=text.replace(there, instead), options=["-std=gnu11", "-O0", "-rdynamic", "-w"])
    done = subprocess.run([program, tmp_path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, f"the tests pass without the rule: {rule}"


def test_it_stays_small_enough_to_be_read() -> None:
    assert len((SOURCE / "storage_limit.c").read_text().splitlines()) < 400
