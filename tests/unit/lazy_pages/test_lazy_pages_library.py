"""The library of lazy pages: its own tests under the sanitizers, and controls that each of its rules is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unit.storage_limit.test_storage_limit_library import COMPILER, SANITIZERS, STRICT, sanitizers_are_there

SOURCE = Path(__file__).parents[3] / "provider" / "lazy_pages"

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

CONTROLS = {
    "R2 dirty marks": (
        "any_history",
        "        if (is_write && state_of(chunk) != DIRTY)\n            atomic_store(&states[chunk], DIRTY); // R2\n",
        "",
    ),
    "R3 a write brings the rest": ("what_is_written_in_part_keeps_the_rest", "state_of(chunk) == ABSENT && bring", "!is_write && state_of(chunk) == ABSENT && bring"),
    "R3 a write brings the rest, any history": ("any_history", "state_of(chunk) == ABSENT && bring", "!is_write && state_of(chunk) == ABSENT && bring"),
    "R4 a cut takes locks": (
        "a_cut_waits_for_a_fetch_behind_it",
        "int held = lock(entry->first + begin, entry->count - begin);",
        "int held = real_open()(map_name, O_RDWR | O_CLOEXEC);",
    ),
    "R4 a cut is marked": ("a_cut_stays_a_cut", "for (uint32_t n = begin; !failed && n < entry->count; n++)", "for (uint32_t n = begin; 0 && n < entry->count; n++)"),
    "R4 what is cut through is brought": ("a_cut_stays_a_cut", "    if (size % CHUNK && touch(fd, size, 1, 1)) // cut through\n        return -1;\n", ""),
    "R5 the very file": ("another_file_of_that_name_is_new", "is_file(fd, &entry->id, &size)) { // R5", "(is_file(fd, &entry->id, &size), 1)) { // R5"),
    "R6 cuts that were killed": ("a_cut_that_was_killed_before_its_marks_counts", "n < entry->count; n++) // R6", "n < 0 * entry->count; n++) // R6"),
    "R8 another name": ("the_control_file_has_a_name_of_ours", "if (!found || strcmp(found, CONTROL))", "if (1)"),
    "locks exclude": ("a_cut_waits_for_a_fetch_behind_it", "static int lock(uint32_t first, uint32_t count) {", "static int lock(uint32_t first, uint32_t count) { return (void)first, (void)count, real_open()(map_name, O_RDWR);"),
    "a bounded wait": ("a_store_that_is_away_costs_a_statement_and_no_more", "is_given_up() || now_ms() >= until_ms) {", "is_given_up()) {"),
    "also of a silent agent": ("a_store_that_is_away_costs_a_statement_and_no_more", "while (!is_given_up() && now_ms() < until_ms)", "while (!is_given_up())"),
    "a long one of who has no database": ("who_has_no_database_waits_long", "my_database && *my_database ? session_wait_ms : other_wait_ms", "session_wait_ms"),
    "a cancel": ("a_cancel_ends_the_wait", "return (cancelled && *cancelled) || ", "return "),
    "a terminate": ("a_cancel_ends_the_wait", " || (terminated && *terminated);", ";"),
    "never is at once": ("a_store_that_is_away_costs_a_statement_and_no_more", "answer == 'n' || ", ""),
    "not a copy": ("nothing_starts_on_what_is_not_the_folder", "if (!is_file(at, &mapped->folder, &ignored))", "if (is_file(at, &mapped->folder, &ignored), 0)"),
    "not without a map": ("nothing_starts_on_what_is_not_the_folder", '        refuse("they have no map");', "        return;"),
    "use is noted": ("a_read_brings_its_chunk_and_no_other", "            atomic_store_explicit(&used[chunk], 1, memory_order_relaxed);", "            ;"),
    "one that is gone is noted": ("another_file_of_that_name_is_new", "atomic_store(&entry_of(path)->dead, 1);", ";"),
    "a rename": ("every_call_that_reads_brings_it", "failed = fd >= 0 && touch(fd, 0, entry->size, 0);", "failed = 0;"),
    "a copy": ("every_call_that_reads_brings_it", "if (touch(in, a, real, 0) || ", "if ("),
    "a map": ("every_call_that_reads_brings_it", "return touch(fd, at, size, is_write) ? MAP_FAILED :", "return is_write ? MAP_FAILED :"),
}  # fmt: skip


def build(folder: Path, *, source: str, options: list[str]) -> Path:
    """The tests' program with this text of the library."""
    (folder / "lazy_pages.c").write_text(source)
    (folder / "test_lazy_pages.c").write_text((SOURCE / "test_lazy_pages.c").read_text())
    command = [str(COMPILER), *options, "test_lazy_pages.c", "-o", "tests", "-ldl"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "tests"


def test_the_library_holds_its_rules_under_the_sanitizers(tmp_path: Path) -> None:
    sanitizers = SANITIZERS if sanitizers_are_there(tmp_path) else []
    program = build(tmp_path, source=(SOURCE / "lazy_pages.c").read_text(), options=STRICT + sanitizers)
    done = subprocess.run([program, tmp_path], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "all right\n"), done.stderr


@pytest.mark.slow  # again
@pytest.mark.parametrize("rule", CONTROLS)
def test_no_rule_is_there_for_nothing(rule: str, tmp_path: Path) -> None:
    text = (SOURCE / "lazy_pages.c").read_text()
    test, there, instead = CONTROLS[rule]
    assert text.count(there) == 1, "the control no longer fits the source"
    program = build(tmp_path, source=text.replace(there, instead), options=["-std=gnu11", "-O0", "-rdynamic", "-w"])
    command = ["timeout", "20", program, tmp_path, test]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, f"the tests pass without the rule: {rule}"


def test_it_stays_small_enough_to_be_read() -> None:
    assert len((SOURCE / "lazy_pages.c").read_text().splitlines()) < 400
