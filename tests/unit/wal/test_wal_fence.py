"""The rules of the fence, one by one, by examples. Not here: that they hold together (test_fence_proof.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spg99.wal.catch_up import Missing, Range, ranges, serves, trim
from spg99.wal.fence import (
    Choice,
    Keeper,
    Log,
    NotEnough,
    Refused,
    TermBegin,
    TermHistory,
    Vote,
    Why,
    accept,
    acknowledged,
    adopt,
    append,
    begin,
    choose,
    common_lsn,
    created,
    flushed,
    go_on,
    goes_on,
    kept_lsn,
    promise,
)
from spg99.wal.membership import NotYet, abandon_change, begin_change, finish_change, seeded
from spg99.wal.quorum import (
    Configuration,
    Members,
    Standbys,
    acknowledged_lsn,
    have_promised,
    promises_needed,
    standbys,
    witnesses_needed,
)

ABC = Configuration(1, Members(frozenset("abc"), 2))
ROOT = TermBegin(0, 1, 0)
ONE = (ROOT, TermBegin(1, 1, 0))
TWO = (*ONE, TermBegin(2, 2, 10))


def keeper(name: str = "a", history: TermHistory = ONE, flush_lsn: int = 10, promised_term: int = 1) -> Keeper:
    return Keeper(
        id=name,
        configuration=ABC,
        history=history,
        first_lsn=0,
        flush_lsn=flush_lsn,
        promised_term=promised_term,
        promised_to=f"c{promised_term}",
    )


def vote(name: str, history: TermHistory, flush_lsn: int, term: int = 9) -> Vote:
    answer = promise(keeper(name, history, flush_lsn), term, f"c{term}", ABC)
    assert not isinstance(answer, Refused)
    return answer[1]


def chosen(*votes: Vote) -> Choice:
    choice = choose(votes, ABC)
    assert isinstance(choice, Choice)
    return choice


def refusal(answer: object) -> Why:
    assert isinstance(answer, Refused)
    return answer.why


# quorums


def test_promises_meet_every_set_that_acknowledged_and_each_other() -> None:
    assert [promises_needed(*sizes) for sizes in ((1, 1), (3, 2), (5, 3), (2, 2), (3, 1), (3, 3))] == [1, 2, 3, 2, 3, 2]
    for members in range(1, 8):
        for quorum in range(1, members + 1):
            promises, witnesses = promises_needed(members, quorum), witnesses_needed(members, quorum)
            assert promises + quorum > members and 2 * promises > members
            assert witnesses + quorum > members and witnesses + promises > members


@pytest.mark.parametrize("quorum", [0, 4])
def test_a_quorum_is_of_the_members(quorum: int) -> None:
    with pytest.raises(ValueError, match="a quorum of"):
        Members(frozenset("abc"), quorum)


def test_acknowledged_is_what_a_quorum_has_of_either_set() -> None:
    assert acknowledged_lsn(ABC, {"a": 30, "b": 20, "c": 10}) == 20
    assert acknowledged_lsn(ABC, {"a": 30, "x": 20}) is None
    changing = begin_change(ABC, Members(frozenset("abd"), 2))
    assert acknowledged_lsn(changing, {"a": 30, "b": 20, "c": 25}) == 20
    assert acknowledged_lsn(changing, {"a": 30, "c": 25}) is None
    assert have_promised(changing, "ab") and not have_promised(changing, "ac")


def test_what_postgresql_waits_for_is_never_less_than_either_set_wants() -> None:
    assert standbys(ABC, "abc") == Standbys(2, frozenset("abc"))
    changing = begin_change(ABC, Members(frozenset("abd"), 2))
    assert standbys(changing, "abcd") == Standbys(3, frozenset("abcd"))
    assert standbys(changing, "ab") == Standbys(2, frozenset("ab"))
    moved = begin_change(ABC, Members(frozenset("def"), 2))
    assert standbys(moved, "abcdef") == Standbys(5, frozenset("abcdef"))


# promises


def test_a_promise_is_kept() -> None:
    answer = promise(keeper(), 3, "c3", ABC)
    assert not isinstance(answer, Refused)
    promised, given = answer
    assert (given.history, given.flush_lsn, given.term) == (ONE, 10, 3)
    assert promise(promised, 3, "c3", ABC) == answer, "its answer was lost: asked again"
    assert refusal(promise(promised, 2, "c2", ABC)) is Why.HIGHER_TERM
    assert refusal(promise(promised, 3, "other", ABC)) is Why.OTHER_COMPUTE
    assert refusal(append(promised, 1, 10, 20)) is Why.HIGHER_TERM
    assert refusal(accept(promised, "c2", ABC, TWO)) is Why.HIGHER_TERM


def test_an_older_configuration_and_a_stranger_are_refused() -> None:
    newer = adopt(keeper(), Configuration(2, Members(frozenset("bcd"), 2)))
    assert refusal(promise(newer, 9, "c9", ABC)) is Why.OLD_CONFIGURATION
    assert refusal(promise(newer, 9, "c9", newer.configuration)) is Why.NOT_A_MEMBER
    assert adopt(newer, ABC) == newer


# the choice


def test_too_few_promises_are_no_start() -> None:
    assert choose([vote("a", ONE, 10)], ABC) == NotEnough(frozenset("a"), ABC.sets)
    stranger = replace(vote("b", ONE, 10), keeper_id="x")
    assert isinstance(choose([vote("a", ONE, 10), vote("a", ONE, 10), stranger], ABC), NotEnough)


def test_a_long_log_of_an_old_term_is_no_argument() -> None:
    choice = chosen(vote("a", ONE, 99), vote("b", TWO, 12))
    assert (choice.donor_id, choice.flush_lsn, choice.history, choice.next_tli) == ("b", 12, TWO, 3)
    assert chosen(vote("a", ONE, 99), vote("b", ONE, 98)).donor_id == "a"


def test_a_term_counts_from_its_beginning_on() -> None:
    assert vote("a", TWO, 9).last_term == 1
    assert vote("a", TWO, 10).last_term == 2


def test_what_is_kept_is_what_a_quorum_of_the_last_term_has() -> None:
    """The donor's own end says nothing of the others, and WAL of an older term is other WAL."""
    ahead = vote("a", TWO, 30)
    assert kept_lsn({"a": ahead, "b": vote("b", TWO, 20)}, ahead.last_term, ABC) == 20
    assert kept_lsn({"a": ahead, "b": vote("b", ONE, 90)}, ahead.last_term, ABC) is None


