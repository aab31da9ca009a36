"""LSNs and the names of WAL files, as PostgreSQL writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.wal.lsn import (
    LSN_MAX,
    MIB,
    Segment,
    format_lsn,
    parse_lsn,
    parse_segment_name,
    segment_begin,
    segment_name,
    segment_number,
    segment_numbers,
)

lsns = st.integers(0, LSN_MAX)
sizes = st.integers(20, 30).map(lambda power: 1 << power)


def test_an_lsn_reads_as_postgresql_prints_it() -> None:
    assert parse_lsn("16/B374D848") == 0x16_B374D848
    assert parse_lsn("0/0") == 0
    assert parse_lsn("16/b374d848") == parse_lsn("16/B374D848")
    assert parse_lsn("16/0000000A") == 0x16_0000000A
    assert format_lsn(0x16_B374D848) == "16/B374D848"
    assert format_lsn(0x1_0000000A) == "1/A"


@given(lsns)
def test_an_lsn_survives_its_text(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize(
    "text",
    ["", "16", "16/", "/B374D848", "16/B374D848 ", "-1/0", "16/B374D8480", "1/2/3", "x/1", "١/1"],
)
def test_what_is_no_lsn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an LSN"):
        parse_lsn(text)


@pytest.mark.parametrize("lsn", [-1, LSN_MAX + 1])
def test_a_number_that_is_no_lsn_has_no_text(lsn: int) -> None:
    with pytest.raises(ValueError, match="not an LSN"):
        format_lsn(lsn)


def test_a_files_name_is_that_of_xlogfilename() -> None:
    assert segment_name(Segment(1, 1)) == "000000010000000000000001"
    assert segment_name(Segment(0x1A, 4096)) == "0000001A0000000100000000"  # 4096 segments of 1 MiB are 4 GiB
    assert segment_name(Segment(1, 4095)) == "000000010000000000000FFF"
    assert segment_name(Segment(1, 256), 16 * MIB) == "000000010000000100000000"
    assert segment_name(Segment(1, 255), 16 * MIB) == "0000000100000000000000FF"


@given(st.integers(1, (1 << 32) - 1), lsns, sizes)
def test_a_segment_survives_its_name(tli: int, lsn: int, segment_bytes: int) -> None:
    segment = Segment(tli, segment_number(lsn, segment_bytes))
    assert parse_segment_name(segment_name(segment, segment_bytes), segment_bytes) == segment
    begin = segment_begin(segment.number, segment_bytes)
    assert begin <= lsn < begin + segment_bytes


@pytest.mark.parametrize(
    "name",
    [
        "00000001000000000000000",
        "000000010000000000000001.partial",
        "00000002.history",
        "000000000000000000000001",
        "000000010000000000001000",  # there is no segment 4096 of 1 MiB within 4 GiB
        "00000001000000000000000a",
        "xlogtemp.123",
    ],
)
def test_another_file_is_no_segment(name: str) -> None:
    with pytest.raises(ValueError, match="not a file of WAL"):
        parse_segment_name(name)


@pytest.mark.parametrize("segment_bytes", [0, MIB - 1, 3 * MIB, 1 << 31])
def test_a_size_that_postgresql_does_not_know_is_refused(segment_bytes: int) -> None:
    with pytest.raises(ValueError, match="size of WAL segments"):
        segment_number(0, segment_bytes)


@pytest.mark.parametrize("segment", [Segment(0, 1), Segment(1, -1), Segment(1, 1 << 44), Segment(1 << 32, 1)])
def test_what_has_no_name_of_24_digits_is_refused(segment: Segment) -> None:
    with pytest.raises(ValueError, match="no file has this name"):
        segment_name(segment)


def test_the_segments_of_a_range() -> None:
    assert list(segment_numbers(0, MIB)) == [0]
    assert list(segment_numbers(MIB - 1, MIB + 1)) == [0, 1]
    assert list(segment_numbers(5 * MIB, 5 * MIB)) == []
    assert list(segment_numbers(9, 3)) == []
