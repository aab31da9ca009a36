"""The first words between machines, as bytes: whole, in pieces, and what is none."""

from __future__ import annotations

import pytest

from spg99.errors import ProtocolViolation
from spg99.wire import preface
from spg99.wire.preface import AnswerReader, Preface, QuestionReader, Refused

ASKED = Preface("clients", "cmp_1", 7)


def test_a_question_is_read_however_it_comes_and_what_follows_it_stays() -> None:
    data = preface.question(ASKED) + b"what follows"
    for size in (1, 3, len(data)):
        reader, found = QuestionReader(), None
        for begin in range(0, len(data), size):
            found = reader.feed(data[begin : begin + size]) if found is None else found
            if found is not None and size != len(data):
                break
        assert found == ASKED
    assert reader.rest == b"what follows"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"SPG99\x02\x00\x02{}",
        b"SPG99\x01\xff\xff",
        b"SPG99\x01\x00\x02{}",
        b"SPG99\x01\x00\x02[]",
        b"SPG99\x01\x00\x03\xff\xfe\xfd",
        b'SPG99\x01\x00\x32{"target":"clients","compute_id":"c","writer_term":"x"',
        b"S\x00",
    ],
)
def test_what_is_no_question_is_refused_as_soon_as_that_is_known(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        QuestionReader().feed(data + b"x" * 60)


def test_an_answer_lets_through_or_says_why_not() -> None:
    whole = preface.answer(None) + b"R"
    reader = AnswerReader()
    assert [reader.feed(whole[index : index + 1]) for index in range(len(whole) - 1)] == [None, None, None, b""]
    assert AnswerReader().feed(whole) == b"R"
    refused = Refused("stale", "The compute has term 8, not 7.")
    assert AnswerReader().feed(preface.answer(refused)) == refused
    long = AnswerReader().feed(preface.answer(Refused("malformed", "\x00" * 5000)))
    assert isinstance(long, Refused) and len(long.reason) == preface.REASON_CHARACTERS_MAX
    with pytest.raises(ProtocolViolation):
        AnswerReader().feed(b"\xff\xff")