def test_a_term_begins_once() -> None:
    with pytest.raises(ValueError, match="term 2 has begun already"):
        choose([vote("a", TWO, 12, term=2), vote("b", ONE, 10, term=2)], ABC)
    with pytest.raises(ValueError, match="more than one start"):
        choose([vote("a", ONE, 10, term=8), vote("b", ONE, 10)], ABC)


def test_a_rebuilt_life_begins_behind_the_last_whole_record() -> None:
    choice = chosen(vote("a", TWO, 15), vote("b", ONE, 10))
    assert begin(choice, tli=3, begin_lsn=14) == (*TWO, TermBegin(9, 3, 14))
    assert begin(choice, tli=3, begin_lsn=8) == (*ONE, TermBegin(9, 3, 8)), "what began behind it is none of it"
    with pytest.raises(ValueError, match="a life that begins at 0/10"):
        begin(choice, tli=3, begin_lsn=16)
    with pytest.raises(ValueError, match="timeline 2 is not above 2"):
        begin(choice, tli=2, begin_lsn=14)


def test_a_folder_goes_on_if_no_later_term_has_wal() -> None:
    choice = chosen(vote("a", TWO, 15), vote("b", ONE, 10))
    assert [goes_on(term, choice) for term in (1, 2, 3)] == [False, True, True]
    assert go_on(TWO, choice) == (*TWO, TermBegin(9, 2, 15))
    of_nobody = (*ONE, TermBegin(3, 4, 12))
    assert go_on(of_nobody, choice) == (*of_nobody, TermBegin(9, 4, 12))
    with pytest.raises(ValueError, match="the folder is of term 1, the quorum has WAL of term 2"):
        go_on(ONE, choice)
    with pytest.raises(ValueError, match="two histories of term 2"):
        go_on((*ONE, TermBegin(2, 2, 11)), choice)
    with pytest.raises(ValueError, match="the start is of term 9"):
        go_on((*ONE, TermBegin(9, 3, 12)), choice)


