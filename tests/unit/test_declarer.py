"""The header that names a declarer: what is sent is what is read, within its bounds, whatever a stack is called."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spg99.declarer import HEADER_LENGTH_MAX, RESOURCE_LENGTH_MAX, STATE_LENGTH_MAX, Declarer, bounded, parsed

ANY = st.text(max_size=2000)
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200)


@given(state=PRINTABLE, resource=PRINTABLE | st.just(""))
def test_what_fits_arrives_as_it_was_said(state: str, resource: str) -> None:
    said = Declarer("pulumi-native", state, resource)
    header = said.header()
    assert header.isascii()
    heard = parsed(header)
    assert (heard.tool, heard.state) == (said.tool, state)
    assert heard.resource in (resource, "")  # too long in percent encoding: left out


@given(state=ANY.filter(bool), resource=PRINTABLE)
def test_whatever_a_stack_is_called_the_header_is_accepted(state: str, resource: str) -> None:
    header = Declarer("terraform", state, resource).header()
    assert len(header) <= HEADER_LENGTH_MAX
    assert parsed(header).state == bounded(state)


@given(one=ANY, other=ANY)
def test_two_names_that_are_cut_stay_two(one: str, other: str) -> None:
    assert len(bounded(one)) <= STATE_LENGTH_MAX
    assert (bounded(one) == bounded(other)) == (one == other)


def test_a_long_resource_is_left_out_and_a_usual_one_is_not() -> None:
    urn = "urn:pulumi:dev::shop::pkg:index:Component$spg99:index:Database::" + "ü" * 100
    assert parsed(Declarer("pulumi-native", "pulumi:shop/dev", urn).header()).resource == urn
    assert parsed(Declarer("pulumi-native", "pulumi:shop/dev", "x" * (RESOURCE_LENGTH_MAX + 1)).header()).resource == ""