# streaming


@pytest.mark.parametrize(
    ("held", "flush_lsn", "lsn"),
    [
        (ONE, 8, 8),  # behind: nothing to cut
        (ONE, 15, 10),  # WAL that the new life has not
        (TWO, 15, 12),  # the same term, further than the choice
        ((*ONE, TermBegin(2, 2, 9)), 15, 9),  # the same term and timeline, another life
        ((*ONE, TermBegin(3, 3, 6)), 15, 6),
        ((ROOT,), 0, 0),
    ],
)
def test_what_is_beyond_the_new_life_is_cut(held: TermHistory, flush_lsn: int, lsn: int) -> None:
    new = (*TWO, TermBegin(4, 3, 12))
    answer = accept(keeper(history=held, flush_lsn=flush_lsn), "c4", ABC, new)
    assert not isinstance(answer, Refused)
    taken, cut_lsn = answer
    assert cut_lsn == taken.flush_lsn == lsn
    assert (taken.history, taken.promised_term, taken.promised_to) == (new, 4, "c4")
    assert accept(taken, "c4", ABC, new) == (taken, lsn), "a connection that is made again cuts nothing"


def test_wal_of_another_timeline_is_not_cut_but_refused() -> None:
    assert refusal(accept(keeper(), "c2", ABC, (TermBegin(0, 7, 0), TermBegin(2, 8, 0)))) is Why.FOREIGN_HISTORY


def test_a_cut_below_what_was_trimmed_leaves_nothing() -> None:
    trimmed = replace(keeper(flush_lsn=15), first_lsn=12)
    answer = accept(trimmed, "c2", ABC, TWO)
    assert not isinstance(answer, Refused)
    assert (answer[0].first_lsn, answer[0].flush_lsn) == (10, 10)


def test_wal_follows_on_wal() -> None:
    assert append(keeper(), 1, 10, 12) == keeper(flush_lsn=12)
    assert append(keeper(), 1, 4, 8) == keeper()
    assert refusal(append(keeper(), 1, 11, 12)) is Why.GAP
    assert refusal(append(keeper(), 2, 10, 12)) is Why.NOT_ACCEPTED


def test_a_life_is_acknowledged_from_its_beginning_on() -> None:
    new = (*ONE, TermBegin(2, 2, 10))
    reports = [flushed(keeper(name, new, lsn, 2)) for name, lsn in (("a", 12), ("b", 9))]
    assert acknowledged(ABC, new, reports) is None
    reports += [flushed(keeper("c", new, 11, 2))]
    assert acknowledged(ABC, new, reports) == 11
    assert acknowledged(replace(ABC, number=2), new, reports) is None
    assert acknowledged(ABC, new, [flushed(keeper("a", ONE, 12, 2)), *reports[1:]]) is None, "it has not accepted"


# behind, and trimmed


def test_a_laggard_takes_each_part_from_who_has_it() -> None:
    new = (*TWO, TermBegin(4, 3, 12))
    sources: dict[str, Log] = {
        "store": Log(history=ONE, first_lsn=0, flush_lsn=7),
        "b": replace(keeper("b", new, 30), first_lsn=6),
        "c": replace(keeper("c", (*ONE, TermBegin(3, 3, 6)), 40), first_lsn=0),
    }
    assert ranges(new, 2, 20, sources) == (Range("store", 2, 7), Range("b", 7, 20))
    assert ranges(new, 20, 20, sources) == ()
    del sources["b"]
    assert ranges(new, 2, 20, sources) == Missing(7)
    assert not serves(sources["c"], new, 2, 7)
    assert serves(sources["c"], new, 2, 6)


def test_only_wal_that_the_store_has_of_this_life_is_trimmed() -> None:
    mine = keeper(history=TWO, flush_lsn=20)
    assert trim(mine, Log(history=TWO, first_lsn=0, flush_lsn=15)).first_lsn == 15
    assert trim(mine, Log(history=(*ONE, TermBegin(3, 3, 12)), first_lsn=0, flush_lsn=15)).first_lsn == 10
    assert trim(mine, Log(history=TWO, first_lsn=5, flush_lsn=15)).first_lsn == 0, "there is a hole before it"
    assert common_lsn(mine, (TermBegin(0, 5, 0),)) is None


# members


def test_a_change_waits_until_the_new_set_knows_all() -> None:
    a, b, c = (keeper(name, flush_lsn=lsn) for name, lsn in (("a", 10), ("b", 9), ("c", 4)))
    d = seeded(c, "d")
    changing = begin_change(ABC, Members(frozenset("abd"), 2))
    assert (changing.number, changing.ids) == (2, frozenset("abcd"))
    with pytest.raises(ValueError, match="already changing"):
        begin_change(changing, ABC.members)
    assert finish_change(changing, [adopt(a, changing), b, d]) == NotYet(
        adopt=frozenset("bc"), promise=frozenset(), fill=frozenset()
    )
    a, b = adopt(a, changing), adopt(b, changing)
    waits = finish_change(changing, [a, b, d])
    assert isinstance(waits, NotYet)
    assert (waits.fill, waits.promise) == (frozenset("bd"), frozenset())
    raised = replace(b, promised_term=5, promised_to="c5")
    waits = finish_change(changing, [a, raised, replace(d, flush_lsn=10)])
    assert isinstance(waits, NotYet)
    assert (waits.promise, waits.term, waits.compute_id) == (frozenset("ad"), 5, "c5")
    done = finish_change(changing, [a, b, replace(d, flush_lsn=10)])
    assert done == Configuration(3, Members(frozenset("abd"), 2))
    assert abandon_change(changing) == Configuration(3, ABC.members)


def test_all_safekeepers_are_replaced_one_by_one_before_anything_is_stored() -> None:
    known = {name: keeper(name, flush_lsn=10) for name in "abc"}
    configuration = ABC
    for old, new in ("ad", "be", "cf"):
        peer = next(one for name, one in sorted(known.items()) if name != old)
        configuration = begin_change(
            configuration, Members(configuration.members.ids - {old} | {new}, configuration.members.quorum)
        )
        known[new] = seeded(peer, new)
        del known[old]
        known = {name: adopt(one, configuration) for name, one in known.items()}
        finished = finish_change(configuration, known.values())
        assert isinstance(finished, Configuration)
        configuration = finished
    votes = []
    for one in known.values():
        answer = promise(one, 9, "c9", configuration)
        assert not isinstance(answer, Refused)
        votes.append(answer[1])
    choice = choose(votes[:2], configuration)
    assert isinstance(choice, Choice)
    assert (configuration.ids, choice.flush_lsn, choice.first_lsn) == (frozenset("def"), 10, 0)


def test_a_timeline_begins_with_its_image() -> None:
    made = created("a", ABC, tli=3, lsn=500)
    assert (made.held, made.first_lsn, made.flush_lsn) == ((TermBegin(0, 3, 500),), 500, 500)
    first = promise(made, 1, "c1", ABC)
    second = promise(created("b", ABC, tli=3, lsn=500), 1, "c1", ABC)
    assert not isinstance(first, Refused) and not isinstance(second, Refused)
    assert begin(chosen(first[1], second[1]), tli=4, begin_lsn=500)[1:] == (TermBegin(1, 4, 500),)
